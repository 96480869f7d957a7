"""How training went: the parts of the loss, and what was measured on the validation clips."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from xmodal_suite.figures import style
from xmodal_suite.figures.style import DASHES, INK, MARKERS, PALETTE, Look

_RATE, _RECALL = "learning rate", "validation recall, %"
_PANELS = {  # the measures of each panel
    "total loss": ["loss"],
    "cosine loss": ["cosine"],
    "cross entropy": ["classification"],
    _RATE: ["learning_rate"],
    _RECALL: [f"recall_at_{k}" for k in (1, 5, 10)],
    "alignment and uniformity (lower is better)": ["alignment", "uniformity"],
}


def training_curves(
    history: pd.DataFrame, class_start_step: int | None = None, gallery_size: int | None = None
) -> Figure:
    """Draw the loss and its parts, the learning rate, and what was validated, by training step.

    Where a panel shows several measures, these differ in marker and are named at their ends. A
    panel with nothing to show is left out; where λ is 0 in all steps, the loss is the cosine loss
    alone.

    Parameters
    ----------
    history : DataFrame
        `xmodal_suite.runs.history_frame` of one or more runs.
    class_start_step : int, optional
        The step at which λ switches on (10,000 in the paper, Section 3.1), marked by a line.
    gallery_size : int, optional
        Candidates that the validation ranks, written into the title.
    """
    looks, last = style.looks(history["run"]), history["step"].max()
    history = history.replace({"classification": {0: np.nan}})  # not measured while λ is 0
    history = history.dropna(axis="columns", how="all")
    if "classification" not in history:
        history = history.drop(columns="loss")
    panels = {title: names for title, names in _PANELS.items() if {*names} <= {*history}}
    rows = -(-len(panels) // 2)
    figure, axes = style.sheet(0.5 + 1.7 * rows, rows, 2, sharex=True)
    gallery = f" among {gallery_size:,} candidates" if gallery_size else ""
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    for mark, axis, (title, names) in zip("abcdef", axes.flat, panels.items(), strict=False):
        axis.set_title(f"{mark}   {title}{gallery if title == _RECALL else ''}")
        for column, marker in zip(names, MARKERS, strict=False):
            for run, line in history.dropna(subset=column).groupby("run", sort=False):
                form: Look = {"marker": "." if len(line) == 1 else None, "linewidth": 1}
                if len(names) > 1:
                    form |= {"marker": marker, "markersize": 3}
                axis.plot(line["step"], line[column], **looks[run] | form)
        if title in (_RATE, _RECALL):
            axis.set_ylim(bottom=0)
        if title == _RATE:
            axis.yaxis.set_major_formatter(lambda rate, _: f"{rate:.8f}".rstrip("0").rstrip("."))
        if len(names) > 1:
            _name_ends(axis, history, names)
    loss = history["loss" if "loss" in history else "cosine"]
    if loss.max() > 20 * loss.min() > 0:  # the cross entropy of an untrained classifier is huge
        axes[0, 0].set_yscale("log")
        style.log_ticks(axes[0, 0].yaxis)
    if class_start_step and class_start_step <= last:
        for axis in figure.axes:
            axis.axvline(class_start_step, color=INK, linewidth=0.7, linestyle=DASHES[2])
        side, offset = ("right", -3) if class_start_step > last / 2 else ("left", 3)
        top: Look = {"xycoords": ("data", "axes fraction"), "va": "top", "ha": side}
        style.note(axes[0, 0], "λ switched on", (class_start_step, 1), (offset, 0), **top)
    for axis in figure.axes[-2:]:  # the lowest of each column
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        axis.xaxis.set_major_formatter(style.PLAIN)
        axis.tick_params(labelbottom=True)
        axis.set_xlabel("training step")
    keys = [
        Line2D([], [], label=style.shorten(run, 40), **look | {"marker": None})
        for run, look in looks.items()
    ]
    style.legend(figure, 3, keys)
    return figure


def _name_ends(axis: Axes, history: pd.DataFrame, names: list[str]) -> None:
    """Name what each column holds beside the highest end of its lines, no name over another."""
    at, high = axis.get_ylim()
    line = (high - at) * 0.12  # the height of a line of text
    ends = history.groupby("run")[names].last().max().sort_values()
    for column, end in ends.items():
        at, name = max(end, at), str(column).replace("recall_at_", "R@")
        style.note(axis, name, (axis.dataLim.x1, at), (6, 0), annotation_clip=False)
        at += line


def plain_curve(frame: pd.DataFrame) -> Figure:
    """Draw the loss of the plain loop by step, and say what recall it arrives at.

    ``frame`` has columns step, loss, recall_at_1 (percent) and gallery (candidates).
    """
    figure, axes = style.sheet(2.0)
    axis, end = axes[0, 0], frame.dropna(subset="recall_at_1").iloc[-1]
    axis.set_title(
        f"cosine loss of each batch; at the end, validation Recall@1 is {end['recall_at_1']:.1f} % "
        f"among {end['gallery']:,.0f} candidates (chance: {100 / end['gallery']:.1f} %)"
    )
    axis.plot(frame["step"], frame["loss"], color=PALETTE[0])
    axis.set(xlabel="training step", ylim=(0, None))
    return figure
