"""Ablations: many small trainings, and what each change to a common base does to recall."""

import json
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import yaml
from pydantic import Field, PositiveInt, StringConstraints, TypeAdapter, ValidationError

from xmodal.checkpoint import load_run
from xmodal.config import InputError, StageConfig
from xmodal.data.features import FeatureSet
from xmodal.evaluation.recall import KS
from xmodal.model import Embeddings
from xmodal_suite.figure_config import FigureConfig

APART = "evaluation, scaled apart"
COLUMNS = ["row", "seed", "clips", "step", "split", "gallery", "galleries", "k", "recall"]


FolderName = Annotated[str, StringConstraints(pattern=r"^\w[\w.+-]*$")]
"""Of a study or of a row in it: part of the name of a folder, and never a path."""


class AblationRow(StageConfig):
    """One line of an ablation."""

    about: str = Field(description="what is changed, in words")
    change: dict[str, Any] = Field({}, description="TrainConfig fields that differ from the base")


class Ablation(StageConfig):
    """Trainings that each make one change to a common base, to compare with one another."""

    base: dict[str, Any] = Field(description="TrainConfig of all rows")
    rows: dict[FolderName, AblationRow] = Field(
        min_length=1, description="by name; the first is the reference"
    )
    seeds: list[int] = Field([0], min_length=1, description="each row is trained once a seed")

    def runs(self) -> dict[str, dict[str, Any]]:
        """Return the TrainConfig fields of every run, by its name; the first seed first."""
        return {
            f"{name}-seed{seed}": {**self.base, **row.change, "seed": seed}
            for seed in self.seeds
            for name, row in self.rows.items()
        }


class AblationConfig(FigureConfig):
    """Which ablations notebook 07 looks at, and how."""

    profile: Path = Field(Path("profiles/yt8m.yaml"), description="says what each study trains")
    runs_folder: Path = Field(Path("runs/yt8m"), description="holds a folder of runs for each")
    gallery: int = Field(1024, gt=0, description="candidates per query, beside all clips")
    tolerance: float = Field(2, ge=0, description="points a recall may differ when made again")
    more_clips: list[PositiveInt] = Field(
        [50_000, 100_000, 1_000_000, 3_844_000],
        description="training clips to predict for; the last is YouTube-8M's training partition",
    )

    def trained(self) -> list[Path]:
        """Return every run of a study that was measured."""
        return sorted(path.parent for path in self.runs_folder.glob("*/*/recall.csv"))


class _Loader(yaml.SafeLoader):
    """YAML in which a key stands once, and words are text but null, true, false and plain numbers.

    Otherwise 0200 would be 128, and yes would be true.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys: list[str] = []
        for key, _ in node.value:
            if key.value in keys:
                problem = f"{key.value} is there twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            keys.append(key.value)
            if key.value != "<<":
                key.tag = self.DEFAULT_SCALAR_TAG
        return node


for _tag, _pattern, _first in (
    ("null", "|~|null", ["", "~", "n"]),
    ("bool", "true|false", ["t", "f"]),
    ("int", r"-?(0|[1-9]\d*)", [*"-0123456789"]),
    ("float", r"-?(0|[1-9]\d*)(\.\d+)?(e[-+]?\d+)?", [*"-0123456789"]),
    ("merge", "<<", ["<"]),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first
    )


def read_profile(path: Path) -> dict[str, Any]:
    """Read a profile; InputError if there is none, or it is no YAML of names and values."""
    try:
        with path.open("rb") as file:
            found = yaml.load(file, _Loader)
    except FileNotFoundError:
        raise InputError(f"there is no profile {path}: name one of profiles/") from None
    except (OSError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"a profile cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: is no profile, which gives values to names")
    return found


def read_ablations(profile: Path) -> dict[str, Ablation]:
    """Read the ablations of a profile, by name; InputError if there is no such profile."""
    studies = read_profile(profile).get("studies", {})
    try:
        return TypeAdapter(dict[FolderName, Ablation]).validate_python(studies)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(["studies", *map(str, first["loc"])])
        raise InputError(f"{profile}: {place}: {first['msg']}") from None


def ablation_frame(runs: Path, ablation: Ablation) -> pd.DataFrame:
    """Gather what was measured of an ablation, whose runs are the folders ``<row>-seed<seed>``.

    A line a run that is there, split, gallery size and K: row, seed, clips (of the training), step
    (of the weights measured), split, gallery, galleries, k, recall (percent, mean of both
    directions).
    """
    parts = []
    for name in ablation.rows:
        for seed in ablation.seeds:
            run = runs / f"{name}-seed{seed}"
            if not all((run / file).exists() for file in ("result.json", "recall.csv")):
                continue
            result = json.loads((run / "result.json").read_text())
            keys = ["split", "gallery", "galleries", "k"]
            means = pd.read_csv(run / "recall.csv").groupby(keys, sort=False)["recall"].mean()
            part = means.reset_index().assign(
                row=name, seed=seed, clips=result["training_clips"], step=result["best_step"]
            )
            parts.append(part[COLUMNS])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def recalls_of(runs: pd.DataFrame, config: AblationConfig) -> list[pd.DataFrame]:
    """Return the `named_recalls` of every ablation of a profile, told apart by a column study."""
    return [
        named_recalls(runs[runs["study"] == name], ablation, config.gallery)
        for name, ablation in read_ablations(config.profile).items()
    ]


def named_recalls(frame: pd.DataFrame, ablation: Ablation, gallery: int) -> pd.DataFrame:
    """Pick the recalls of an `ablation_frame` that are shown, and name them.

    A line a run and measure: row, change, seed, clips, step, measure (among ``gallery`` candidates
    and among all evaluation clips, such as "R@1, N = 1,024" and, of the validation clips,
    "validation R@1, N = 1,024"), recall.
    """
    everything = frame[frame["split"] == "evaluation"]["gallery"].max()
    names = {("validation", gallery, 1): f"validation R@1, N = {gallery:,}"}
    names |= {("evaluation", gallery, k): f"R@{k}, N = {gallery:,}" for k in KS}
    names |= {("evaluation", everything, 1): f"R@1, N = {everything:,}"}
    names |= {(APART, gallery, 1): f"scaled apart R@1, N = {gallery:,}"}
    keys = zip(frame["split"], frame["gallery"], frame["k"], strict=True)
    frame = frame.assign(change=[ablation.rows[row].about for row in frame["row"]])
    named = frame.assign(measure=[names.get(key) for key in keys]).dropna(subset="measure")
    if gallery not in set(named["gallery"]):
        raise InputError(
            f"no run was measured among {gallery:,} candidates: choose another gallery"
        )
    columns = ["row", "change", "seed", "clips", "step", "measure", "recall"]
    return named[columns].reset_index(drop=True)


def ablation_table(recalls: pd.DataFrame) -> pd.DataFrame:
    """Summarise the seeds of each change in `named_recalls`.

    A line a change and measure: change, measure, seeds (how many), step (median), mean, std
    (percent; NaN with one seed).
    """
    table = recalls.groupby(["change", "measure"], sort=False).agg(
        seeds=("seed", "nunique"),
        step=("step", "median"),
        mean=("recall", "mean"),
        std=("recall", "std"),
    )
    return table.reset_index().astype({"step": int})


def apart_table(recalls: pd.DataFrame, gallery: int) -> pd.DataFrame:
    """Return of `ablation_table` what is known of scaling apart, and R@1 at the same gallery.

    A change whose recall is less than twice that of chance is left out.
    """
    apart = recalls[recalls["measure"] == f"scaled apart R@1, N = {gallery:,}"]
    apart = apart[apart.groupby("row")["recall"].transform("mean") >= 200 / gallery]
    measures = set(apart["measure"]) | set(apart["measure"].str.removeprefix("scaled apart "))
    kept = recalls["row"].isin(apart["row"]) & recalls["measure"].isin(measures)
    return ablation_table(recalls[kept])


def panels(recalls: pd.DataFrame) -> pd.DataFrame:
    """Return the R@1 of the evaluation clips as `xmodal_suite.figures.study_rows` draws them."""
    shown = recalls[recalls["measure"].str.startswith("R@1,")]
    return shown.rename(columns={"change": "about", "measure": "panel"})


def embed_apart(run: Path, features: FeatureSet) -> Embeddings:
    """Embed a split with a run that scales both modalities jointly, each scaled by itself instead.

    Every visual feature is given the mean length that it has after joint scaling, and every audio
    feature likewise, so that no half of a clip tells the length of the other.
    """
    model, _ = load_run(run)
    model.config = model.config.model_copy(update={"joint_normalise": False})
    both = [np.asarray(part, np.float32) for part in (features.visual, features.audio)]
    lengths = [np.linalg.norm(part, axis=1, keepdims=True).clip(1e-12) for part in both]
    whole = np.hypot(*lengths)
    scaled = (x / n * (n / whole).mean() for x, n in zip(both, lengths, strict=True))
    return model.embed(*scaled)
