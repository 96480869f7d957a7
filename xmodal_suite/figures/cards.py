"""Queries and what they retrieve, as cards of labels, in the manner of the paper's Fig. 2."""

from textwrap import wrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from xmodal_suite.figures import style
from xmodal_suite.figures.style import HAIRLINE, INK, MODALITIES, PAGE, QUIET, Look

# All lengths are inches. A side of the page holds the queries of one direction, one below the
# other: on the left the query's card, on the right a flat one for each item it retrieved.
_SIDE, _CARD, _ITEM = 3.35, 1.15, 1.98
_FLAT, _GAP = 0.54, 0.04  # height of a retrieved item's card, and the space below it
_HEAD, _LINE, _MARGIN = 0.2, 0.145, 0.06
_QUERIES = 3  # of each direction: the first kinds of `xmodal_suite.examples.examples`

Point = tuple[float, float]


def retrieval(examples: pd.DataFrame) -> Figure:
    """Draw three queries of each direction and what was retrieved for them, as cards of labels.

    A card that shares a label with the query has a dark edge, and the shared labels bold and first;
    the query's own clip is shaded. ``examples`` is that of `xmodal_suite.examples.examples`.
    """
    queries = examples["kind"] + examples["query_id"].astype(str)
    number = queries.groupby(examples["direction"]).transform(lambda some: pd.factorize(some)[0])
    examples = examples[number < _QUERIES]
    others = examples[~examples["own"]]
    count = others["shared"].astype(bool).sum()
    row = _HEAD + examples["place"].max() * (_FLAT + _GAP) + 0.08
    drawn = examples.groupby("direction")["query_id"].nunique().max()
    height = 0.72 + drawn * row
    figure, axis = page(height)
    title = f"{count} of the {len(others)} other clips retrieved share a label (dark edge, bold)"
    axis.text(0.07, height - 0.06, title, va="top", fontsize=10, weight="bold")
    for column, side in enumerate(("video→audio", "audio→video")):
        left = 0.07 + column * PAGE / 2
        axis.text(left, height - 0.33, "{} query, {} retrieved".format(*side.split("→")), va="top")
        found = examples[examples["direction"] == side].groupby(["kind", "query_id"], sort=False)
        for number, (_, matches) in enumerate(found):
            _query(axis, matches, left, height - 0.58 - number * row)
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
    rank = f"match at rank {one['rank']:,.12g} of {one['candidates']:,}"
    axis.text(right, top, rank, ha="right", va="top", color=QUIET)
    top, (query, item), labels = top - _HEAD, one["direction"].split("→"), one["query_labels"]
    _card(axis, (left, top), (_CARD, height), query, query, one["query_id"], INK)
    lines = wrap(", ".join(labels), 15)[: int(height / _LINE) - 2]
    axis.text(left + _MARGIN, top - 0.24, "\n".join(lines), va="top", linespacing=1.15)
    arrow(axis, (left + _CARD + 0.03, top - height / 2), (right - _ITEM - 0.03, top - height / 2))
    left = right - _ITEM
    for number, (_, match) in enumerate(found.iterrows()):
        corner = (left, top - number * (_FLAT + _GAP))
        shared = [name for name in match["match_labels"] if name in labels]
        rest = [name for name in match["match_labels"] if name not in shared]
        edge, face = (INK if shared else "#c4c4c4"), (HAIRLINE if match["own"] else "white")
        head = f"{match['place']}   cos {match['cosine']:.2f}".replace("-", "−")
        mark = "the match" if match["own"] else match["match_id"]
        _card(axis, corner, (_ITEM, _FLAT), item, head, mark, edge, face)
        line = corner[1] - 0.24
        for words, weight, width in ((shared, "bold", 22), (rest, "normal", 25)):
            room = width if shared and rest else 2 * width - 4
            for text in wrap(style.shorten(", ".join(words), room), width):
                axis.text(left + _MARGIN, line, text, weight=weight, va="top")
                line -= _LINE


def _card(
    axis: Axes,
    corner: Point,
    size: Point,
    role: str,
    head: str,
    mark: str,
    edge: str,
    face: str = "white",
) -> None:
    """Draw a card below its upper left corner, its head in the colour of its modality."""
    (left, top), (width, height) = corner, size
    colour = MODALITIES["audio" if role == "audio" else "visual"]["color"]
    box(axis, (left, top - height), width, height, edge, face)
    axis.text(left + _MARGIN, top - 0.06, head, weight="bold", color=colour, va="top")
    mark = style.shorten(mark, int(7 * width))
    axis.text(left + width - _MARGIN, top - 0.06, mark, color=QUIET, ha="right", va="top")
