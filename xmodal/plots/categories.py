"""Which categories are easy, and which are hard."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from xmodal.plots.style import (
    MARKERS,
    PALETTE,
    columns_of,
    drawn_in_house_style,
    legend_outside,
    sheet,
    shorten,
)


@drawn_in_house_style
def categories(frame: pd.DataFrame, source: str, k: int = 10) -> Figure:
    """Draw, category by category, how often the match is found and how much else is relevant.

    Parameters
    ----------
    frame
        Columns label, clips, recall and relevant (percent), as `by_category`
        gives them; the easiest category is drawn first.
    source
        What the data is called.
    k
        How many items were looked at.

    Raises
    ------
    InputError
        When a column is missing or there are no rows.
    """
    columns_of(frame, ["label", "clips", "recall", "relevant"], "recall")
    ordered = frame.sort_values("recall", ascending=False, kind="stable")
    place = np.arange(len(ordered))
    figure, axes = sheet(0.9 + 0.155 * len(ordered), source, 1, 1)
    axis = axes[0, 0]
    axis.hlines(place, 0, 100, color="#e4e4e4", linewidth=0.6, zorder=0)
    for column, label, look in (
        ("relevant", f"of the first {k}, those that share a label", 1),
        ("recall", f"queries whose own clip is among the first {k}", 0),
    ):
        axis.plot(
            ordered[column],
            place,
            MARKERS[look],
            color=PALETTE[look],
            markerfacecolor=PALETTE[look] if column == "recall" else "white",
            markersize=4.2,
            label=label,
        )
    names = [f"{shorten(r.label, 34)} ({r.clips:,})" for r in ordered.itertuples()]
    axis.set_yticks(place, names, parse_math=False)
    axis.set(xlim=(0, 100), ylim=(len(ordered) - 0.4, -0.6), xlabel="%")
    axis.tick_params(axis="y", length=0)
    legend_outside(figure, axis.get_legend_handles_labels()[0], "outside upper center", 2)
    return figure
