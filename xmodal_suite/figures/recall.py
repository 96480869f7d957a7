"""Recall@K: beside the published tables, against the number of candidates, by method and label."""

from itertools import cycle
from textwrap import fill

import pandas as pd
from matplotlib.figure import Figure

from xmodal_suite.figures import style
from xmodal_suite.figures.style import DASHES, HAIRLINE, INK, MARKERS, METHODS, PUBLISHED, Look
from xmodal_suite.published import DIMENSIONS, GALLERIES

_READINGS: dict[str, Look] = {  # ours is the paper's method under both
    PUBLISHED: {"color": INK, "marker": "D", "markerfacecolor": "white"},
    GALLERIES: {"color": METHODS["paper"], "marker": "o"},
    DIMENSIONS: {"color": METHODS["paper"], "marker": "s", "linestyle": DASHES[1]},
}
_UNDERLAID: Look = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}


def recall_readings(frame: pd.DataFrame) -> Figure:
    """Draw `xmodal_suite.published.compare_readings` from row to row, means of both directions."""
    means = frame.groupby(["reading", "k", "row"])["recall"].mean()
    first, last = sorted(frame["row"].unique())[:: frame["row"].nunique() - 1]
    ends = means.unstack("row")
    change = (ends[last] / ends[first] - 1).groupby("reading").mean()
    moves = {name: f"{change[name]:+.0%}".replace("-", "−") for name in _READINGS}
    title = (
        f"From row {first:,} to row {last:,}, the published recalls change by {moves[PUBLISHED]}; "
        f"ours by {moves[GALLERIES]} as galleries and {moves[DIMENSIONS]} as dimensions"
    )
    ks = frame["k"].unique()
    figure, axes = style.sheet(3.2, columns=len(ks), title=title, width_ratios=(1.4, 1, 1))
    for axis, k in zip(axes[0], ks, strict=True):
        for name, look in _READINGS.items():
            axis.plot(means[name, k].rename("{:,}".format), **look)
        axis.set(title=f"Recall@{k} (%)", xlabel="row of the table", ylim=(0, None))
        axis.margins(x=0.12)
    named = {
        name.replace("rows are", "ours, as"): (ends.loc[(name, ks[0]), last], look["color"])
        for name, look in _READINGS.items()
    }
    style.name_ends(axes[0, 0], named)
    return figure


def recall_law(rows: pd.DataFrame, clips: int) -> Figure:
    """Draw recall against K/N: on one curve if rows are galleries, on three if dimensions.

    ``rows`` are those of `xmodal_suite.published.compare_readings`, ``clips`` the candidates if
    rows are dimensions.
    """
    means = rows.groupby(["reading", "row", "k"])["recall"].mean()
    paper = means[PUBLISHED]
    title = (
        f"Where K/N is the same, so is recall, if rows are galleries: the published R@5 of row 256 "
        f"is {paper[256, 5]:.1f}%, R@10 of row 512 {paper[512, 10]:.1f}%"
    )
    figure, axes = style.sheet(3.7, columns=2, title=title, sharey=True)
    for axis, reading in zip(axes[0], (GALLERIES, DIMENSIONS), strict=True):
        axis.set(xscale="log", yscale="log")
        for name in (PUBLISHED, reading):
            for (row, part), marker in zip(means[name].groupby("row"), cycle(MARKERS)):
                size = row if reading == GALLERIES else clips
                look: Look = {"linewidth": 0.7, "markerfacecolor": "white", "marker": marker}
                look |= {"color": _READINGS[name]["color"]}
                ks = part.index.get_level_values("k")
                axis.plot(ks / size, part, **look, label=f"row {row:,}")
        size = "the row" if reading == GALLERIES else f"{clips:,}"
        axis.set(title=f"If {reading}: N = {size}", xlabel="K / N")
        style.log_ticks(axis.xaxis, axis.yaxis)
    ends = {"published": (paper.max(), INK), "ours": (means[GALLERIES].max(), METHODS["paper"])}
    style.name_ends(axes[0, 0], ends)
    pair = (5 / 256, paper[256, 5])
    style.note(axes[0, 0], "R@5 of 256 and R@10 of 512", pair, (-4, 8), ha="right")
    axes[0, 0].set_ylabel("recall (%), mean of both directions")
    axes[0, 1].legend(handles=axes[0, 1].lines[:3], loc="lower right")
    return figure


def recall_against_gallery(frame: pd.DataFrame) -> Figure:
    """Draw the recalls of `xmodal_suite.published.with_published` by the number of candidates."""
    ours, paper = frame[frame["model"] != PUBLISHED], frame[frame["model"] == PUBLISHED]
    at_one = ours[ours["k"] == 1].groupby("gallery")["recall"].mean()
    few, many = at_one.index[[0, -1]]
    title = (
        f"From {few:,} to {many:,} candidates, Recall@1 changes from {at_one[few]:.0f}% to "
        f"{at_one[many]:.1f}%"
    )
    figure, axes = style.sheet(3.3, columns=2, title=title, sharey=True)
    look: Look = {"color": METHODS["paper"]}
    for axis, direction in zip(axes[0], ours["direction"].unique(), strict=True):
        axis.set(xscale="log", yscale="log", title=direction, xlabel="candidates, N")
        ends = {}
        for k, part in ours[ours["direction"] == direction].groupby("k"):
            part = part.sort_values("gallery")
            axis.plot(part["gallery"], part["recall"], marker="o", **look)
            axis.fill_between(part["gallery"], part["low"], part["high"], alpha=0.2, **look)
            ends[f"R@{k}"] = (part["recall"].iloc[-1], look["color"])
        points = paper[paper["direction"] == direction]
        axis.plot(points["gallery"], points["recall"], **_READINGS[PUBLISHED], linestyle="none")
        style.log_ticks(axis.xaxis, axis.yaxis)
        style.name_ends(axis, ends)
    style.note(axes[0, 0], PUBLISHED, tuple(paper.iloc[2][["gallery", "recall"]]), (6, 6))
    axes[0, 0].set_ylabel("recall (%)")
    return figure


def methods(frame: pd.DataFrame, title: str = "") -> Figure:
    """Draw Recall@K of each method as a bar, mean of both directions, beside the published level.

    The line on a bar reaches over the intervals of both directions. ``frame`` is that of
    `xmodal_suite.published.with_published`, at one number of candidates.
    """
    paper = frame[frame["model"] == PUBLISHED]
    ours = frame[~frame["model"].str.startswith((PUBLISHED, "chance"))]
    size, names, ks = frame["gallery"].iloc[0], ours["model"].unique(), frame["k"].unique()
    means = ours.groupby(["k", "model"])[["recall", "low", "high"]].agg(
        {"recall": "mean", "low": "min", "high": "max"}
    )
    if not title and len(paper):
        level = paper[paper["k"] == ks[0]]["recall"].mean()
        above = (means.loc[ks[0], "recall"] > level).sum()
        title = f"{above} of {len(names)} methods are above the published Recall@{ks[0]} of {level:.1f}%"
    title = title or f"Recall among {size:,} candidates; the dotted line is chance"
    figure, axes = style.sheet(0.95 + 0.34 * len(names), columns=len(ks), title=title, sharey=True)
    colours = [look["color"] for look in style.looks(ours["model"]).values()]
    for axis, k in zip(axes[0], ks, strict=True):
        part = means.loc[k].loc[names]
        style.rows(axis, [fill(name, 30, break_on_hyphens=False) for name in names])
        axis.barh(range(len(names)), part["recall"], height=0.62, color=colours)
        axis.hlines(range(len(names)), part["low"], part["high"], INK, linewidth=1)
        for place, (recall, high) in enumerate(part[["recall", "high"]].to_numpy()):
            style.note(axis, f"{recall:.1f}", (max(recall, high), place), (4, 0), bbox=_UNDERLAID)
        axis.axvline(100 * k / size, color=style.QUIET, linestyle=DASHES[2])
        if len(paper):
            low, high = paper[paper["k"] == k]["recall"].agg(["min", "max"])
            axis.axvspan(low, high, color=INK, alpha=0.35, zorder=0.5)
            style.note(axis, PUBLISHED, (high, -0.6), (0, 5), ha="center", annotation_clip=False)
        axis.set(xlabel=f"Recall@{k} (%)", xlim=(0, 1.3 * means.loc[k].max().max()))
    return figure


def categories(frame: pd.DataFrame) -> Figure:
    """Draw `xmodal.evaluation.relevance.by_category`, the easiest label on top."""
    if frame.empty:
        return style.blank("No clip has a label.")
    ordered = frame.sort_values("recall", ascending=False, kind="stable")
    hits, shared, places = ordered["recall"], ordered["relevant"], range(len(ordered))
    title = (
        f"The match is among the first ten for {hits.max():.0f}% of “{ordered['label'].iloc[0]}” "
        f"and {hits.min():.0f}% of “{ordered['label'].iloc[-1]}”"
    )
    figure, [[axis]] = style.sheet(1.15 + 0.185 * len(ordered), title=title)
    style.rows(axis, [f"{style.shorten(r.label, 34)} ({r.clips:,})" for r in ordered.itertuples()])
    axis.hlines(places, hits, shared, HAIRLINE, linewidth=2.5, zorder=0)
    for name, values, look in (
        ("queries that find their match", hits, {"color": METHODS["recipe"], "marker": "o"}),
        ("results that share a label", shared, {"color": INK, "marker": "s", "mfc": "white"}),
    ):
        axis.plot(values, places, linestyle="none", clip_on=False, **look, label=name)
    axis.set(xlabel="share among the first ten results (%)", xlim=(0, None))
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return figure
