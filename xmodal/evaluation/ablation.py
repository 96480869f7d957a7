"""Ablations: many small trainings, and what each change to a common base does to recall."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pydantic import Field, PositiveInt

from xmodal.config import InputError, StageConfig
from xmodal.evaluation.config import FigureConfig
from xmodal.evaluation.recall import KS


class AblationRow(StageConfig):
    """One line of an ablation."""

    about: str = Field(description="what is changed, in words")
    change: dict[str, Any] = Field({}, description="TrainConfig fields that differ from the base")


class Ablation(StageConfig):
    """Trainings that each make one change to a common base, to compare with one another."""

    base: dict[str, Any] = Field(description="TrainConfig of all rows")
    rows: dict[str, AblationRow] = Field(
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

    def reference(self, seeds: Iterable[int]) -> dict[str, dict[str, Any]]:
        """Return the same for the first row alone, with any seeds."""
        first = dict([next(iter(self.rows.items()))])
        return Ablation(base=self.base, rows=first, seeds=list(seeds)).runs()


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


def ablation_frames(config: AblationConfig) -> list[pd.DataFrame]:
    """Gather what was measured of the runs of every ablation of a profile.

    Parameters
    ----------
    config : AblationConfig
        Names the profile and the folder of the runs.

    Returns
    -------
    list of DataFrame
        One an ablation, in the profile's order. A line a run, split, gallery size and K, rows in
        the ablation's order: row, change (in words), seed, clips (of the training), step (of the
        weights measured), split, gallery, galleries, k, recall (percent, mean of both directions).

    Raises
    ------
    InputError
        If there is no such profile, or no run was measured.
    """
    if not config.profile.exists():
        raise InputError(f"there is no profile {config.profile}: name one of profiles/")
    ablations = yaml.safe_load(config.profile.read_text())["studies"]
    return [
        ablation_frame(config.runs_folder / name, Ablation(**values))
        for name, values in ablations.items()
    ]


def ablation_frame(runs: Path, ablation: Ablation) -> pd.DataFrame:
    """Gather what was measured of one ablation, whose runs are called ``<row>-seed<seed>``."""
    parts = []
    for name, row in ablation.rows.items():
        for seed in ablation.seeds:
            run = runs / f"{name}-seed{seed}"
            if not all((run / file).exists() for file in ("result.json", "recall.csv")):
                continue
            result = json.loads((run / "result.json").read_text())
            keys = ["split", "gallery", "galleries", "k"]
            part = pd.read_csv(run / "recall.csv").groupby(keys, sort=False)["recall"].mean()
            note = {"row": name, "change": row.about, "seed": seed}
            note |= {"clips": result["training_clips"], "step": result["best_step"]}
            parts.append(part.reset_index().assign(**note))
    if not parts:
        raise InputError(f"{runs} holds no measured run of this study: make study")
    return pd.concat(parts, ignore_index=True)


def named_recalls(frame: pd.DataFrame, gallery: int) -> pd.DataFrame:
    """Pick the recalls that are shown, and name them.

    Parameters
    ----------
    frame : DataFrame
        One of `ablation_frames`.
    gallery : int
        Candidates per query that are shown beside all evaluation clips.

    Returns
    -------
    DataFrame
        A line a run and measure: row, change, seed, clips, step, measure (such as "R@1, N = 1,024"
        and, of the validation clips, "validation R@1, N = 1,024"), recall.
    """
    everything = frame[frame["split"] == "evaluation"]["gallery"].max()
    names = {("validation", gallery, 1): f"validation R@1, N = {gallery:,}"}
    names |= {("evaluation", gallery, k): f"R@{k}, N = {gallery:,}" for k in KS}
    names |= {("evaluation", everything, 1): f"R@1, N = {everything:,}"}
    keys = zip(frame["split"], frame["gallery"], frame["k"], strict=True)
    named = frame.assign(measure=[names.get(key) for key in keys]).dropna(subset="measure")
    if gallery not in set(named["gallery"]):
        raise InputError(
            f"no run was measured among {gallery:,} candidates: choose another gallery"
        )
    columns = ["row", "change", "seed", "clips", "step", "measure", "recall"]
    return named[columns].reset_index(drop=True)


def ablation_table(recalls: pd.DataFrame) -> pd.DataFrame:
    """Summarise the seeds of each change.

    Parameters
    ----------
    recalls : DataFrame
        As `named_recalls` returns it.

    Returns
    -------
    DataFrame
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


def panels(recalls: pd.DataFrame) -> pd.DataFrame:
    """Return the R@1 of the evaluation clips as `xmodal.plots.study_rows` draws them."""
    shown = recalls[recalls["measure"].str.startswith("R@1,")]
    return shown.rename(columns={"change": "about", "measure": "panel"})
