"""The house style: page width, type, colours, and what every figure has in common."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from numpy.typing import ArrayLike

PAGE = 7.0  # inches: the text width of a two-column page
SIGNATURE = 0.15  # inches: the room at the bottom for the source of the data
SMALL = 7.0  # points: nothing is set smaller
INK, QUIET, HAIRLINE = "#222222", "#6f6f6f", "#e4e4e4"

# Safe for the common colour-blindnesses, and never the only difference: a marker or a dash helps.
PALETTE: list[str] = sns.color_palette("colorblind").as_hex()
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))

Look = dict[str, Any]  # options of matplotlib for one kind of line, marker or text
MODALITIES: dict[str, Look] = {
    "visual": {"color": PALETTE[0], "linestyle": DASHES[0]},
    "audio": {"color": PALETTE[3], "linestyle": DASHES[1]},
}
PLAIN = "{x:,.12g}"  # numbers at ticks: 1,000 rather than powers
PUBLISHED = "published"  # what the paper reports; set apart, as is what begins with "chance"

matplotlib.style.use(["default", Path(__file__).with_name("house.mplstyle")])


def settle(page: Figure) -> None:
    """Fix the layout of a figure, so that every saving gives the same bytes."""
    for _ in range(2):  # the first pass settles the ticks, the second their room
        page.draw_without_rendering()
    page.set_layout_engine("none")
    for axis in page.axes:  # the layout's last digits differ from process to process
        bounds = axis.get_position().bounds
        axis.set_position(tuple(round(edge, 7) for edge in bounds))


def sign(page: Figure, source: str) -> None:
    """Write the source of the data into the lower right corner, where room is kept."""
    x, y = 1 - 0.04 / page.get_figwidth(), 0.04 / page.get_figheight()
    page.text(x, y, source, color=QUIET, style="italic", ha="right", va="bottom")


def sheet(
    height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, np.ndarray]:
    """Return an empty figure of page width, ``height`` inches high, and its panels."""
    page = Figure(figsize=(PAGE, height))
    strip = SIGNATURE / height
    page.set_layout_engine("constrained", rect=(0, strip, 1, 1 - strip), w_pad=0.06, h_pad=0.05)
    return page, page.subplots(rows, columns, squeeze=False, **options)


def blank(why: str) -> Figure:
    """Return a figure that says why there is nothing to draw."""
    page, axes = sheet(0.8)
    axes[0, 0].axis("off")
    axes[0, 0].text(0.5, 0.5, why, ha="center", va="center")
    return page


def facets(
    frame: pd.DataFrame, height: float, across: str, down: str | None = None, **options: Any
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """Return a figure with a titled panel for each value of two columns, and each panel's rows."""
    bands = list(frame.groupby(down, sort=False)) if down else [("", frame)]
    page, axes = sheet(height, len(bands), frame[across].nunique(), sharey=True, **options)
    panels = []
    for line, (name, band) in zip(axes, bands, strict=True):
        for axis, (value, part) in zip(line, band.groupby(across, sort=False), strict=True):
            title = f"Recall@{value}" if across == "k" else str(value)
            axis.set_title(f"{name}   {title}" if name else title)
            panels.append((axis, part))
    return page, panels


def looks(names: pd.Series) -> dict[str, Look]:
    """Give each name a colour, a marker and a dash; what is published or chance is set apart."""
    turns = zip(cycle(PALETTE), cycle(MARKERS), cycle(DASHES), strict=False)
    chances = cycle("|x+")
    made: dict[str, Look] = {}
    for name in names.unique():
        if name == PUBLISHED:
            made[name] = {"color": INK, "marker": "D", "markerfacecolor": "white"}
        elif name.startswith("chance"):
            made[name] = {"color": QUIET, "marker": next(chances)}
        else:
            made[name] = dict(zip(("color", "marker", "linestyle"), next(turns), strict=True))
    return {name: {"linestyle": "none"} | look for name, look in made.items()}


def legend(page: Figure, columns: int, keys: Sequence[Artist] = (), **options: Any) -> None:
    """Explain the ``keys``, those of the first panel if not given, above all panels."""
    keys = keys or page.axes[0].get_legend_handles_labels()[0]
    look: Look = {"loc": "outside upper center", "columnspacing": 1.4}
    page.legend(handles=keys, ncols=columns, **look | options)


def note(
    axis: Axes, text: str, at: tuple[float, float], offset: tuple[float, float], **options: Any
) -> None:
    """Write ``text`` beside a point of the data, ``offset`` points away from it."""
    axis.annotate(text, at, offset, **{"textcoords": "offset points", "va": "center"} | options)


def rows(axis: Axes, names: Sequence[object], rules: ArrayLike | None = None) -> None:
    """Lay out a named row after the other, the first on top, with hairlines at ``rules``."""
    places = np.arange(len(names))
    look: Look = {"transform": axis.get_yaxis_transform(), "linewidth": 0.6, "zorder": 0}
    axis.hlines(places if rules is None else rules, 0, 1, HAIRLINE, **look)
    axis.set_yticks(places, [shorten(str(name), 56) for name in names])
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)


def dots(axis: Axes, part: pd.DataFrame, y: Any, value: str = "recall", **look: Any) -> None:
    """Draw a dot at the heights ``y`` for each value, its interval from low to high if known."""
    arms = None
    if "low" in part:
        arms = np.stack([part[value] - part["low"], part["high"] - part[value]]).clip(min=0)
    plain: Look = {"linestyle": "none", "elinewidth": 1.1, "clip_on": False, "in_layout": False}
    axis.errorbar(part[value], y, xerr=arms, **plain | look)


def log_ticks(*sides: Axis) -> None:
    """Name 1, 2 and 5 of each decade in plain numbers, or the decades alone when there are many.

    Call it when the limits of the axes are settled.
    """
    for side in sides:
        low, high = side.get_view_interval()
        side.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,)))
        side.set_major_formatter(PLAIN)
        side.set_minor_formatter("")


def shorten(text: str, length: int) -> str:
    """Cut ``text`` to at most ``length`` characters, an ellipsis in place of what is left out."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
