"""What each change to a method does, and what more training clips give."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from xmodal_suite.figures import curves, dots, style
from xmodal_suite.figures.style import DASHES, INK, PALETTE, QUIET, Look


@style.figure
def study_rows(frame: pd.DataFrame) -> Figure:
    """Draw the recall of each row of a study, one below the other; the first is the reference.

    Dots are runs, the tall mark their mean, the bar one standard deviation over seeds each way.

    Parameters
    ----------
    frame : DataFrame
        Columns about (what the row changes, in words, no two the same), seed, panel (which recall,
        in words) and recall (percent).
    """
    rows = style.in_order(frame["about"])
    figure, panels = style.facets(frame, 1.15 + 0.165 * len(rows), "panel")
    guide: Look = {"color": QUIET, "linewidth": 0.8, "linestyle": DASHES[1], "zorder": 0.5}
    tall: Look = {"color": PALETTE[0], "marker": "|", "markersize": 9, "markeredgewidth": 1.6}
    tall |= {"elinewidth": 5, "ecolor": (PALETTE[0], 0.3)} | dots.WHOLE
    dot: Look = {"color": INK, "marker": ".", "markersize": 3.5} | dots.WHOLE
    for axis, panel in panels:
        dots.rows(axis, rows)
        runs = panel.groupby("about", sort=False)["recall"]
        mean, spread = runs.mean(), runs.std()
        if rows[0] in mean:
            axis.axvline(mean[rows[0]], label="mean of the first row", **guide)
        means = pd.DataFrame({"recall": mean, "low": mean - spread, "high": mean + spread})
        label = "mean ± standard deviation over seeds"
        dots.dots(axis, means, mean.index.map(rows.index), label=label, **tall)
        dots.dots(axis, panel, panel["about"].map(rows.index), label="a run", **dot)
        axis.set(xlabel="recall, %", xlim=(0, None))
    panels[0][0].get_yticklabels()[0].set_fontweight("bold")
    style.legend(figure, 4)
    return figure


@style.figure
def learning_curve(
    points: pd.DataFrame, lines: pd.DataFrame, target: tuple[str, float] | None = None
) -> Figure:
    """Draw recall against the number of training clips, and how it may go on.

    Each run is a point. The fitted curve is solid over the clips that were measured and dashed
    beyond, its prediction interval a band.

    Parameters
    ----------
    points : DataFrame
        Columns method, clips and recall (percent), one line a run.
    lines : DataFrame
        Columns method, clips, recall, low and high (percent): the curve fitted to each method.
    target : tuple[str, float], optional
        A recall to compare with: its name, and its value in percent.
    """
    figure, axes = style.sheet(3.8)
    axis = axes[0, 0]
    curves.log_axes(axis, xlabel="training clips", ylabel="recall, %")
    white: Look = {"linestyle": "none", "markeredgecolor": "white", "markeredgewidth": 0.4}
    for method, look in style.looks(points["method"]).items():
        runs, fitted = points[points["method"] == method], lines[lines["method"] == method]
        _fitted(axis, fitted[fitted["recall"] > 0], runs["clips"], look["color"])
        look |= white | {"markersize": 4.8, "label": style.shorten(method, 46)}
        axis.plot(runs["clips"], runs["recall"], **look)
    shown = points["recall"].tolist()
    if target:
        words, recall = target
        axis.axhline(recall, color=INK, linewidth=0.7, linestyle=DASHES[2])
        beside: Look = {"xycoords": ("axes fraction", "data"), "annotation_clip": False}
        style.note(axis, words.replace(", ", ",\n"), (1, recall), (5, 0), **beside)
        shown.append(recall)
    lowest = min((recall for recall in shown if recall > 0), default=1)
    axis.set_ylim(lowest / 1.5, 100)  # an interval may reach far beyond what recall can be
    style.log_ticks(axis)
    style.legend(figure, 2)
    keys = [
        Line2D([], [], color=QUIET, label="fitted to the runs"),
        Line2D([], [], color=QUIET, label="continued", linestyle=DASHES[1]),
        Patch(color=QUIET, label="95 % prediction interval", alpha=0.2, linewidth=0),
    ]
    style.legend(figure, 3, keys, "outside lower center")
    return figure


def _fitted(axis: Axes, fitted: pd.DataFrame, measured: pd.Series, colour: str) -> None:
    """Draw one fitted curve: solid over the clips measured, dashed before and beyond."""
    if fitted.empty:
        return
    above = fitted.assign(low=np.maximum(fitted["low"], 1e-9))  # 0 would tear the band
    curves.band(axis, above, "clips", colour, alpha=0.13)
    fitted, ends = fitted.sort_values("clips"), [measured.min(), measured.max()]
    first, last = np.clip(ends, fitted["clips"].min(), fitted["clips"].max())
    clips = np.union1d(fitted["clips"], [first, last])
    recall = np.exp(np.interp(np.log(clips), np.log(fitted["clips"]), np.log(fitted["recall"])))
    within = (first <= clips) & (clips <= last)
    for part, dash in ((within, 0), (clips >= last, 1), (clips <= first, 1)):
        axis.plot(clips[part], recall[part], color=colour, linestyle=DASHES[dash])
