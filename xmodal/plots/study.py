"""What each change does, and what more training clips give."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from xmodal.config import InputError
from xmodal.plots.style import (
    DASHES,
    INK,
    MARKERS,
    PALETTE,
    QUIET,
    SMALL,
    columns_of,
    drawn_in_house_style,
    legend_outside,
    log_ticks,
    sheet,
    shorten,
)


@drawn_in_house_style
def study_rows(frame: pd.DataFrame, source: str) -> Figure:
    """Draw the recall of each row of a study, one below the other; the first is the reference.

    Dots are runs, the tall mark their mean, the bar the standard deviation over seeds.

    Parameters
    ----------
    frame
        Columns about (what the row changes, in words), seed, panel (which recall, in words) and
        recall (percent), as `xmodal.evaluation.ablation.panels` gives them.

    Raises
    ------
    InputError
        When a column is missing, there are no rows, or two rows have the same words.
    """
    columns_of(frame, ["about", "seed", "panel", "recall"], "study")
    twice = frame[frame.duplicated(["about", "seed", "panel"])]
    if len(twice):
        raise InputError(
            f"the study frame has seed {twice['seed'].iloc[0]} of '{twice['about'].iloc[0]}' "
            f"twice: give each row words of its own."
        )
    rows, names = list(pd.unique(frame["about"])), list(pd.unique(frame["panel"]))
    figure, axes = sheet(1.15 + 0.165 * len(rows), source, 1, len(names), sharey=True)
    for axis, name in zip(axes[0], names, strict=True):
        _draw_rows(axis, frame[frame["panel"] == name], rows)
        axis.set_title(name, parse_math=False)
    axis = axes[0, 0]
    axis.set_yticks(range(len(rows)), [shorten(row, 48) for row in rows], parse_math=False)
    axis.get_yticklabels()[0].set_fontweight("bold")
    axis.set_ylim(len(rows) - 0.4, -0.6)
    legend_outside(figure, axis.get_legend_handles_labels()[0], "outside upper center", 4)
    return figure


def _draw_rows(axis: Axes, panel: pd.DataFrame, rows: list[str]) -> None:
    """Draw one recall of every row."""
    place = panel["about"].map(rows.index)
    seen = panel["recall"].groupby(place).agg(["mean", "std"])
    for number in range(len(rows)):
        axis.axhline(number, color="#e4e4e4", linewidth=0.6, zorder=0)
    if 0 in seen.index:
        guide: dict[str, Any] = {"color": QUIET, "linewidth": 0.8, "linestyle": DASHES[1]}
        axis.axvline(seen.loc[0, "mean"], label="mean of the first row", zorder=0.5, **guide)
    several = seen.dropna()
    if len(several):
        ends = several["mean"] - several["std"], several["mean"] + several["std"]
        bar: dict[str, Any] = {"color": PALETTE[0], "alpha": 0.3, "linewidth": 5}
        axis.hlines(several.index, *ends, label="± standard deviation over seeds", **bar)
    whole: dict[str, Any] = {"linestyle": "none", "clip_on": False}  # also at the edge, 0 %
    tall = whole | {"marker": "|", "markersize": 9, "markeredgewidth": 1.6, "color": PALETTE[0]}
    axis.plot(seen["mean"], seen.index, label="mean", **tall)
    dot = whole | {"marker": ".", "markersize": 3.5, "color": INK}
    axis.plot(panel["recall"], place, label="a run", **dot)
    axis.set(xlabel="recall, %", xlim=(0, None))
    axis.tick_params(axis="y", length=0)


@drawn_in_house_style
def learning_curve(
    points: pd.DataFrame, lines: pd.DataFrame, source: str, target: tuple[str, float] | None = None
) -> Figure:
    """Draw recall against the number of training clips, and how it may go on.

    Each run is a point. The law is drawn whole where clips were measured and dashed beyond, its
    interval as a band. A recall of 0 has no place on the logarithmic axis.

    Parameters
    ----------
    points
        Columns method, clips and recall (percent), one line a run.
    lines
        Columns method, clips, recall, low and high, as
        `xmodal.evaluation.scaling.curve` gives them.
    source
        What the data is called.
    target
        A recall to compare with: its name, and its value.

    Raises
    ------
    InputError
        When a column is missing or there are no rows.
    """
    columns_of(points, ["method", "clips", "recall"], "points")
    columns_of(lines, ["method", "clips", "recall", "low", "high"], "lines")
    figure, axes = sheet(3.8, source)
    axis = axes[0, 0]
    axis.set(xscale="log", xlabel="training clips", ylabel="recall, %")
    axis.set_yscale("log", nonpositive="mask")
    for number, method in enumerate(pd.unique(points["method"])):
        mine, law = points[points["method"] == method], lines[lines["method"] == method]
        colour, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
        _draw_law(axis, law, mine["clips"], colour)
        look: dict[str, Any] = {"color": colour, "markeredgecolor": "white", "markersize": 4.8}
        look |= {"markeredgewidth": 0.4, "label": shorten(str(method), 46)}
        axis.plot(mine["clips"], mine["recall"], marker, **look)
    shown = points["recall"].tolist()
    if target:
        _draw_target(axis, *target)
        shown.append(target[1])
    lowest = min((recall for recall in shown if recall > 0), default=1)
    axis.set_ylim(lowest / 1.5, 100)  # an interval may reach far beyond what recall can be
    log_ticks(axis)
    legend_outside(figure, axis.get_legend_handles_labels()[0], "outside upper center", 2)
    legend_outside(figure, _key(), "outside lower center", 3)
    return figure


def _draw_law(axis: Axes, law: pd.DataFrame, measured: pd.Series, colour: str) -> None:
    """Draw one method's law: solid over the clips measured, dashed before and beyond."""
    law = law[law["recall"] > 0].sort_values("clips")
    if law.empty:
        return
    axis.fill_between(law["clips"], law["low"], law["high"], color=colour, alpha=0.13, linewidth=0)
    first, last = measured.min(), measured.max()
    known = law["clips"].min(), law["clips"].max()
    clips = np.union1d(law["clips"], np.clip([first, last], *known))
    recall = np.exp(np.interp(np.log(clips), np.log(law["clips"]), np.log(law["recall"])))
    within = (first <= clips) & (clips <= last)
    for part, dash in ((within, 0), (clips >= last, 1), (clips <= first, 1)):
        axis.plot(clips[part], recall[part], color=colour, linestyle=DASHES[dash])


def _draw_target(axis: Axes, words: str, recall: float) -> None:
    """Draw a recall to compare with, named beside the end of its line, where no data are."""
    axis.axhline(recall, color=INK, linewidth=0.7, linestyle=DASHES[2])
    axis.annotate(
        words.replace(", ", ",\n"), (1, recall), (5, 0), ("axes fraction", "data"), "offset points",
        va="center", fontsize=SMALL, parse_math=False, annotation_clip=False,
    )  # fmt: skip


def _key() -> list[Artist]:
    """Explain the lines and the band."""
    return [
        Line2D([], [], color=QUIET, label="fitted to the runs"),
        Line2D([], [], color=QUIET, linestyle=DASHES[1], label="continued"),
        Patch(color=QUIET, alpha=0.2, linewidth=0, label="95 % prediction interval"),
    ]
