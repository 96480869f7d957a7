"""Recall@K: beside the published tables, against the number of candidates, by method and label."""

from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xmodal_suite.figures import style
from xmodal_suite.figures.style import INK, MARKERS, PALETTE, PUBLISHED, QUIET, Look
from xmodal_suite.published import DIMENSIONS, GALLERIES

_CHANCE: Look = {"color": QUIET, "linewidth": 0.7}


def recall_readings(frame: pd.DataFrame) -> Figure:
    """Draw the recall of each table row under each reading of the row label (paper, Tables 1, 2).

    ``frame`` is that of `xmodal_suite.published.compare_readings`. What is published, and chance,
    is set apart from what was measured.
    """
    names, looks = list(frame["row"].unique()), style.looks(frame["reading"])
    height = 0.35 + 0.105 * len(names) * (len(looks) + 0.8)
    height = 0.75 + height * frame["direction"].nunique()
    figure, panels = style.facets(frame, height, "k", "direction", sharex="col")
    offsets = np.linspace(-0.3, 0.3, len(looks))
    for axis, panel in panels:
        style.rows(axis, names, rules=np.arange(len(names) - 1) + 0.5)
        for (reading, look), offset in zip(looks.items(), offsets, strict=True):
            part = panel[panel["reading"] == reading]
            look = look | {"linestyle": "none", "markersize": 4.2, "label": reading}
            style.dots(axis, part, part["row"].map(names.index) + offset, **look)
        axis.margins(x=0.08)
        axis.set(xlabel="recall, %", xlim=(0, None))
        axis.set(ylabel="row of the table", ylim=(len(names) - 0.5, -0.5))
        axis.label_outer()
    style.legend(figure, 5)
    return figure


def recall_law(rows: pd.DataFrame, clips: int) -> Figure:
    """Draw recall against K/N: on one curve if rows are galleries, on three if dimensions.

    The recalls of one row at several K are joined; the thin line is chance. ``rows`` are those of
    `xmodal_suite.published.compare_readings`, ``clips`` the candidates if rows are dimensions.
    """
    parts = [
        rows[rows["reading"].isin([PUBLISHED, reading])].assign(panel=reading, candidates=size)
        for reading, size in ((GALLERIES, lambda part: part["row"]), (DIMENSIONS, clips))
    ]
    frame = pd.concat(parts).assign(share=lambda frame: frame["k"] / frame["candidates"])
    frame["model"] = frame["reading"].where(frame["reading"] == PUBLISHED, "ours")
    shapes = dict(zip(sorted(frame["row"].unique()), cycle(MARKERS), strict=False))
    looks = style.looks(frame["model"])
    for look in looks.values():
        look |= {"linestyle": "-", "marker": "o", "markersize": 4.4, "linewidth": 0.6}
    height = 0.7 + 2.1 * frame["direction"].nunique()
    figure, panels = style.facets(frame, height, "panel", "direction", sharex="col")
    for axis, panel in panels:
        axis.set(xscale="log", yscale="log")
        share = panel["share"].agg(["min", "max"])
        axis.plot(share, 100 * share, **_CHANCE, label="chance")
        for (model, row), part in panel.groupby(["model", "row"], sort=False):
            part = part.sort_values("share")
            axis.plot(part["share"], part["recall"], **looks[model] | {"marker": shapes[row]})
        same = (panel["candidates"] == panel["row"]).all()
        size = "row" if same else f"{panel['candidates'].max():,}"
        axis.set(xlabel=f"K / N, N = {size}", ylabel="recall, %")
        axis.label_outer()
    panels[0][0].set_ylim(top=100)
    for axis, _ in panels:
        style.log_ticks(axis.xaxis, axis.yaxis)
    keys = [Line2D([], [], label=model, **look) for model, look in looks.items()]
    plain: Look = {"linestyle": "none", "markersize": 4.4, "color": INK}
    keys += [Line2D([], [], marker=m, label=f"row {row:,}", **plain) for row, m in shapes.items()]
    style.legend(figure, 7, [*keys, panels[0][0].lines[0]])
    return figure


def recall_against_gallery(frame: pd.DataFrame) -> Figure:
    """Draw recall against the number of candidates ranked, on logarithmic axes.

    Models are lines with their intervals as bands; what is published are points; the thin line is
    chance, K out of N. ``frame`` is that of `xmodal_suite.published.with_published`.
    """
    looks = style.looks(frame["model"])
    height = 0.6 + 1.75 * frame["direction"].nunique()
    figure, panels = style.facets(frame, height, "k", "direction", sharex=True)
    sizes = np.sort(frame["gallery"].unique())
    for axis, panel in panels:
        axis.set(xscale="log", yscale="log", ylabel="recall, %")
        axis.set(xlabel="candidates in the gallery, N")
        chance = np.minimum(100 * panel["k"].max() / sizes, 100)
        axis.plot(sizes, chance, **_CHANCE, label="chance, K of N")
        for model, look in looks.items():
            part = panel[panel["model"] == model].sort_values("gallery")
            look = look | {"zorder": 3 if model == PUBLISHED else 2, "markersize": 3.6}
            axis.plot(part["gallery"], part["recall"], label=model, **look)
            band: Look = {"color": look["color"], "alpha": 0.18, "linewidth": 0}
            axis.fill_between(part["gallery"], part["low"], part["high"], **band)
        style.log_ticks(axis.xaxis, axis.yaxis)
        axis.label_outer()
    style.legend(figure, 5)
    return figure


def methods(frame: pd.DataFrame) -> Figure:
    """Draw Recall@K of each method, one below the other, with its interval.

    ``frame`` is that of `xmodal_suite.published.with_published`, at one number of candidates.
    """
    names = list(frame["model"].unique())
    figure, panels = style.facets(frame, 1.1 + 0.2 * len(names), "direction")
    for axis, panel in panels:
        style.rows(axis, names)
        for (k, part), colour, marker in zip(panel.groupby("k"), PALETTE, MARKERS, strict=False):
            for paper, some in part.groupby(part["model"] == PUBLISHED):
                look: Look = {"color": colour, "label": f"Recall@{k}"}
                if paper:
                    look = {"color": INK, "markerfacecolor": "white"}
                look |= {"marker": marker, "markersize": 4.6}
                style.dots(axis, some, some["model"].map(names.index), **look)
        size = frame["gallery"].iloc[0]
        axis.set(xlabel=f"recall among {size:,} candidates, %", xlim=(0, None))
    style.legend(figure, 3)
    return figure


def categories(frame: pd.DataFrame) -> Figure:
    """Draw, label by label, how often the match is found and how much else is relevant.

    ``frame`` is that of `xmodal.evaluation.relevance.by_category`; the easiest label is on top.
    """
    if frame.empty:
        return style.blank("No clip has a label.")
    ordered = frame.sort_values("recall", ascending=False, kind="stable")
    figure, axes = style.sheet(0.9 + 0.155 * len(ordered))
    axis, places = axes[0, 0], range(len(ordered))
    style.rows(axis, [f"{style.shorten(r.label, 34)} ({r.clips:,})" for r in ordered.itertuples()])
    share: Look = {"color": PALETTE[1], "marker": "s", "markerfacecolor": "white"}
    share["label"] = "of the first 10, those that share a label"
    own: Look = {"color": PALETTE[0], "marker": "o"}
    own["label"] = "queries whose own clip is among the first 10"
    style.dots(axis, ordered, places, "relevant", markersize=4.2, **share)
    style.dots(axis, ordered, places, "recall", markersize=4.2, **own)
    axis.set(xlabel="%", xlim=(0, 100))
    style.legend(figure, 2)
    return figure
