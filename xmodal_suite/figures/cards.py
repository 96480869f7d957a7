"""Queries and what they retrieve, as cards of labels, in the manner of the paper's Fig. 2."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.textpath import text_to_path

from xmodal_suite.figures import style
from xmodal_suite.figures.style import HAIRLINE, INK, MODALITIES, PAGE, QUIET, Look

# All lengths are inches. A side of the page holds the queries of one direction, one below the
# other: on the left the query's card, on the right a flat one for each item it retrieved.
_SIDE, _CARD, _ITEM = 3.3, 1.2, 1.88
_FLAT, _GAP = 0.38, 0.025  # height of a retrieved item's card, and the space below it
_HEAD, _LINE, _MARGIN = 0.15, 0.113, 0.06
_FIRST = 0.12  # from a card's upper edge to its first line of text
_COUNT = 0.28  # the room for the number of labels that are left out
_OWN: Look = {"face": HAIRLINE, "weight": "bold"}  # of the card of the query's own clip

Point = tuple[float, float]


def retrieval(examples: pd.DataFrame) -> Figure:
    """Draw queries and what was retrieved for them as cards, one column for each direction.

    A card shows a clip's labels; a retrieved one sets those of the query first and bold. The
    query's own clip, which the paper skips (section 4.2), is shaded and says so.

    ``examples`` is the frame of `xmodal_suite.examples.examples`.
    """
    items = examples.groupby(["direction", "kind", "query_id"]).size()
    row = _HEAD + items.max() * (_FLAT + _GAP) + 0.05
    height = 0.5 + items.groupby("direction").size().max() * row
    figure, axis = page(height)
    for column, side in enumerate(("video→audio", "audio→video")):
        left = 0.1 + column * PAGE / 2
        heading = "{}   {} query → {} retrieved".format("ab"[column], *side.split("→"))
        axis.text(left, height - 0.1, heading, va="top", fontsize=8)
        found = examples[examples["direction"] == side].groupby(["kind", "query_id"], sort=False)
        for number, (_, matches) in enumerate(found):
            _query(axis, matches, left, height - 0.36 - number * row)
    return figure


def page(height: float) -> tuple[Figure, Axes]:
    """Return a figure of page width and its only axes, which cover it in inches."""
    figure = Figure(figsize=(PAGE, height))
    axis = figure.add_axes((0, 0, 1, 1), xlim=(0, PAGE), ylim=(0, height))
    axis.set_axis_off()
    return figure, axis


def box(axis: Axes, corner: Point, width: float, height: float, edge: str, face: str) -> None:
    """Draw a box with rounded corners, its lower left at ``corner``."""
    shape = "round,pad=0,rounding_size=0.05"
    patch = FancyBboxPatch(corner, width, height, shape, edgecolor=edge, facecolor=face)
    axis.add_patch(patch)


def arrow(axis: Axes, start: Point, end: Point, colour: str = INK) -> None:
    """Draw a straight arrow from ``start`` to ``end``."""
    look: Look = {"mutation_scale": 7, "shrinkA": 0, "shrinkB": 0, "color": colour}
    axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", **look))


def _query(axis: Axes, found: pd.DataFrame, left: float, top: float) -> None:
    """Draw the heading, the query's card and the items it retrieved below ``top``."""
    one, right, height = found.iloc[0], left + _SIDE, len(found) * (_FLAT + _GAP) - _GAP
    axis.text(left, top, one["kind"], va="top", weight="bold")
    rank = f"own clip at rank {one['rank']:,.12g} of {one['candidates']:,}"
    axis.text(right, top, rank, ha="right", va="top", color=QUIET)
    top, (query, item) = top - _HEAD, one["direction"].split("→")
    middle, labels = top - height / 2, one["query_labels"].split("; ")
    line = _card(axis, (left, top), (_CARD, height), query, query, one["query_id"], color=QUIET)
    _write(axis, labels, (left, line - 0.02), _CARD, 3 * len(found) - 1)
    arrow(axis, (left + _CARD + 0.03, middle), (right - _ITEM - 0.03, middle))
    left = right - _ITEM
    for number, (_, match) in enumerate(found.iterrows()):
        corner = (left, top - number * (_FLAT + _GAP))
        mark, look = ("own clip", _OWN) if match["own"] else (match["match_id"], {})
        line = _card(axis, corner, (_ITEM, _FLAT), item, match["place"], mark, **look)
        cosine = f"cos {match['cosine']:.2f}".replace("-", "−")
        axis.text(left + _MARGIN + 0.13, line + _LINE, cosine)
        names = sorted(match["match_labels"].split("; "), key=lambda name: name not in labels)
        _write(axis, names, (left, line), _ITEM, 2, labels)


def _card(
    axis: Axes,
    corner: Point,
    size: Point,
    role: str,
    head: str,
    mark: str,
    face: str = "white",
    **look: Any,
) -> float:
    """Draw a card below its upper left corner; return the height of its first line of labels."""
    (left, top), (width, height) = corner, size
    colour = MODALITIES["audio" if role == "audio" else "visual"]["color"]
    box(axis, (left, top - height), width, height, colour, face)
    line = top - _FIRST
    axis.text(left + _MARGIN, line, head, weight="bold", color=colour)
    axis.text(left + width - _MARGIN, line, style.shorten(mark, int(8 * width)), ha="right", **look)
    return line - _LINE


def _write(
    axis: Axes, labels: list[str], corner: Point, width: float, lines: int, bold: Sequence[str] = ()
) -> None:
    """Write labels one after the other in some lines of a card; those without room are counted."""
    (left, y), x, width = corner, 0.0, width - 2 * _MARGIN
    left += _MARGIN
    for number, label in enumerate(labels):
        rest, weight = len(labels) - number, "bold" if label in bold else "normal"
        words = label + "," * (rest > 1)
        if x and x + _wide(words, weight) > width - _COUNT * (lines == 1 and rest > 1):
            if lines == 1:
                axis.text(left + x, y, f"+{rest}", color=QUIET)
                return
            x, y, lines = 0.0, y - _LINE, lines - 1
        while _wide(words, weight) > width - x - _COUNT * (lines == 1 and rest > 1):
            words = style.shorten(words, len(words) - 1)
        axis.text(left + x, y, words, weight=weight)
        x += _wide(words, weight) + 0.05


def _wide(text: str, weight: str) -> float:
    """Return how wide ``text`` is, set in the small size, in inches, and a little for hinting."""
    font = FontProperties(size=style.SMALL, weight=weight)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 70
