"""Recall against K/N: on one curve if rows are galleries, on three if they are dimensions."""

from itertools import cycle, product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xmodal.plots.recall import PUBLISHED, looks_of
from xmodal.plots.style import (
    INK,
    MARKERS,
    QUIET,
    columns_of,
    drawn_in_house_style,
    legend_outside,
    log_ticks,
    sheet,
)


@drawn_in_house_style
def recall_law(frame: pd.DataFrame, source: str) -> Figure:
    """Draw recall against K/N on logarithmic axes, one panel a reading of the paper's rows.

    The recalls of one row at several K are joined. The thin line is chance. A recall of 0 has no
    place on the logarithmic axis.

    Parameters
    ----------
    frame
        Columns reading, direction, model ("published", or ours), row, candidates (N under that
        reading), k, recall (percent), as `xmodal.evaluation.published.share_frame` gives them.

    Raises
    ------
    InputError
        When a column is missing or there are no rows.
    """
    needed = ["reading", "direction", "model", "row", "candidates", "k", "recall"]
    columns_of(frame, needed, "recall")
    readings, directions = pd.unique(frame["reading"]), pd.unique(frame["direction"])
    shapes = dict(zip(np.sort(pd.unique(frame["row"])), cycle(MARKERS), strict=False))
    looks = _looks(list(pd.unique(frame["model"])))
    height, size = 0.7 + 2.1 * len(directions), (len(directions), len(readings))
    figure, axes = sheet(height, source, *size, sharex="col", sharey=True)
    for (i, direction), (j, reading) in product(enumerate(directions), enumerate(readings)):
        panel = frame[(frame["direction"] == direction) & (frame["reading"] == reading)]
        _draw_panel(axes[i, j], panel, looks, shapes)
        axes[i, j].set_title(f"{direction}   {reading}", parse_math=False)
    for axis, reading in zip(axes[-1], readings, strict=True):
        axis.set_xlabel(f"K / N{_candidates(frame[frame['reading'] == reading])}")
    for axis in axes[:, 0]:
        axis.set_ylabel("recall, %")
    axes[0, 0].set_ylim(top=100)
    for axis in axes.flat:
        log_ticks(axis)
    legend_outside(figure, _legend(looks, shapes), "outside upper center", 7)
    return figure


def _looks(models: list[str]) -> dict[str, dict[str, Any]]:
    """Return the look of each model's lines; its marker is then that of the row."""
    house, thin = looks_of(models), {"linewidth": 0.6, "markersize": 4.4, "marker": "o"}
    looks = {model: house[model] | thin for model in models}
    if PUBLISHED in looks:
        looks[PUBLISHED]["linestyle"] = "-"
    return looks


def _draw_panel(
    axis: Axes, panel: pd.DataFrame, looks: dict[str, dict[str, Any]], shapes: dict[int, str]
) -> None:
    """Draw one direction under one reading."""
    axis.set_xscale("log")
    axis.set_yscale("log", nonpositive="mask")
    share = panel["k"] / panel["candidates"]
    ends = np.array([share.min(), share.max()])
    axis.plot(ends, 100 * ends, color=QUIET, linewidth=0.7)
    for (model, row), part in panel.assign(share=share).groupby(["model", "row"], sort=False):
        part = part.sort_values("k")
        axis.plot(part["share"], part["recall"], **looks[model] | {"marker": shapes[row]})


def _candidates(part: pd.DataFrame) -> str:
    """Say what N is under one reading."""
    if (part["candidates"] == part["row"]).all():
        return ", N = row"
    sizes = pd.unique(part["candidates"])
    return f", N = {sizes[0]:,}" if len(sizes) == 1 else ""


def _legend(looks: dict[str, dict[str, Any]], shapes: dict[int, str]) -> list[Line2D]:
    """Explain colours and fillings by model, markers by row, and the line of chance."""
    models = [Line2D([], [], label=model, **look) for model, look in looks.items()]
    plain: dict[str, Any] = {"linestyle": "none", "markersize": 4.4, "color": INK}
    rows = [Line2D([], [], marker=m, label=f"row {row:,}", **plain) for row, m in shapes.items()]
    return [*models, *rows, Line2D([], [], color=QUIET, linewidth=0.7, label="chance")]
