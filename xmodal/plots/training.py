"""How training went: the parts of the loss, and recall on the validation clips."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from xmodal.plots import curves, style
from xmodal.plots.style import DASHES, INK, MARKERS, QUIET, Look

_PARTS = {"loss": "total loss", "cosine": "cosine loss", "classification": "cross entropy"}


@style.figure(history=["step", "run", *_PARTS])
def training_curves(
    history: pd.DataFrame,
    source: str,
    class_start_step: int | None = None,
    gallery_size: int | None = None,
) -> Figure:
    """Draw the loss and its parts, and the recall on the validation clips, by training step.

    Runs differ in colour and dash; recall levels differ in marker and are named at their ends.

    Parameters
    ----------
    history : DataFrame
        Columns step, run, loss, cosine, classification and, once something was validated, any of
        recall_at_1, recall_at_5, recall_at_10 (percent, mean of both directions). Where a step
        logged no such value, it is NaN.
    class_start_step : int, optional
        The step at which λ switches on (10,000 in the paper, Section 3.1), marked by a line.
    gallery_size : int, optional
        Candidates that the validation ranks, written into the title.
    """
    history = history.assign(  # the cross entropy is not measured while λ is 0
        classification=history["classification"].where(history["classification"] > 0)
    )
    recalls = [name for name in history if str(name).startswith("recall_at_")]
    gallery = "" if gallery_size is None else f" among {gallery_size:,} candidates"
    figure, axes = style.sheet(4.0, source, rows=2, columns=2, sharex=True)
    style.letter(axes, [*_PARTS.values(), f"validation recall, %{gallery}"])
    looks = style.looks(history["run"])
    for axis, columns in zip(axes.flat, [*([part] for part in _PARTS), recalls], strict=True):
        for column, marker in zip(columns, MARKERS, strict=False):
            for run, rows in history.dropna(subset=column).groupby("run", sort=False):
                mark: Look = {"marker": "." if len(rows) == 1 else None, "linewidth": 1}
                if columns is recalls:
                    mark |= {"marker": marker, "markersize": 3}
                curves.curve(axis, rows, "step", column, **looks[run] | mark)
        if not axis.lines:
            why = "no validation yet" if columns is recalls else "λ is 0 in these steps"
            middle: Look = {"transform": axis.transAxes, "ha": "center", "va": "center"}
            axis.text(0.5, 0.5, why, color=QUIET, **middle)
            axis.set_yticks([])
    if history["loss"].max() > 20 * history["loss"].min() > 0:
        axes[0, 0].set_yscale("log")  # the cross entropy of an untrained classifier is huge
        style.log_ticks(axes[0, 0], "y")
    if axes[1, 1].lines:
        _name_ends(axes[1, 1], history.dropna(subset=recalls), recalls)
    last = history["step"].max()
    if class_start_step is not None and class_start_step <= last:
        for axis in (axis for axis in axes.flat if axis.lines):
            axis.axvline(class_start_step, color=INK, linewidth=0.7, linestyle=DASHES[2])
        side, offset = ("right", -3) if class_start_step > last / 2 else ("left", 3)
        top: Look = {"xycoords": ("data", "axes fraction"), "va": "top", "ha": side}
        style.note(axes[0, 0], "λ switched on", (class_start_step, 1), (offset, 0), **top)
    for axis in axes[-1]:
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        style.plain_ticks(axis, "x")
        axis.set_xlabel("training step")
    keys = [
        Line2D([], [], label=style.shorten(run, 40), **look | {"marker": None})
        for run, look in looks.items()
    ]
    style.legend(figure, 3, keys)
    return figure


def _name_ends(axis: Axes, validated: pd.DataFrame, recalls: list[str]) -> None:
    """Name each level beside the highest end of its lines, no name over another."""
    axis.set_ylim(bottom=0)
    line = axis.get_ylim()[1] * 0.1  # the height of a line of text
    lowest = 0.0
    for level, end in validated.groupby("run")[recalls].last().max().sort_values().items():
        at = validated["step"].max(), max(end, lowest)
        name = f"R@{str(level).removeprefix('recall_at_')}"
        style.note(axis, name, at, (6, 0), annotation_clip=False)
        lowest = at[1] + line
