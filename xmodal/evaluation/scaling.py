"""Learning curves: recall against the number of training clips, and how it may go on."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from xmodal.data.features import open_features
from xmodal.evaluation.ablation import StudyConfig
from xmodal.evaluation.methods import LINEAR, linear, mean_recall
from xmodal.evaluation.published import published

REACH = 4_000_000
"""Training clips that curves go on to: a little more than YouTube-8M's training partition."""


def learning_points(runs: pd.DataFrame, column: str) -> pd.DataFrame:
    """Gather the rows of a study that differ in the number of training clips.

    Rows called ``clips_<n>`` belong to the study's first row, ``<row>_clips_<n>`` to that row.

    Parameters
    ----------
    runs : DataFrame
        As `study_runs` returns it.
    column : str
        Which recall.

    Returns
    -------
    DataFrame
        method (what the row with all clips is about), clips, seed, recall.
    """
    about = dict(zip(runs["row"], runs["change"], strict=True))
    family = runs["row"].str.extract(r"^(.*?)_?clips_\d+$")[0].replace("", runs["row"].iloc[0])
    members = set(family.dropna())
    points = runs.assign(method=family.fillna(runs["row"]), recall=runs[column])
    points = points[points["method"].isin(members)]
    points = points.assign(method=points["method"].map(about))
    return points.rename(columns={"training clips": "clips"})[
        ["method", "clips", "seed", "recall"]
    ].reset_index(drop=True)


def linear_points(features: Path, sizes: Sequence[int], gallery: int) -> pd.DataFrame:
    """Return the same columns for linear CCA, fitted to the first so many training clips."""
    clips = open_features(features, "evaluation")
    rows = []
    for size in sizes:
        methods, _ = linear(features, size)
        rows.append((LINEAR, size, 0, mean_recall(methods[LINEAR][0], clips, gallery)))
    return pd.DataFrame(rows, columns=["method", "clips", "seed", "recall"])


def gather(runs: Sequence[pd.DataFrame], config: StudyConfig) -> pd.DataFrame:
    """Return the points of all studies, each as `study_runs` returns it, and of linear CCA."""
    column = f"R@1, N = {config.gallery:,}"
    points = pd.concat([learning_points(frame, column) for frame in runs])
    sizes = sorted(points["clips"].unique())
    more = linear_points(config.features, sizes, config.gallery)
    return pd.concat([points, more], ignore_index=True)


def published_level(gallery: int) -> tuple[str, float] | None:
    """Return the published R@1 of a row, read as gallery, the mean of both directions."""
    told = published()
    found = told[(told["row"] == gallery) & (told["k"] == 1)]["recall"]
    return (f"published, N = {gallery:,}", found.mean()) if len(found) else None


LAWS: dict[str, tuple[Callable[[Any], np.ndarray], Callable[[Any], np.ndarray]]] = {
    "power law": (np.log, np.exp),
    "logarithm": (np.asarray, np.asarray),
}
"""How recall may grow with the clips: log recall, or recall itself, linear in their logarithm."""


def _fit(clips: np.ndarray, recall: np.ndarray, law: str) -> tuple[np.ndarray, np.ndarray, Any]:
    """Return log clips, recall as the law makes it linear, and the line through them."""
    x, y = np.log(clips), LAWS[law][0](recall)
    return x, y, stats.linregress(x, y)


def extrapolate(
    clips: np.ndarray, recall: np.ndarray, wanted: float, law: str, level: float = 0.95
) -> tuple[float, float, float]:
    """Continue a learning curve by least squares.

    Parameters
    ----------
    clips, recall : array, (runs,)
        Number of training clips and recall of each run, percent.
    wanted : float
        Number of clips to predict for.
    law : str
        One of `LAWS`.
    level : float
        Of the prediction interval (Student's t).

    Returns
    -------
    recall, low, high : float
        Percent, cut at 0 and 100. The interval covers the scatter about the line, not whether the
        line goes on that far; two runs leave no scatter to judge by, and it is NaN.
    """
    back = LAWS[law][1]
    x, y, line = _fit(clips, recall, law)
    residual = y - line.intercept - line.slope * x
    freedom = len(x) - 2
    scatter = np.sqrt((residual**2).sum() / freedom) if freedom else np.nan
    spread = ((x - x.mean()) ** 2).sum()
    at = np.log(wanted)
    error = scatter * np.sqrt(1 + 1 / len(x) + (at - x.mean()) ** 2 / spread)
    reach = stats.t.ppf((1 + level) / 2, freedom) * error
    middle = line.intercept + line.slope * at
    return tuple(back([middle, middle - reach, middle + reach]).clip(0, 100).tolist())


def curve(points: pd.DataFrame, law: str, wanted: Sequence[float] | None = None) -> pd.DataFrame:
    """Continue the learning curve of each method, see `extrapolate`.

    Parameters
    ----------
    points : DataFrame
        method, clips, recall; one line a run.
    law : str
        One of `LAWS`.
    wanted : sequence of float, optional
        Numbers of training clips; if not given 60 from the least measured to 4 million.

    Returns
    -------
    DataFrame
        law, method, clips, recall, low, high.
    """
    lines = []
    for method, part in points.groupby("method", sort=False):
        known = part["clips"].to_numpy(), part["recall"].to_numpy()
        for clips in wanted or np.geomspace(known[0].min(), REACH, 60):
            lines.append((law, method, clips, *extrapolate(*known, clips, law)))
    return pd.DataFrame(lines, columns=["law", "method", "clips", "recall", "low", "high"])


def clips_for(points: pd.DataFrame, law: str, level: float) -> float:
    """Return the number of clips at which one method's law reaches a recall; NaN if it falls."""
    _, _, line = _fit(points["clips"].to_numpy(), points["recall"].to_numpy(), law)
    if line.slope <= 0:
        return np.nan
    return float(np.exp(min((LAWS[law][0](level) - line.intercept) / line.slope, 50)))


def curve_table(
    points: pd.DataFrame, wanted: Sequence[float], target: tuple[str, float] | None
) -> pd.DataFrame:
    """Return what each law says of each method at more clips, its interval in brackets.

    ``scatter`` is the standard deviation of the runs about the law, in points. The last column is
    the number of clips at which the law reaches the ``target`` (its name, and recall), in two
    digits; a dash stands for more than a billion.
    """
    lines = []
    for law in LAWS:
        for method, part in curve(points, law, wanted).groupby("method", sort=False):
            runs = points[points["method"] == method]
            at = curve(runs, law, runs["clips"].tolist())["recall"].to_numpy()
            line = {"method": method, "law": law, "scatter": (runs["recall"] - at).std()}
            for told in part.itertuples():
                within = "" if np.isnan(told.low) else f" [{told.low:.1f}, {told.high:.1f}]"
                line[f"{told.clips:,} clips"] = f"{told.recall:.1f}{within}"
            if target:
                needed = clips_for(runs, law, target[1])
                digits = f"{float(f'{needed:.2g}'):,.0f}" if needed < 1e9 else ""
                line[f"clips for {target[1]:.1f} ({target[0]})"] = digits
            lines.append(line)
    return pd.DataFrame(lines)


def needs(runs: pd.DataFrame, points: pd.DataFrame, gallery: int, clips: int) -> str:
    """Say in two sentences what the published recall needs, by the study of the paper's method.

    Parameters
    ----------
    runs : DataFrame
        As `study_runs` returns it; its first row is the method as published.
    points : DataFrame
        As `gather` returns it.
    gallery : int
        Candidates per query, a row of the published tables.
    clips : int
        Training clips to predict for.
    """
    column = f"R@1, N = {gallery:,}"
    means = runs.groupby("change", sort=False)[[column, f"validation {column}"]].mean()
    first, best = means.index[0], means[f"validation {column}"].idxmax()
    told = published_level(gallery)
    there = f"{told[1]:.1f} is published" if told else "nothing is published"
    mine = points[points["method"] == first]
    far = [curve(mine, law, [clips]).iloc[0] for law in LAWS]
    grown = " or ".join(
        f"{line.recall:.1f} [{line.low:.1f}, {line.high:.1f}] by a {line.law}" for line in far
    )
    return (
        f"At {gallery:,} candidates {first} reaches a Recall@1 of {means.loc[first, column]:.1f} % "
        f"where {there}; of the changes tried, the best on validation clips is "
        f"“{best}”, with {means.loc[best, column]:.1f} %. Continued to {clips:,} training clips, "
        f"the curve of {first} gives {grown} (95 % intervals)."
    )
