"""Many small trainings beside one another: what each change to a common base does to recall."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from pydantic import Field, PositiveInt

from xmodal.config import FigureConfig, InputError, StageConfig


class Row(StageConfig):
    """One line of a study."""

    about: str = Field(description="what is changed, in words")
    change: dict[str, Any] = Field({}, description="TrainConfig fields that differ from the base")


class Study(StageConfig):
    """Many small trainings, each with a change to a common base, to compare with one another."""

    base: dict[str, Any] = Field(description="TrainConfig of all rows")
    rows: dict[str, Row] = Field(min_length=1, description="by name; the first is the reference")
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
        return Study(base=self.base, rows=first, seeds=list(seeds)).runs()


class StudyConfig(FigureConfig):
    """Which studies are looked at, and how."""

    profile: Path = Field(Path("profiles/yt8m.yaml"), description="says what each study trains")
    runs_folder: Path = Field(Path("runs/yt8m"), description="holds a folder of runs for each")
    gallery: int = Field(1024, gt=0, description="candidates per query, beside all clips")
    tolerance: float = Field(2, ge=0, description="points a recall may differ when made again")
    more_clips: list[PositiveInt] = Field(
        [50_000, 100_000, 1_000_000, 3_844_000],
        description="training clips to predict for; the last is YouTube-8M's training partition",
    )


def measured(config: StudyConfig) -> list[pd.DataFrame]:
    """Return `study_frame` of every study of the profile, in their order.

    Raises
    ------
    InputError
        If there is no such profile, or no run was measured.
    """
    if not config.profile.exists():
        raise InputError(f"there is no profile {config.profile}: name one of profiles/")
    studies = yaml.safe_load(config.profile.read_text())["studies"]
    return [
        study_frame(config.runs_folder / name, Study(**values)) for name, values in studies.items()
    ]


def study_frame(runs: Path, study: Study) -> pd.DataFrame:
    """Gather what was measured of the runs of a study.

    Parameters
    ----------
    runs : Path
        Folder with one run for each row and seed, called ``<row>-seed<seed>``; those that are not
        there are left out.
    study : Study
        Its rows.

    Returns
    -------
    DataFrame
        One line a run, split, gallery size and K, rows in the study's order: row, about, seed,
        training clips, step of the weights measured, split, gallery, galleries, k, recall
        (percent, mean of both directions).

    Raises
    ------
    InputError
        If no run was measured.
    """
    parts = []
    for name, row in study.rows.items():
        for seed in study.seeds:
            run = runs / f"{name}-seed{seed}"
            if not all((run / file).exists() for file in ("result.json", "recall.csv")):
                continue
            result = json.loads((run / "result.json").read_text())
            keys = ["split", "gallery", "galleries", "k"]
            both = pd.read_csv(run / "recall.csv").groupby(keys, sort=False)["recall"].mean()
            noted = {"clips": result["training_clips"], "step": result["best_step"]}
            parts.append(both.reset_index().assign(row=name, about=row.about, seed=seed, **noted))
    if not parts:
        raise InputError(f"{runs} holds no measured run of this study: make study")
    return pd.concat(parts, ignore_index=True)


def study_runs(frame: pd.DataFrame, gallery: int) -> pd.DataFrame:
    """Return one line a run: row, change, seed, training clips, step, and recalls in percent.

    Parameters
    ----------
    frame : DataFrame
        As `study_frame` returns it.
    gallery : int
        Candidates per query that are shown beside all evaluation clips.
    """
    everything = frame[frame["split"] == "evaluation"]["gallery"].max()
    wanted = {f"validation R@1, N = {gallery:,}": ("validation", gallery, 1)}
    wanted |= {f"R@{k}, N = {gallery:,}": ("evaluation", gallery, k) for k in (1, 5, 10)}
    wanted |= {f"R@1, N = {everything:,}": ("evaluation", everything, 1)}
    keys = ["row", "about", "seed", "clips", "step"]
    table = frame.pivot_table(
        index=keys, columns=["split", "gallery", "k"], values="recall", sort=False
    )
    shown = pd.DataFrame({name: table[column] for name, column in wanted.items()})
    return shown.reset_index().rename(columns={"about": "change", "clips": "training clips"})


def study_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return mean ± standard deviation over the seeds, one line a change.

    Parameters
    ----------
    runs : DataFrame
        As `study_runs` returns it.
    """
    groups = runs.drop(columns=["row", "training clips"]).groupby("change", sort=False)
    table = pd.DataFrame({"seeds": groups["seed"].nunique(), "step": groups["step"].median()})
    table["step"] = table["step"].astype(int)
    for column in [name for name in runs.columns if "R@" in name]:
        mean, spread = groups[column].mean(), groups[column].std()
        table[column] = [
            f"{m:.1f}" if np.isnan(s) else f"{m:.1f} ± {s:.1f}"
            for m, s in zip(mean, spread, strict=True)
        ]
    return table.reset_index()


def panels(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the R@1 of `study_runs` as `xmodal.plots.study_rows` draws them, evaluation only."""
    columns = [name for name in runs.columns if name.startswith("R@1,")]
    long = runs.melt(["change", "seed"], columns, var_name="panel", value_name="recall")
    return long.rename(columns={"change": "about"})
