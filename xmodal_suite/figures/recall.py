"""Recall@K: beside the published tables, against the number of candidates, by method and label."""

from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xmodal_suite.figures import curves, dots, style
from xmodal_suite.figures.style import INK, MARKERS, PALETTE, PUBLISHED, Look


@style.figure
def recall_readings(frame: pd.DataFrame) -> Figure:
    """Draw the recall of each table row under each reading of the row label (paper, Tables 1, 2).

    Parameters
    ----------
    frame : DataFrame
        Columns row (256, 512, 1024), direction, k, reading (such as "rows are galleries"), recall,
        low, high, all in percent; low and high may be missing (NaN). Reading "published", and
        those that begin with "chance", are set apart from what was measured.
    """
    rows, looks = style.in_order(frame["row"]), style.looks(frame["reading"])
    height = 0.35 + 0.105 * len(rows) * (len(looks) + 0.8)
    height = max(0.75 + height * frame["direction"].nunique(), 2.2)
    figure, panels = style.facets(frame, height, "k", "direction", sharex="col")
    offsets = np.linspace(-0.3, 0.3, len(looks)) if len(looks) > 1 else [0.0]
    for axis, panel in panels:
        dots.rows(axis, rows, rules=np.arange(len(rows) - 1) + 0.5)
        for (reading, look), offset in zip(looks.items(), offsets, strict=True):
            part = panel[panel["reading"] == reading]
            place = part["row"].map(rows.index).astype(float) + offset
            look = look | dots.WHOLE | {"linestyle": "none", "markersize": 4.2}
            dots.dots(axis, part, place, label=reading, **look)
        axis.margins(x=0.08)
        axis.set(xlabel="recall, %", xlim=(0, None))
        axis.set(ylabel="row of the table", ylim=(len(rows) - 0.5, -0.5))
        axis.label_outer()
    style.legend(figure, 5)
    return figure


@style.figure
def recall_law(frame: pd.DataFrame) -> Figure:
    """Draw recall against K/N: on one curve if rows are galleries, on three if dimensions.

    The recalls of one row at several K are joined; the thin line is chance.

    Parameters
    ----------
    frame : DataFrame
        Columns reading, direction, model ("published", or ours), row, candidates (N under that
        reading), k, recall (percent).
    """
    frame = frame.assign(share=frame["k"] / frame["candidates"])
    shapes = dict(zip(style.in_order(frame["row"]), cycle(MARKERS), strict=False))
    looks = style.looks(frame["model"])
    for model, look in looks.items():
        look |= {"marker": "o", "markersize": 4.4, "linewidth": 0.6}
        look |= {"linestyle": "-"} if model == PUBLISHED else {}
    height = 0.7 + 2.1 * frame["direction"].nunique()
    figure, panels = style.facets(frame, height, "reading", "direction", sharex="col")
    for axis, panel in panels:
        curves.log_axes(axis)
        ends = np.array([panel["share"].min(), panel["share"].max()])
        curves.chance(axis, ends, ends, "chance")
        for (model, row), part in panel.groupby(["model", "row"], sort=False):
            curves.curve(axis, part, "share", **looks[model] | {"marker": shapes[row]})
        same = (panel["candidates"] == panel["row"]).all()
        size = "row" if same else f"{panel['candidates'].max():,}"
        axis.set(xlabel=f"K / N, N = {size}", ylabel="recall, %")
        axis.label_outer()
    panels[0][0].set_ylim(top=100)
    for axis, _ in panels:
        style.log_ticks(axis)
    keys = [Line2D([], [], label=model, **look) for model, look in looks.items()]
    plain: Look = {"linestyle": "none", "markersize": 4.4, "color": INK}
    keys += [Line2D([], [], marker=m, label=f"row {row:,}", **plain) for row, m in shapes.items()]
    style.legend(figure, 7, [*keys, panels[0][0].lines[0]])
    return figure


@style.figure
def recall_against_gallery(frame: pd.DataFrame) -> Figure:
    """Draw recall against the number of candidates ranked, on logarithmic axes.

    Models are lines with their intervals as bands; rows of the model "published" are points; the
    thin line is chance, K out of N.

    Parameters
    ----------
    frame : DataFrame
        Columns gallery (candidates N), direction, k, model, recall, low, high in percent; low and
        high may be missing (NaN).
    """
    looks = style.looks(frame["model"])
    height = 0.6 + 1.75 * frame["direction"].nunique()
    figure, panels = style.facets(frame, height, "k", "direction", sharex=True)
    sizes = np.sort(frame["gallery"].unique()).astype(float)
    for axis, panel in panels:
        curves.log_axes(axis, "clip", xlabel="candidates in the gallery, N", ylabel="recall, %")
        curves.chance(axis, sizes, panel["k"].max() / sizes, "chance, K of N")
        for model, look in looks.items():
            part = panel[panel["model"] == model]
            look = look | {"zorder": 3 if model == PUBLISHED else 2, "markersize": 3.6}
            curves.curve(axis, part, "gallery", label=model, **look)
            curves.band(axis, part, "gallery", look["color"])
        style.plain_ticks(axis)
        axis.label_outer()
    style.legend(figure, 5)
    return figure


@style.figure
def methods(frame: pd.DataFrame) -> Figure:
    """Draw Recall@K of each method, one below the other, with its interval.

    Parameters
    ----------
    frame : DataFrame
        Columns model ("published" is set apart), direction, k, recall, low and high (percent; low
        and high may be missing), all at one number of candidates, which is ``gallery``.
    """
    names, levels = style.in_order(frame["model"]), style.in_order(frame["k"])
    size = ", ".join(f"{candidates:,}" for candidates in frame["gallery"].unique())
    figure, panels = style.facets(frame, 1.1 + 0.2 * len(names), "direction")
    paper: Look = {"color": INK, "markerfacecolor": "white"}
    for axis, panel in panels:
        dots.rows(axis, names, 44)
        for k, colour, marker in zip(levels, PALETTE, MARKERS, strict=False):
            part = panel[panel["k"] == k].assign(place=lambda rows: rows["model"].map(names.index))
            ours: Look = {"color": colour, "label": f"Recall@{k}"}
            for look, some in (
                (paper, part[part["model"] == PUBLISHED]),
                (ours, part[part["model"] != PUBLISHED]),
            ):
                dots.dots(axis, some, some["place"], marker=marker, markersize=4.6, **look)
        axis.set(xlabel=f"recall among {size} candidates, %", xlim=(0, None))
    style.legend(figure, 3)
    return figure


@style.figure
def categories(frame: pd.DataFrame, k: int = 10) -> Figure:
    """Draw, label by label, how often the match is found and how much else is relevant.

    Parameters
    ----------
    frame : DataFrame
        Columns label, clips, recall and relevant (percent of the first ``k`` that share a label);
        the easiest label is drawn on top.
    k : int
        How many items were looked at.
    """
    if frame.empty:
        return style.blank("No clip has a label.")
    ordered = frame.sort_values("recall", ascending=False, kind="stable")
    figure, axes = style.sheet(0.9 + 0.155 * len(ordered))
    axis, places = axes[0, 0], range(len(ordered))
    dots.rows(axis, [f"{style.shorten(r.label, 34)} ({r.clips:,})" for r in ordered.itertuples()])
    for column, label, look, face in (
        ("relevant", f"of the first {k}, those that share a label", 1, "white"),
        ("recall", f"queries whose own clip is among the first {k}", 0, PALETTE[0]),
    ):
        kind: Look = {"color": PALETTE[look], "marker": MARKERS[look], "markerfacecolor": face}
        dots.dots(axis, ordered, places, column, markersize=4.2, label=label, **kind)
    axis.set(xlabel="%", xlim=(0, 100))
    style.legend(figure, 2)
    return figure
