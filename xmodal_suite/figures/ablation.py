"""What each change to a method does, and what more training clips give."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from xmodal_suite.figures import style
from xmodal_suite.figures.style import DASHES, INK, PALETTE, QUIET, Look


def study_rows(frame: pd.DataFrame) -> Figure:
    """Draw the recall of each row of a study, one below the other; the first is the reference.

    Dots are runs, the tall mark their mean, the bar one standard deviation over seeds each way.

    ``frame`` is that of `xmodal_suite.study.named_recalls`; each of its measures has a panel.
    """
    names = list(frame["change"].unique())
    figure, panels = style.facets(frame, 1.15 + 0.165 * len(names), "measure")
    guide: Look = {"color": QUIET, "linewidth": 0.8, "linestyle": DASHES[1], "zorder": 0.5}
    tall: Look = {"color": PALETTE[0], "marker": "|", "markersize": 9, "markeredgewidth": 1.6}
    tall |= {"elinewidth": 5, "ecolor": (PALETTE[0], 0.3)}
    for axis, panel in panels:
        style.rows(axis, names)
        runs = panel.groupby("change", sort=False)["recall"]
        mean, spread = runs.mean(), runs.std()
        axis.axvline(mean[names[0]], label="mean of the first row", **guide)
        means = pd.DataFrame({"recall": mean, "low": mean - spread, "high": mean + spread})
        label = "mean ± standard deviation over seeds"
        style.dots(axis, means, mean.index.map(names.index), label=label, **tall)
        dot: Look = {"color": INK, "marker": ".", "markersize": 3.5, "label": "a run"}
        style.dots(axis, panel, panel["change"].map(names.index), **dot)
        axis.set(xlabel="recall, %", xlim=(0, None))
    panels[0][0].get_yticklabels()[0].set_fontweight("bold")
    style.legend(figure, 4)
    return figure


def learning_curve(
    points: pd.DataFrame, lines: pd.DataFrame, target: tuple[str, float] | None = None
) -> Figure:
    """Draw recall against the number of training clips, and how it may go on.

    Each run is a point. The fitted curve is solid as far as clips were measured and dashed beyond,
    its prediction interval a band.

    ``points`` is that of `xmodal_suite.scaling.learning_points`, ``lines`` of `continued`, and
    ``target`` a recall to compare with: its name, and its value in percent.
    """
    figure, axes = style.sheet(3.8)
    axis = axes[0, 0]
    axis.set(xscale="log", yscale="log", xlabel="training clips", ylabel="recall, %")
    white: Look = {"linestyle": "none", "markeredgecolor": "white", "markeredgewidth": 0.4}
    white |= {"markersize": 4.8}
    for method, look in style.looks(points["method"]).items():
        runs, fitted = points[points["method"] == method], lines[lines["method"] == method]
        band: Look = {"color": look["color"], "alpha": 0.13, "linewidth": 0}
        axis.fill_between(fitted["clips"], fitted["low"], fitted["high"], **band)
        curve, last = np.log(fitted.set_index("clips")["recall"]), runs["clips"].max()
        curve[last] = np.interp(np.log(last), np.log(curve.index), curve)
        curve = np.exp(curve).sort_index()
        axis.plot(curve.loc[:last], color=look["color"])
        axis.plot(curve.loc[last:], color=look["color"], linestyle=DASHES[1])
        label = style.shorten(method, 46)
        axis.plot(runs["clips"], runs["recall"], **look | white, label=label)
    lowest = points.loc[points["recall"] > 0, "recall"].min()
    if target:
        axis.axhline(target[1], color=INK, linewidth=0.7, linestyle=DASHES[2])
        outside: Look = {"xycoords": ("axes fraction", "data"), "annotation_clip": False}
        style.note(axis, target[0].replace(", ", ",\n"), (1, target[1]), (5, 0), **outside)
        lowest = min(lowest, target[1])
    axis.set_ylim(lowest / 1.5, 100)  # an interval may reach far beyond what recall can be
    style.log_ticks(axis.xaxis, axis.yaxis)
    style.legend(figure, 2)
    keys = [
        Line2D([], [], color=QUIET, label="fitted to the runs"),
        Line2D([], [], color=QUIET, label="continued", linestyle=DASHES[1]),
        Patch(color=QUIET, label="95 % prediction interval", alpha=0.2, linewidth=0),
    ]
    style.legend(figure, 3, keys, loc="outside lower center")
    return figure
