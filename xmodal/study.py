"""Many small trainings beside one another: what each change to a common base does to recall."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from xmodal.config import InputError
from xmodal.data.features import FeatureSet
from xmodal.evaluate import embed_run, recall_frame
from xmodal.run import RunFolder


def study_frame(
    folder: Path, features: FeatureSet, galleries: Sequence[int], seed: int = 0
) -> pd.DataFrame:
    """Measure all finished runs of a study on the clips of a split that are not silent.

    Parameters
    ----------
    folder : Path
        Holds one run for each row and seed, called ``<row>-seed<seed>``.
    features : FeatureSet
        Where recall is measured.
    galleries : sequence of int
        Candidates per query; the number of clips stands for all.
    seed : int
        Draws the galleries.

    Returns
    -------
    DataFrame
        One line a run, gallery size and K: row, seed, training clips, best step, gallery, k,
        recall (percent, mean of both directions).

    Raises
    ------
    InputError
        If there is no finished run.
    """
    runs = sorted(path.parent for path in folder.glob("*/result.json"))
    if not runs:
        raise InputError(f"{folder} holds no finished run of a study: run its trainings first")
    parts = []
    for run in runs:
        row, _, number = run.name.rpartition("-seed")
        result = RunFolder(run).read("result.json")
        found = recall_frame([embed_run(run, features)], galleries, ~features.silent, seed, 0)
        both = found.groupby(["gallery", "k"], sort=False)["recall"].mean().reset_index()
        parts.append(
            both.assign(
                row=row,
                seed=int(number),
                clips=result["training_clips"],
                best_step=result["best_step"],
            )
        )
    return pd.concat(parts, ignore_index=True)


def study_table(frame: pd.DataFrame, rows: dict[str, str]) -> pd.DataFrame:
    """Return mean ± standard deviation over the seeds, one line a row, in the order of ``rows``.

    ``rows`` maps the name of each row to what it changes, in words.
    """
    sizes = frame["gallery"].map("{:,}".format)
    named = frame.assign(column="R@" + frame["k"].astype(str) + ", N = " + sizes)
    lines = []
    for row, words in rows.items():
        part = named[named["row"] == row]
        if len(part):
            line = {"change": words, "seeds": part["seed"].nunique()}
            line["best step"] = int(part["best_step"].median())
            for column, values in part.groupby("column", sort=False)["recall"]:
                spread = f" ± {values.std():.1f}" if len(values) > 1 else ""
                line[column] = f"{values.mean():.1f}{spread}"
            lines.append(line)
    return pd.DataFrame(lines)


def extrapolate(
    clips: np.ndarray, recall: np.ndarray, wanted: float, level: float = 0.95
) -> tuple[float, float, float]:
    """Continue a learning curve: a straight line of log recall against log clips.

    Parameters
    ----------
    clips, recall : array, (runs,)
        Number of training clips and recall of each run.
    wanted : float
        Number of clips to predict for.
    level : float
        Of the prediction interval (ordinary least squares, Student's t).

    Returns
    -------
    recall, low, high : float
        In the unit of ``recall``. The interval covers the scatter about the line, not whether the
        line goes on that far.
    """
    x, y = np.log(clips), np.log(recall)
    line = stats.linregress(x, y)
    residual = y - line.intercept - line.slope * x
    freedom = len(x) - 2
    scatter = np.sqrt((residual**2).sum() / freedom)
    spread = ((x - x.mean()) ** 2).sum()
    at = np.log(wanted)
    error = scatter * np.sqrt(1 + 1 / len(x) + (at - x.mean()) ** 2 / spread)
    reach = stats.t.ppf((1 + level) / 2, freedom) * error
    middle = line.intercept + line.slope * at
    return tuple(np.exp([middle, middle - reach, middle + reach]).tolist())
