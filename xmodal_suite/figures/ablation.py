"""What each change to a method does, and what more training clips give."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from xmodal_suite.figures import style
from xmodal_suite.figures.style import DASHES, HAIRLINE, INK, METHODS, QUIET, Look


def study_rows(frame: pd.DataFrame) -> Figure:
    """Draw what each change of a study adds to the recall of its first row, under headings.

    Dots are runs of `xmodal_suite.study.named_recalls`, the tall mark their mean. Its first measure
    is drawn. A change is named "heading: what is changed"; the largest gain is on top.
    """
    measure = frame["measure"].iloc[0]
    runs = frame[frame["measure"] == measure].groupby("change", sort=False)["recall"].apply(list)
    base, spread = np.mean(runs.iloc[0]), 2 * pd.Series(runs.iloc[0]).std()
    gains = runs.iloc[1:].map(np.mean) - base
    heads = gains.index.map(lambda name: name.rpartition(": ")[0])
    lines: list[str] = []  # names of changes, and headings, which are no changes
    for head, part in gains.groupby(heads, sort=False):
        lines += [head, *part.sort_values(ascending=False).index]
    title = (
        f"{(gains.abs() <= spread).sum()} of {len(gains)} changes stay within two standard "
        f"deviations (shaded) of the first row, {base:.1f}%"
    )
    figure, [[axis]] = style.sheet(0.9 + 0.178 * len(lines), title=title)
    style.rows(axis, [name.rpartition(": ")[2] for name in lines])
    axis.axvspan(*np.nan_to_num([-spread, spread]), color=HAIRLINE, zorder=0)
    axis.axvline(0, color=QUIET, linewidth=0.8)
    colour = METHODS["recipe" if "recipe" in runs.index[0] else "paper"]
    for place, name in enumerate(lines):
        if name not in gains:
            axis.get_yticklabels()[place].set_fontweight("bold")
            continue
        axis.plot(np.subtract(runs[name], base), [place] * len(runs[name]), ".", color=INK, ms=3.5)
        axis.plot(gains[name], place, "|", color=colour, markersize=11, markeredgewidth=2.5)
        value = f"{round(gains[name], 1) + 0.0:+.1f}".replace("-", "−")  # + 0.0: no minus zero
        style.note(axis, value, (1, place), (4, 0), xycoords=("axes fraction", "data"))
    among = measure.replace("R@", "Recall@").replace(", N =", " among")
    axis.set(xlabel=f"{among} candidates: difference (percentage points)")
    return figure


def learning_curve(
    points: pd.DataFrame, lines: pd.DataFrame, target: tuple[str, float] | None = None
) -> Figure:
    """Draw recall against the number of training clips, and its extrapolation.

    ``points`` is that of `xmodal_suite.scaling.learning_points`, ``lines`` of `continued`, dashed
    where nothing was measured, and ``target`` names a recall in percent to compare with. The first
    method and the recipe have their prediction intervals as bands.
    """
    measured = points["clips"].max()
    title = f"Measured up to {measured:,} training clips; what lies beyond is extrapolated (grey)"
    figure, [[axis]] = style.sheet(4.0, title=title)
    ends: dict[str, tuple[float, str]] = {}
    axis.set(xscale="log", yscale="log", xlabel="training clips", ylabel="Recall@1 (%)")
    axis.axvspan(measured, lines["clips"].max(), color=HAIRLINE, alpha=0.5, zorder=0)
    white: Look = {"linestyle": "none", "markeredgecolor": "white", "markeredgewidth": 0.4}
    for method, look in style.looks(points["method"]).items():
        runs, fitted = points[points["method"] == method], lines[lines["method"] == method]
        colour, last = look["color"], runs["clips"].max()
        if method == points["method"].iloc[0] or colour == METHODS["recipe"]:
            band: Look = {"color": colour, "alpha": 0.15, "linewidth": 0}
            axis.fill_between(fitted["clips"], fitted["low"], fitted["high"], **band)
        curve = np.log(fitted.set_index("clips")["recall"])
        curve[last] = np.interp(np.log(last), np.log(curve.index), curve)
        curve = np.exp(curve).sort_index()
        axis.plot(curve.loc[:last], color=colour)
        axis.plot(curve.loc[last:], color=colour, linestyle=DASHES[1])
        axis.plot(runs["clips"], runs["recall"], **look | white, markersize=5.5)
        ends[style.shorten(method.replace(": ", ", "), 34)] = (curve.iloc[-1], colour)
    lowest = points.loc[points["recall"] > 0, "recall"].min()
    if target:
        axis.axhline(target[1], color=INK, linewidth=0.8, linestyle=DASHES[2])
        ends[target[0]] = (target[1], INK)
        lowest = min(lowest, target[1])
    axis.set_ylim(lowest / 1.5, 100)  # an interval may reach far beyond what recall can be
    axis.set_xlim(points["clips"].min() / 1.15, lines["clips"].max())
    style.log_ticks(axis.xaxis, axis.yaxis)
    style.name_ends(axis, ends)
    return figure
