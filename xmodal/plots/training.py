"""How training went: the parts of the loss, and recall on the validation clips."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

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
    letter,
    plain_ticks,
    sheet,
    shorten,
)

_PARTS = {"loss": "total loss", "cosine": "cosine loss", "classification": "cross entropy"}


@drawn_in_house_style
def training_curves(
    training: pd.DataFrame,
    validation: pd.DataFrame,
    source: str,
    class_start_step: int | None = None,
    gallery_size: int | None = None,
) -> Figure:
    """Draw the loss and its parts, and the recall on the validation clips, by training step.

    Runs differ in colour and dash; recall levels differ in marker and are named at their ends.

    Parameters
    ----------
    training
        Columns step, run, loss, cosine, classification; others are left alone.
    validation
        Columns step, run and any of recall_at_1, recall_at_5, recall_at_10: percent, mean of
        both directions. It may be empty, as before the first validation. Rows without a value
        (NaN) are left out of either frame, so one frame that holds both kinds of rows serves twice.
    class_start_step
        The step at which lambda switches on (10,000 in the paper, Section 3.1), marked by a line.
    gallery_size
        Candidates that the validation ranks, written into the title.

    Raises
    ------
    InputError
        When a column is missing or no step was logged.
    """
    columns_of(training, ["step", "run", *_PARTS], "training")
    recalls = [name for name in validation.columns if str(name).startswith("recall_at_")]
    if len(validation):
        columns_of(validation, ["step", "run", *(recalls or ["recall_at_1"])], "validation")
        validation = validation.dropna(subset=recalls)
    figure, axes = sheet(4.0, source, rows=2, columns=2, sharex=True)
    runs = list(pd.unique(training["run"]))
    styles = {
        run: {"color": PALETTE[n % len(PALETTE)], "linestyle": DASHES[n % len(DASHES)]}
        for n, run in enumerate(runs)
    }
    for axis, part in zip(axes.flat, _PARTS, strict=False):
        measured = training.dropna(subset=part)
        if part == "classification":
            measured = measured[measured[part] > 0]  # it is not measured while λ is 0
            if not len(measured):
                _say(axis, "λ is 0 in these steps")
        for run, rows in measured.groupby("run", sort=False):
            dot = "." if len(rows) == 1 else None
            axis.plot(rows["step"], rows[part], linewidth=1.0, marker=dot, **styles[run])
    if training["loss"].max() > 20 * training["loss"].min() > 0:
        axes[0, 0].set_yscale("log")  # the cross entropy of an untrained classifier is huge

    _recall_panel(axes[1, 1], validation, recalls, styles)

    if class_start_step is not None and class_start_step <= training["step"].max():
        for axis in axes.flat:
            if axis.lines:
                axis.axvline(class_start_step, color=INK, linewidth=0.7, linestyle=DASHES[2])
        late = class_start_step > training["step"].max() / 2
        axes[0, 0].annotate(
            "λ switched on",
            (class_start_step, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-3 if late else 3, 0),
            textcoords="offset points",
            ha="right" if late else "left",
            va="top",
            fontsize=SMALL,
        )
    for axis in axes[-1]:
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        plain_ticks(axis, "x")
        axis.set(xlabel="training step")
    gallery = "" if gallery_size is None else f" among {gallery_size:,} candidates"
    letter(axes, [*_PARTS.values(), f"validation recall, %{gallery}"])
    handles = [Line2D([], [], label=shorten(str(run), 40), **styles[run]) for run in runs]
    legend_outside(figure, handles, "outside upper center", 3)
    return figure


def _say(axis: Axes, why: str) -> None:
    """Write into an empty panel why it is empty."""
    middle: dict[str, Any] = {"transform": axis.transAxes, "ha": "center", "va": "center"}
    axis.text(0.5, 0.5, why, fontsize=SMALL, color=QUIET, **middle)
    axis.set_yticks([])


def _recall_panel(
    axis: Axes, validation: pd.DataFrame, recalls: list[str], styles: dict[Any, dict[str, Any]]
) -> None:
    """Draw every level of every run, each level named beside its highest end."""
    if not len(validation):
        _say(axis, "no validation yet")
        return
    ends = {}
    for level, marker in zip(recalls, MARKERS, strict=False):
        for run, rows in validation.groupby("run", sort=False):
            look = styles.get(run, {"color": QUIET, "linestyle": "-"})
            axis.plot(rows["step"], rows[level], marker=marker, markersize=3, linewidth=1, **look)
        ends[level] = validation.groupby("run")[level].last().max()
    axis.set_ylim(bottom=0)
    room = axis.get_ylim()[1] * 0.1  # the height of a line of text, so that no two names meet
    lowest = 0.0
    for level in sorted(recalls, key=ends.__getitem__):
        height = max(ends[level], lowest)
        axis.annotate(
            f"R@{level.removeprefix('recall_at_')}",
            (validation["step"].max(), height),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            annotation_clip=False,
        )
        lowest = height + room
