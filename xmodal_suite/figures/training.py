"""How training went: the parts of the loss, and what was measured on the validation clips."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from xmodal_suite.figures import curves, style
from xmodal_suite.figures.style import DASHES, INK, MARKERS, Look

_PARTS = {"loss": "total loss", "cosine": "cosine loss", "classification": "cross entropy"}
_SPREAD = ["alignment", "uniformity"]


@style.figure
def training_curves(
    history: pd.DataFrame,
    class_start_step: int | None = None,
    gallery_size: int | None = None,
) -> Figure:
    """Draw the loss and its parts, the learning rate, and what was validated, by training step.

    Runs differ in colour and dash; where a panel shows several measures, these differ in marker
    and are named at their ends. A panel with nothing to show is left out, and where
    λ is 0 in all steps the loss is the cosine loss alone.

    Parameters
    ----------
    history : DataFrame
        Columns step, run, loss, cosine, classification and any of learning_rate, recall_at_1,
        recall_at_5, recall_at_10 (percent, mean of both directions), alignment, uniformity. Where a
        step logged no such value, it is NaN.
    class_start_step : int, optional
        The step at which λ switches on (10,000 in the paper, Section 3.1), marked by a line.
    gallery_size : int, optional
        Candidates that the validation ranks, written into the title.
    """
    history = history.assign(  # the cross entropy is not measured while λ is 0
        classification=history["classification"].where(history["classification"] > 0)
    )
    recalls = {n: f"R@{n[10:]}" for n in map(str, history) if n.startswith("recall_at_")}
    gallery = "" if gallery_size is None else f" among {gallery_size:,} candidates"
    parts = [*_PARTS] if history["classification"].notna().any() else ["cosine"]
    recall, spread = f"validation recall, %{gallery}", "alignment and uniformity (lower is better)"
    panels = {_PARTS[part]: [part] for part in parts}
    panels |= {"learning rate": ["learning_rate"], recall: [*recalls], spread: _SPREAD}
    there = history.dropna(axis="columns", how="all").columns
    panels = {title: shown for title, shown in panels.items() if {*shown} & {*there}}
    rows = -(-len(panels) // 2)
    figure, axes = style.sheet(0.5 + 1.7 * rows, rows=rows, columns=2, sharex=True)
    style.letter(axes, [*panels])
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    at = dict(zip(panels, axes.flat, strict=False))
    looks = style.looks(history["run"])
    for title, columns in panels.items():
        for column, marker in zip(columns, MARKERS, strict=False):
            lines = history.reindex(columns=["step", "run", column]).dropna()
            for run, line in lines.groupby("run", sort=False):
                mark: Look = {"marker": "." if len(line) == 1 else None, "linewidth": 1}
                if len(columns) > 1:
                    mark |= {"marker": marker, "markersize": 3}
                curves.curve(at[title], line, "step", column, **looks[run] | mark)
    first = axes[0, 0]
    if history[parts[0]].max() > 20 * history[parts[0]].min() > 0:
        first.set_yscale("log")  # the cross entropy of an untrained classifier is huge
        style.log_ticks(first, "y")
    if "learning rate" in at:
        at["learning rate"].set_ylim(bottom=0)
        at["learning rate"].yaxis.set_major_formatter(
            lambda rate, _: np.format_float_positional(float(f"{rate:.6g}"), trim="-")
        )
    if recall in at:
        at[recall].set_ylim(bottom=0)
        _name_ends(at[recall], history, recalls)
    if spread in at:
        _name_ends(at[spread], history, {name: name for name in _SPREAD})
    last = history["step"].max()
    if class_start_step is not None and class_start_step <= last:
        for axis in at.values():
            axis.axvline(class_start_step, color=INK, linewidth=0.7, linestyle=DASHES[2])
        side, offset = ("right", -3) if class_start_step > last / 2 else ("left", 3)
        top: Look = {"xycoords": ("data", "axes fraction"), "va": "top", "ha": side}
        style.note(first, "λ switched on", (class_start_step, 1), (offset, 0), **top)
    for axis in [*at.values()][-2:]:  # the lowest of each column
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        style.plain_ticks(axis, "x")
        axis.tick_params(labelbottom=True)
        axis.set_xlabel("training step")
    keys = [
        Line2D([], [], label=style.shorten(run, 40), **look | {"marker": None})
        for run, look in looks.items()
    ]
    style.legend(figure, 3, keys)
    return figure


def _name_ends(axis: Axes, history: pd.DataFrame, names: dict[str, str]) -> None:
    """Name what each column holds beside the highest end of its lines, no name over another."""
    validated = history.dropna(subset=[*names])
    low, high = axis.get_ylim()
    line = (high - low) * 0.12  # the height of a line of text
    lowest = low
    for column, end in validated.groupby("run")[[*names]].last().max().sort_values().items():
        at = validated["step"].max(), max(end, lowest)
        style.note(axis, names[str(column)], at, (6, 0), annotation_clip=False)
        lowest = at[1] + line


@style.figure
def plain_curve(frame: pd.DataFrame) -> Figure:
    """Draw the loss of the plain loop by step, and say what recall it arrives at.

    Parameters
    ----------
    frame : DataFrame
        As `xmodal_suite.training.plain_frame` returns it.
    """
    figure, axes = style.sheet(2.0)
    end = frame.dropna(subset="recall_at_1").iloc[-1]
    axes[0, 0].set_title(
        f"cosine loss of each batch; at the end, validation Recall@1 is {end['recall_at_1']:.1f} % "
        f"among {end['gallery']:,.0f} candidates (chance: {100 / end['gallery']:.1f} %)"
    )
    curves.curve(axes[0, 0], frame, "step", "loss", color=style.PALETTE[0])
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 0].set_xlabel("training step")
    return figure
