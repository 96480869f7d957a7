"""Queries and what they retrieve, as cards of labels, in the manner of the paper's Fig. 2."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from xmodal_suite.figures import sketch
from xmodal_suite.figures.style import HAIRLINE, MODALITIES, PAGE, QUIET, SMALL, figure, shorten

# All lengths are inches. A side of the page holds the queries of one direction, one below the
# other: on the left the query's card, on the right a flat one for each item it retrieved.
_SIDE, _CARD, _ITEM = 3.3, 1.2, 1.88
_FLAT, _GAP = 0.38, 0.025  # height of a retrieved item's card, and the space below it
_HEAD, _LINE, _MARGIN = 0.15, 0.113, 0.06
_FIRST = 0.12  # from a card's upper edge to its first line of text


@figure
def retrieval(examples: pd.DataFrame) -> Figure:
    """Draw queries and what was retrieved for them as cards, one column for each direction.

    A card shows a clip's labels; a retrieved one sets those of the query first and bold. The
    query's own clip, which the paper skips (section 4.2), is shaded and says so.

    Parameters
    ----------
    examples : DataFrame
        A row a retrieved item, as `xmodal_suite.examples.examples` returns them. Columns kind
        (how the query was chosen), direction ("video→audio" or "audio→video"), query_id,
        query_labels (names, joined by "; "), rank (of the query's own clip, 1 is best), candidates
        (among how many), place (of the item, 1 is nearest), match_id, match_labels, cosine (of
        query and item), own (bool: the item is the query's own clip).
    """
    sides = ("video→audio", "audio→video")
    queries = list(examples.groupby(["direction", "kind", "query_id"], sort=False))
    shown = {side: [found for key, found in queries if key[0] == side] for side in sides}
    row = _HEAD + max(len(found) for _, found in queries) * (_FLAT + _GAP) + 0.05
    height = 0.5 + max(map(len, shown.values())) * row
    page, axis = sketch.page(height)
    for column, side in enumerate(sides):
        left = 0.1 + column * PAGE / 2
        query, item = side.split("→")
        heading = f"{'ab'[column]}   {query} query → {item} retrieved"
        axis.text(left, height - 0.1, heading, va="top", fontsize=8)
        if not shown[side]:
            axis.text(left, height - 0.6, "no examples", color=QUIET)
        for number, found in enumerate(shown[side]):
            _query(axis, found, left, height - 0.36 - number * row)
    return page


def _query(axis: Axes, found: pd.DataFrame, left: float, top: float) -> None:
    """Draw the heading, the query's card and the items it retrieved below ``top``."""
    one, right, card_top = found.iloc[0], left + _SIDE, top - _HEAD
    axis.text(left, top, str(one["kind"]), va="top", weight="bold")
    rank = f"own clip at rank {one['rank']:,.12g} of {one['candidates']:,}"
    axis.text(right, top, rank, ha="right", va="top", color=QUIET)
    query, item = (
        (name, MODALITIES["visual" if name == "video" else name]["color"])
        for name in one["direction"].split("→")
    )
    high = len(found) * (_FLAT + _GAP) - _GAP
    sketch.box(axis, (left, card_top - high), _CARD, high, query[1], "white")
    line, inside = card_top - _FIRST, left + _MARGIN
    axis.text(inside, line, query[0], weight="bold", color=query[1])
    clip = _fit(str(one["query_id"]), _CARD - 0.55)
    axis.text(left + _CARD - _MARGIN, line, clip, ha="right", color=QUIET)
    labels = _labels(one["query_labels"])
    _write(axis, labels, (inside, line - _LINE - 0.02), _CARD - 2 * _MARGIN, 3 * len(found) - 1)
    middle = card_top - high / 2
    sketch.arrow(axis, (left + _CARD + 0.03, middle), (right - _ITEM - 0.03, middle))
    for number, (_, match) in enumerate(found.iterrows()):
        corner = (right - _ITEM, card_top - number * (_FLAT + _GAP))
        _item(axis, match, corner, item[1], labels)


def _item(
    axis: Axes, match: pd.Series, corner: sketch.Point, colour: str, wanted: Sequence[str]
) -> None:
    """Draw a retrieved item below its upper left corner; labels that are ``wanted`` stand out."""
    (left, top), right = corner, corner[0] + _ITEM - _MARGIN
    face = HAIRLINE if match["own"] else "white"
    sketch.box(axis, (left, top - _FLAT), _ITEM, _FLAT, colour, face)
    line = top - _FIRST
    axis.text(left + _MARGIN, line, str(match["place"]), weight="bold", color=colour)
    cosine = f"cos {match['cosine']:.2f}".replace("-", "−")
    axis.text(left + _MARGIN + 0.13, line, cosine)
    mark, weight = ("own clip", "bold") if match["own"] else (str(match["match_id"]), "normal")
    axis.text(right, line, _fit(mark, 0.9), ha="right", weight=weight)
    labels = sorted(_labels(match["match_labels"]), key=lambda label: label not in wanted)
    bold = [label for label in labels if label in wanted]
    _write(axis, labels, (left + _MARGIN, line - _LINE), _ITEM - 2 * _MARGIN, 2, bold)


def _write(
    axis: Axes,
    labels: Sequence[str],
    corner: sketch.Point,
    width: float,
    lines: int,
    bold: Sequence[str] = (),
) -> None:
    """Write labels one after the other in some lines; those without room are counted."""
    (left, y), x = corner, 0.0
    for number, label in enumerate(labels):
        rest, weight = len(labels) - number, "bold" if label in bold else "normal"
        words = label + "," * (rest > 1)
        if x and x + _wide(words, weight) > width - 0.28 * (lines == 1 and rest > 1):
            if lines == 1:
                axis.text(left + x, y, f"+{rest}", color=QUIET)
                return
            x, y, lines = 0.0, y - _LINE, lines - 1
        words = _fit(words, width - x - 0.28 * (lines == 1 and rest > 1), weight)
        axis.text(left + x, y, words, weight=weight)
        x += _wide(words, weight) + 0.05


def _labels(names: object) -> list[str]:
    """Return the names in a text of labels, which is missing where a clip has none."""
    return [] if pd.isna(names) else str(names).split("; ")  # type: ignore[call-overload]


def _wide(text: str, weight: str) -> float:
    """Return how wide ``text`` is, set in the small size, in inches, and a little for hinting."""
    font = FontProperties(size=SMALL, weight=weight)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 70


def _fit(text: str, inches: float, weight: str = "normal") -> str:
    """Cut ``text``, set in the small size, to at most ``inches``."""
    for length in range(len(text), 1, -1):
        cut = shorten(text, length)
        if _wide(cut, weight) <= inches:
            return cut
    return text[:1]
