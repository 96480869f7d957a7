"""The house style: page width, type, colours, and what every figure has in common."""

import sys
import warnings
from collections.abc import Sequence
from functools import cache
from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from matplotlib.ticker import LogLocator

PAGE = 7.0  # inches: the text width of a two-column page
SIGNATURE = 0.19  # inches: the room at the bottom for the source of the data
INK, QUIET, HAIRLINE = "#222222", "#666666", "#e4e4e4"

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
PUBLISHED = "published"  # what the paper reports
METHODS = {  # one colour in every figure: that of the first of these words in a method's name
    PUBLISHED: INK,
    "chance": QUIET,
    "shuffled": QUIET,
    "recipe": "#00805c",
    "kernel CCA": "#7a4a12",
    "linear CCA": "#b87400",
    "paper": "#8e3b8e",
}
_OTHERS = ("#c2577e", "#5c6bc0", "#6b7a2f", "#607d8b")  # of names that are no method's

matplotlib.style.use(["default", Path(__file__).with_name("house.mplstyle")])
warnings.filterwarnings("ignore", "Glyph .* missing from")  # `cover` says so, once
_told: set[str] = set()  # characters that no font has


def settle(page: Figure) -> None:
    """Fix the layout of a figure, so that every saving gives the same bytes."""
    page.draw_without_rendering()  # the first pass settles the ticks, the second their room
    cover(page.findobj(Text))
    page.draw_without_rendering()
    page.set_layout_engine("none")
    for axis in page.axes:  # the layout's last digits differ from process to process
        bounds = axis.get_position().bounds
        axis.set_position(tuple(round(edge, 7) for edge in bounds))


def cover(texts: Sequence[Text]) -> None:
    """Let installed fonts draw what the house's font lacks, and say once what none of them has."""
    (house,) = matplotlib.rcParams["font.sans-serif"]
    used = {sign for text in texts for sign in text.get_text() if sign.isprintable()}
    lacking = used - _signs(findfont(house))
    if not lacking:
        return
    families, fonts = [house], _fonts()
    for name in sorted(fonts, key=lambda name: -len(lacking & fonts[name])):
        if lacking & fonts[name]:
            families.append(name)
            lacking = lacking - fonts[name]
    for text in texts:
        text.set_fontfamily(families)
    if new := lacking - _told:
        _told.update(new)
        named = shorten(" ".join(sorted(new)), 80)
        print(f"No installed font has these characters of labels: {named}", file=sys.stderr)


@cache
def _fonts() -> dict[str, set[str]]:
    """Return the characters of all installed fonts, by family."""
    upright = {font.name: font.fname for font in fontManager.ttflist if font.style == "normal"}
    known = {name: _signs(upright[name]) for name in sorted(upright)}
    return {name: signs for name, signs in known.items() if not name.startswith("Last Resort")}


@cache
def _signs(path: str) -> set[str]:
    """Return the characters that a font can draw; none if it holds pictures, as of emoji."""
    font = FT2Font(path)
    return {chr(code) for code in font.get_charmap()} if font.scalable else set()


def sign(page: Figure, source: str) -> None:
    """Write the source of the data into the lower right corner, where room is kept."""
    x, y = 1 - 0.04 / page.get_figwidth(), 0.04 / page.get_figheight()
    page.text(x, y, source, color=QUIET, style="italic", ha="right", va="bottom")


def sheet(
    height: float, rows: int = 1, columns: int = 1, title: str = "", **options: Any
) -> tuple[Figure, np.ndarray]:
    """Return a figure of page width, ``height`` inches high, its title the finding; its panels."""
    page = Figure(figsize=(PAGE, height))
    strip = SIGNATURE / height
    page.set_layout_engine("constrained", rect=(0, strip, 1, 1 - strip), w_pad=0.06, h_pad=0.05)
    if title:
        page.suptitle(fill(title, 82), x=0.01, ha="left")
    return page, page.subplots(rows, columns, squeeze=False, **options)


def blank(why: str) -> Figure:
    """Return a figure that says why there is nothing to draw."""
    page, [[axis]] = sheet(0.8)
    axis.axis("off")
    axis.text(0.5, 0.5, why, ha="center", va="center")
    return page


def looks(names: pd.Series) -> dict[str, Look]:
    """Give each name a marker, a dash and a colour, that of its method if it is one."""
    others = cycle(_OTHERS)
    made: dict[str, Look] = {}
    for name, marker, dash in zip(names.unique(), cycle(MARKERS), cycle(DASHES), strict=False):
        known = [colour for word, colour in METHODS.items() if word in name]
        made[name] = {"color": known[0] if known else next(others)}
        made[name] |= {"marker": marker, "linestyle": dash}
    return made


def note(
    axis: Axes, text: str, at: tuple[float, float], offset: tuple[float, float], **options: Any
) -> None:
    """Write ``text`` beside a point of the data, ``offset`` points away from it."""
    axis.annotate(text, at, offset, **{"textcoords": "offset points", "va": "center"} | options)


def name_ends(axis: Axes, ends: dict[str, tuple[float, str]]) -> None:
    """Name lines at the right edge, at the height and in the colour of each, none over another.

    Call it when the limits of the axes are settled.
    """
    inside = axis.transData - axis.transAxes
    inches = axis.get_figure(root=True).get_figheight()  # type: ignore[union-attr]
    line, at = 0.22 / inches, -1.0  # of the height of a panel
    for name, (height, colour) in sorted(ends.items(), key=lambda end: end[1]):
        at = max(inside.transform((axis.get_xlim()[1], height))[1], at + line)
        note(axis, name, (1, at), (5, 0), xycoords="axes fraction", color=colour)


def rows(axis: Axes, names: Sequence[str]) -> None:
    """Lay out a named row after the other, the first on top."""
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)


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
