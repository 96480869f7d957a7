"""Scaling: recall against the number of training clips, and how it may go on."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from xmodal_suite.published import published

REACH = 4_000_000
"""Training clips that curves go on to: a little more than YouTube-8M's training partition."""
LAWS: dict[str, tuple[Callable[[Any], np.ndarray], Callable[[Any], np.ndarray]]] = {
    "power law": (np.log, np.exp),
    "logarithm": (np.asarray, np.asarray),
}
"""How recall may grow with the clips: log recall, or recall itself, linear in their logarithm."""


def learning_points(
    recalls: Sequence[pd.DataFrame], closed_forms: pd.DataFrame, gallery: int
) -> pd.DataFrame:
    """Gather the trainings that differ in the number of training clips, closed forms last.

    ``recalls`` has the `named_recalls` of each study, ``closed_forms`` method, clips and recall.
    Rows ``<row>_clips_<n>`` belong to <row>, and ``clips_<n>`` to the first. A line a training:
    method (what the row with all clips changes), clips, seed, recall.
    """
    parts = []
    for frame in recalls:
        about = dict(zip(frame["row"], frame["change"], strict=True))
        points = frame[frame["measure"] == f"R@1, N = {gallery:,}"]
        family = (
            points["row"].str.extract(r"^(.*?)_?clips_\d+$")[0].replace("", points["row"].iloc[0])
        )
        points = points.assign(method=family.fillna(points["row"]))
        points = points[points["method"].isin(family.dropna())].replace({"method": about})
        parts.append(points[["method", "clips", "seed", "recall"]])
    return pd.concat([*parts, closed_forms.assign(seed=0)], ignore_index=True)


def published_level(gallery: int) -> tuple[str, float] | None:
    """Return the name and the value of the published R@1 of a gallery, mean of both directions."""
    paper = published()
    found = paper[(paper["row"] == gallery) & (paper["k"] == 1)]["recall"]
    return (f"published, N = {gallery:,}", found.mean()) if len(found) else None


def extrapolate(clips: ArrayLike, recall: ArrayLike, wanted: ArrayLike, law: str) -> np.ndarray:
    """Continue one of `LAWS` by least squares, to one or several numbers of clips.

    Return recall and the ends of its 95% prediction interval, (3, ...), all within 0 to 100%.
    """
    linear, back = LAWS[law]
    x, at = np.log(clips), np.log(wanted)
    line = stats.linregress(x, linear(recall))
    error = line.stderr * np.sqrt((len(x) + 1) * np.var(x) + (at - np.mean(x)) ** 2)
    reach = stats.t.ppf(0.975, len(x) - 2) * error  # NaN with two runs: no scatter to judge by
    middle = line.intercept + line.slope * at
    return back([middle, middle - reach, middle + reach]).clip(0, 100)


def curve(points: pd.DataFrame, law: str, wanted: Sequence[float] | None = None) -> pd.DataFrame:
    """Continue the learning curve of each method by one of `LAWS`, by least squares.

    ``points`` has a line a run: method, clips, recall (percent); what is returned adds law, low and
    high, for the ``wanted`` numbers of clips (60 up to `REACH`, if not given).
    """
    parts = []
    for method, runs in points.groupby("method", sort=False):
        clips = wanted or np.geomspace(runs["clips"].min(), REACH, 60)
        found = extrapolate(runs["clips"], runs["recall"], clips, law)
        part = pd.DataFrame(found.T, columns=["recall", "low", "high"])
        parts.append(part.assign(method=method, law=law, clips=clips))
    columns = ["method", "law", "clips", "recall", "low", "high"]
    return pd.concat(parts, ignore_index=True)[columns]


def hold_back(points: pd.DataFrame) -> pd.DataFrame:
    """Predict the largest trainings of each method by each law, from its smaller ones alone.

    Methods with fewer than four sizes are left out. Recall, low and high are predicted for the
    largest number of clips, where the mean is ``measured``.
    """
    lines = []
    for method, part in points.groupby("method", sort=False):
        largest = part["clips"].max()
        smaller, held = part[part["clips"] < largest], part[part["clips"] == largest]
        if smaller["clips"].nunique() < 3:
            continue
        for law in LAWS:
            predicted = extrapolate(smaller["clips"], smaller["recall"], largest, law)
            measured = held["recall"].mean(), smaller["clips"].max()
            lines.append((method, law, largest, *predicted, *measured))
    columns = ["method", "law", "clips", "recall", "low", "high", "measured", "fitted to"]
    return pd.DataFrame(lines, columns=columns)


def choose_law(points: pd.DataFrame) -> str:
    """Return the law that predicts what `hold_back` holds back with the smaller mean error."""
    held = hold_back(points)
    error = np.log(held["recall"] / held["measured"]).abs().groupby(held["law"]).mean()
    return min(LAWS, key=lambda law: error.get(law, 0.0))


def continued(points: pd.DataFrame, wanted: Sequence[float] | None = None) -> pd.DataFrame:
    """Continue each method by the law of `choose_law`; the interval is that of both laws."""
    each = {law: curve(points, law, wanted) for law in LAWS}
    low = np.minimum(*(one["low"] for one in each.values()))
    high = np.maximum(*(one["high"] for one in each.values()))
    return each[choose_law(points)].assign(low=low, high=high)


def clips_for(points: pd.DataFrame, law: str, level: float) -> float:
    """Return the number of clips at which one method's law reaches a recall; NaN if it falls."""
    linear, _ = LAWS[law]
    line = stats.linregress(np.log(points["clips"]), linear(points["recall"]))
    if line.slope <= 0:
        return np.nan
    return float(np.exp(min((linear(level) - line.intercept) / line.slope, 50)))


def curve_table(
    points: pd.DataFrame, wanted: Sequence[float], target: tuple[str, float] | None
) -> pd.DataFrame:
    """Continue each method of `learning_points` to ``wanted`` numbers of clips, by each law.

    To `curve` come the sizes fitted to, the scatter (standard deviation of the runs about the law,
    points) and the clips needed to reach the ``target``, a name and a recall in percent.
    """
    parts = []
    for law, (_, runs) in product(LAWS, points.groupby("method", sort=False)):
        at = curve(runs, law, runs["clips"].tolist())["recall"].to_numpy()
        part = curve(runs, law, wanted)
        part = part.assign(sizes=runs["clips"].nunique(), scatter=(runs["recall"] - at).std())
        if target:
            name, level = target
            needed = clips_for(runs, law, level)
            part = part.assign(target=name, target_recall=level, clips_needed=needed)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)
