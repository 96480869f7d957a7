"""The curve plot: a line through the values of a run or a model, its interval as a band."""

from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from xmodal_suite.figures.style import QUIET


def log_axes(axis: Axes, nonpositive: Literal["mask", "clip"] = "mask", **options: Any) -> None:
    """Make both axes logarithmic; a recall of 0 leaves a gap there, or lies at the bottom."""
    axis.set(xscale="log", **options)
    axis.set_yscale("log", nonpositive=nonpositive)


def curve(axis: Axes, part: pd.DataFrame, x: str, y: str = "recall", **look: Any) -> None:
    """Draw a line through the rows of ``part`` in the order of ``x``."""
    part = part.sort_values(x)
    axis.plot(part[x], part[y], **look)


def band(axis: Axes, part: pd.DataFrame, x: str, colour: str, alpha: float = 0.18) -> None:
    """Fill the interval from low to high along ``x``, if it is known throughout."""
    part = part.sort_values(x)
    if part[["low", "high"]].notna().all(axis=None):
        ends = part[x], part["low"], part["high"]
        axis.fill_between(*ends, color=colour, alpha=alpha, linewidth=0)


def chance(axis: Axes, x: np.ndarray, share: np.ndarray, label: str) -> None:
    """Draw the recall of a random ranking, where K is this ``share`` of the candidates."""
    axis.plot(x, 100 * np.minimum(share, 1), color=QUIET, linewidth=0.7, label=label)
