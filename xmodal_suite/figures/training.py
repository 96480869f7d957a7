"""How training went: losses on the clips of training and of validation, and validation recall."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from xmodal_suite.figures import style
from xmodal_suite.figures.style import DASHES, INK, MARKERS, METHODS, PALETTE, QUIET, Look

_VALIDATED: Look = {"linestyle": DASHES[1]}
_LABELS = [PALETTE[n] for n in (1, 2, 4, 5)]  # no modality's


def training_curves(
    history: pd.DataFrame, class_start_step: int | None = None, gallery_size: int | None = None
) -> Figure:
    """Draw the loss of training and of validation, and validation recall, by training step.

    In validation the loss is that of true pairs, 1 − cosine, which is half the alignment. Lines
    mark the best step, and the one at which λ switches on. The cross entropy has a panel where it
    was trained. ``history`` is `xmodal_suite.runs.history_frame` of one run, and validation ranks
    ``gallery_size`` candidates.
    """
    last, classified = history["step"].max(), history["classification"].max() > 0
    best = history.loc[history["recall_at_1"].idxmax()]
    title = f"Validation Recall@1 is best at step {best['step']:,.0f}, at {best['recall_at_1']:.1f}%"
    figure, axes = style.sheet(2.8, columns=2 + classified, title=title, sharex=True)
    left, right = axes[0, :2]
    look: Look = {"color": METHODS["paper"], "linewidth": 1.1, "markersize": 3}
    left.plot(history["step"], history["cosine"], marker=".", **look)
    left.plot(history["step"], history["alignment"] / 2, marker=".", **look | _VALIDATED)
    for k, marker in zip((1, 5, 10), MARKERS, strict=False):
        found = history[f"recall_at_{k}"]
        right.plot(history["step"], found, marker=marker, **look)
        style.note(right, f"R@{k}", (last, found.iloc[-1]), (6, 0), annotation_clip=False)
    if classified:
        later = history[history["classification"] > 0]  # not measured while λ is 0
        axes[0, 2].plot(later["step"], later["classification"], marker=".", **look)
        axes[0, 2].set_title("c   cross entropy")
        axes[0, 2].yaxis.set_major_formatter(style.PLAIN)
    for axis in (left, right):
        axis.axvline(best["step"], linestyle=DASHES[2], zorder=0, **look)
    _name_lines(left)
    among = f", N = {gallery_size:,}" if gallery_size else ""
    right.set(title=f"b   validation recall (%){among}")
    keys = [Line2D([], [], label="best step", color=QUIET, linestyle=DASHES[2])]
    if class_start_step and class_start_step <= last:
        for axis in figure.axes:
            axis.axvline(class_start_step, color=INK, linewidth=0.7, linestyle=DASHES[3])
        keys.append(Line2D([], [], label="λ switched on", color=INK, linestyle=DASHES[3]))
    for axis in figure.axes:
        _by_step(axis)
    figure.legend(handles=keys, ncols=3, loc="lower left", borderpad=0, borderaxespad=0.5)
    return figure


def plain_curve(frame: pd.DataFrame) -> Figure:
    """Draw the losses of the plain loop, training and validation, and recall_at_1, by step."""
    last, chance = frame.iloc[-1], 100 / frame["gallery"].max()
    title = (
        f"After {last['step']:,.0f} steps, the match is first for {last['recall_at_1']:.1f}% of the "
        f"queries, {last['recall_at_1'] / chance:.0f} times as often as by chance"
    )
    figure, [[left, right]] = style.sheet(2.8, columns=2, title=title)
    left.plot(frame["step"], frame["training"], color=METHODS["paper"])
    left.plot(frame["step"], frame["validation"], color=METHODS["paper"], **_VALIDATED)
    _name_lines(left)
    right.plot(frame["step"], frame["recall_at_1"], color=METHODS["paper"], **_VALIDATED)
    right.axhline(chance, color=QUIET, linewidth=0.8)
    style.note(right, "chance", (last["step"], chance), (0, 6), ha="right", color=QUIET)
    right.set_title(f"b   validation Recall@1 (%), N = {frame['gallery'].max():,}")
    for axis in (left, right):
        _by_step(axis)
    return figure


def circles(frame: pd.DataFrame) -> Figure:
    """Draw a joint space of two dimensions by step, a row of circles for each loss.

    Videos are outside, sounds inside; ``frame`` has the angles of both, and labels from 0 to 3.
    """
    losses, steps = list(frame["loss"].unique()), list(frame["step"].unique())
    end = frame[frame["step"] == steps[-1]].groupby("loss")["visual"]
    apart = end.agg(lambda angles: 1 - np.abs(np.exp(1j * angles).mean()))  # 0: one spot, 1: all around
    title = (
        f"With {apart.idxmin()}, the clips end closest together (spread {apart.min():.2f}); with "
        f"{apart.idxmax()}, furthest apart ({apart.max():.2f})"
    )
    figure, axes = style.sheet(5.4, len(losses), len(steps), title=title)
    for (loss, step), part in frame.groupby(["loss", "step"], sort=False):
        axis = axes[losses.index(loss), steps.index(step)]
        angles = part[["visual", "audio"]].to_numpy()[..., None]
        points = np.concatenate([np.cos(angles), np.sin(angles)], axis=2) * [[1.0], [0.75]]
        colours = [_LABELS[label] for label in part["label"]]
        axis.add_collection(LineCollection(list(points), colors=colours, linewidths=0.5, alpha=0.5))
        for side, marker in enumerate("^o"):
            axis.scatter(*points[:, side].T, s=10, c=colours, marker=marker, linewidths=0)
        axis.set(aspect="equal", xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for axis, step in zip(axes[0], steps, strict=True):
        axis.set_title(f"step {step}", loc="center")
    for axis, loss in zip(axes[:, 0], losses, strict=True):
        axis.set_ylabel(loss)
    return figure


def _name_lines(axis: Axes) -> None:
    """Tell the losses of training and validation apart, and give their panel its title."""
    lines: dict[str, Look] = {"training": {}, "validation": _VALIDATED}
    look: Look = {"color": METHODS["paper"]}
    axis.legend(handles=[Line2D([], [], label=n, **look, **dash) for n, dash in lines.items()])
    axis.set_title("a   loss")


def _by_step(axis: Axes) -> None:
    """Let the axes begin at 0, with whole steps."""
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axis.xaxis.set_major_formatter(style.PLAIN)
    axis.set(xlabel="training step", ylim=(0, None))
