"""The dot plot: rows of dots, one row below the other, each dot with its interval."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from xmodal_suite.figures.style import HAIRLINE, Look, shorten

WHOLE: Look = {"clip_on": False, "in_layout": False}  # for dots at the edge, 0 %


def rows(
    axis: Axes, names: Sequence[str], length: int = 48, rules: ArrayLike | None = None
) -> None:
    """Lay out a named row after the other, the first on top, with hairlines at ``rules``."""
    places = np.arange(len(names))
    whole: Look = {"transform": axis.get_yaxis_transform(), "linewidth": 0.6, "zorder": 0}
    axis.hlines(places if rules is None else rules, 0, 1, HAIRLINE, **whole)
    axis.set_yticks(places, [shorten(str(name), length) for name in names])
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)


def dots(axis: Axes, part: pd.DataFrame, y: Any, value: str = "recall", **look: Any) -> None:
    """Draw a dot at the heights ``y`` for each value, its interval from low to high if known."""
    arms = None
    if {"low", "high"} <= set(part):
        arms = np.array([part[value] - part["low"], part["high"] - part[value]], dtype=float)
        arms = np.nan_to_num(arms).clip(min=0)
    plain: Look = {"linestyle": "none", "elinewidth": 1.1}
    axis.errorbar(part[value], y, xerr=arms, **plain | look)
