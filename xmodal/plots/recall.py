"""Recall@K beside the published tables, and against the size of the gallery."""

from itertools import product

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from xmodal.plots.style import (
    DASHES,
    INK,
    MARKERS,
    PALETTE,
    QUIET,
    columns_of,
    drawn_in_house_style,
    legend_outside,
    plain_ticks,
    sheet,
)

PUBLISHED = "published"
CHANCE = "chance"


@drawn_in_house_style
def recall_against_published(frame: pd.DataFrame, source: str) -> Figure:
    """Draw the recall of each table row under each reading of the row label (paper, Tables 1, 2).

    Parameters
    ----------
    frame
        Columns row (256, 512, 1024), direction, k, reading (such as "published" or "gallery,
        dimension 250"), recall, low, high, all in percent; low and high may be missing (NaN).
        Reading "published", and those that begin with "chance", are set apart from what was
        measured.

    Raises
    ------
    InputError
        When a column is missing or there are no rows.
    """
    needed = ["row", "direction", "k", "reading", "recall", "low", "high"]
    columns_of(frame, needed, "recall")
    rows, readings = list(pd.unique(frame["row"])), list(pd.unique(frame["reading"]))
    directions, levels = pd.unique(frame["direction"]), np.sort(pd.unique(frame["k"]))
    height = 0.75 + len(directions) * (0.35 + 0.105 * len(rows) * (len(readings) + 0.8))
    figure, axes = sheet(
        max(height, 2.2), source, len(directions), len(levels), sharex="col", sharey=True
    )
    offsets = np.linspace(-0.3, 0.3, len(readings)) if len(readings) > 1 else [0.0]
    looks = looks_of(readings)
    for (i, direction), (j, k) in product(enumerate(directions), enumerate(levels)):
        axis, panel = axes[i, j], frame[(frame["direction"] == direction) & (frame["k"] == k)]
        for reading, offset in zip(readings, offsets, strict=True):
            part = panel[panel["reading"] == reading]
            y = part["row"].map(rows.index).to_numpy(float) + offset
            look = looks[reading] | {"linestyle": "none"}
            axis.errorbar(
                part["recall"],
                y,
                xerr=interval_of(part),
                elinewidth=1.1,
                markersize=4.2,
                label=reading,
                **look,
            )
        for gap in np.arange(len(rows) - 1) + 0.5:
            axis.axhline(gap, color="#dddddd", linewidth=0.6, zorder=0)
        axis.set_title(f"{direction}   Recall@{k}")
        axis.tick_params(axis="y", length=0)
        axis.margins(x=0.08)
        axis.set_xlim(left=0)
    axes[0, 0].set_yticks(range(len(rows)), [str(row) for row in rows])
    axes[0, 0].set_ylim(len(rows) - 0.5, -0.5)
    for axis in axes[-1]:
        axis.set_xlabel("recall, %")
    for axis in axes[:, 0]:
        axis.set_ylabel("row of the table")
    handles, _ = axes[0, 0].get_legend_handles_labels()
    legend_outside(figure, handles, "outside upper center", 5)
    return figure


@drawn_in_house_style
def recall_against_gallery(frame: pd.DataFrame, source: str) -> Figure:
    """Draw recall against the number of candidates ranked, on logarithmic axes.

    Models are lines with their intervals as bands; rows of the model "published" are points; the
    thin line is chance, K out of N.

    Parameters
    ----------
    frame
        Columns gallery (candidates N), direction, k, model, recall, low, high in percent; low and
        high may be missing (NaN).

    Raises
    ------
    InputError
        When a column is missing or there are no rows.
    """
    columns_of(frame, ["gallery", "direction", "k", "recall", "low", "high", "model"], "recall")
    directions, levels = pd.unique(frame["direction"]), np.sort(pd.unique(frame["k"]))
    models = list(pd.unique(frame["model"]))
    looks = looks_of(models)
    figure, axes = sheet(
        0.6 + 1.75 * len(directions), source, len(directions), len(levels), sharex=True, sharey=True
    )
    sizes = np.sort(pd.unique(frame["gallery"])).astype(float)
    for (i, direction), (j, k) in product(enumerate(directions), enumerate(levels)):
        axis, panel = axes[i, j], frame[(frame["direction"] == direction) & (frame["k"] == k)]
        axis.set(xscale="log", yscale="log")
        chance = 100 * np.minimum(k / sizes, 1)
        axis.plot(sizes, chance, color=QUIET, linewidth=0.7, label="chance, K of N")
        for model in models:
            part = panel[panel["model"] == model].sort_values("gallery")
            line = axis.plot(
                part["gallery"],
                part["recall"],
                markersize=3.6,
                label=model,
                zorder=3 if model == PUBLISHED else 2,
                **looks[model],
            )[0]
            if part[["low", "high"]].notna().all(axis=None):
                axis.fill_between(
                    part["gallery"],
                    part["low"],
                    part["high"],
                    color=line.get_color(),
                    alpha=0.18,
                    linewidth=0,
                )
        axis.set_title(f"{direction}   Recall@{k}")
        plain_ticks(axis)
    for axis in axes[-1]:
        axis.set_xlabel("candidates in the gallery, N")
    for axis in axes[:, 0]:
        axis.set_ylabel("recall, %")
    handles, _ = axes[0, 0].get_legend_handles_labels()
    legend_outside(figure, handles, "outside upper center", 5)
    return figure


def looks_of(names: list[str]) -> dict[str, dict]:
    """Give each name a colour, a marker and a dash; what is published or chance is set apart."""
    chances = [name for name in names if name.startswith(CHANCE)]
    looks: dict[str, dict] = {
        name: {"color": QUIET, "marker": marker, "linestyle": "none"}
        for name, marker in zip(chances, "|x+", strict=False)
    }
    looks[PUBLISHED] = {
        "color": INK, "marker": "D", "markerfacecolor": "white", "linestyle": "none"
    }  # fmt: skip
    ours = [name for name in names if name not in looks]
    return looks | {
        name: {
            "color": PALETTE[n % len(PALETTE)],
            "marker": MARKERS[n % len(MARKERS)],
            "linestyle": DASHES[n % len(DASHES)],
        }
        for n, name in enumerate(ours)
    }


def interval_of(part: pd.DataFrame) -> np.ndarray:
    """Return the lengths (2, n) of the interval's two arms; zero where there is no interval."""
    arms = np.array([part["recall"] - part["low"], part["high"] - part["recall"]], dtype=float)
    return np.nan_to_num(arms).clip(min=0)
