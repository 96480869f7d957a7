"""Every method side by side, at one number of candidates."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from xmodal.plots.recall import PUBLISHED, interval_of
from xmodal.plots.style import (
    INK,
    MARKERS,
    PALETTE,
    columns_of,
    drawn_in_house_style,
    legend_outside,
    sheet,
    shorten,
)


@drawn_in_house_style
def methods(frame: pd.DataFrame, source: str) -> Figure:
    """Draw Recall@K of each method, one below the other, with its interval.

    Parameters
    ----------
    frame
        Columns model ("published" is set apart), direction, k, recall, low and high (percent; low
        and high may be missing), all at one number of candidates, which is ``gallery``.

    Raises
    ------
    InputError
        When a column is missing or there are no rows.
    """
    columns_of(frame, ["model", "direction", "k", "recall", "low", "high", "gallery"], "recall")
    names, levels = list(pd.unique(frame["model"])), np.sort(pd.unique(frame["k"]))
    directions = list(pd.unique(frame["direction"]))
    size = ", ".join(f"{candidates:,}" for candidates in pd.unique(frame["gallery"]))
    figure, axes = sheet(1.1 + 0.2 * len(names), source, 1, len(directions), sharey=True)
    for axis, direction in zip(axes[0], directions, strict=True):
        axis.hlines(
            range(len(names)), 0, 1, transform=axis.get_yaxis_transform(),
            color="#e4e4e4", linewidth=0.6, zorder=0,
        )  # fmt: skip
        for number, k in enumerate(levels):
            panel = frame[(frame["direction"] == direction) & (frame["k"] == k)]
            told = panel["model"] == PUBLISHED
            for part, colour, fill in (
                (panel[told], INK, "white"),
                (panel[~told], PALETTE[number], PALETTE[number]),
            ):
                axis.errorbar(
                    part["recall"],
                    part["model"].map(names.index),
                    xerr=interval_of(part),
                    fmt=MARKERS[number],
                    color=colour,
                    markerfacecolor=fill,
                    markersize=4.6,
                    elinewidth=1.1,
                    label=f"Recall@{k}" if fill != "white" else None,
                )
        axis.set(title=direction, xlabel=f"recall among {size} candidates, %", xlim=(0, None))
        axis.tick_params(axis="y", length=0)
    axes[0, 0].set_yticks(range(len(names)), [shorten(n, 44) for n in names], parse_math=False)
    axes[0, 0].set_ylim(len(names) - 0.4, -0.6)
    legend_outside(figure, axes[0, 0].get_legend_handles_labels()[0], "outside upper center", 3)
    return figure
