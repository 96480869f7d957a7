"""Retrieved clips as pairs of cards, in the manner of the paper's Fig. 2."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from xmodal.config import InputError
from xmodal.plots import sketch
from xmodal.plots.style import INK, MODALITIES, PAGE, QUIET, SMALL, figure, shorten

# All lengths are inches: a row holds one query a side.
_CARD, _CARD_HEIGHT, _ROW = 1.42, 0.94, 1.3
_MARGIN = 0.07
_SHOWN = 5  # lines of labels on a card

Example = dict[str, Any]  # a row of the frame
_CLIPS = ["query_id", "query_labels", "match_id", "match_labels"]


@figure(examples=["kind", "direction", *_CLIPS, "cosine", "rank", "own_was_first"])
def retrieval(examples: pd.DataFrame, source: str) -> Figure:
    """Draw queries and what was retrieved for them as cards, one column for each direction.

    A card shows a clip's labels; one that both cards share stands first and bold. As in the paper
    (section 4.2), when the query's own clip came first the next one is shown, and the card says so.

    Parameters
    ----------
    examples : DataFrame
        Columns kind (how the query was chosen: "seeded", "best", "worst"), direction
        ("video→audio" or "audio→video"), query_id, query_labels (names, joined by "; "), match_id,
        match_labels, cosine (of query and match), rank (of the query's own clip, 1 is best),
        own_was_first (bool).
    """
    sides = ("video→audio", "audio→video")
    if odd := sorted(set(examples["direction"].astype(str)) - set(sides)):
        raise InputError(
            f"the examples have directions {', '.join(odd)}: write video→audio or audio→video."
        )
    height = 0.5 + examples["direction"].value_counts().max() * _ROW
    page, axis = sketch.page(height, source)
    for column, direction in enumerate(sides):
        left = 0.1 + column * PAGE / 2
        query, match = direction.split("→")
        heading = f"{'ab'[column]}   {query} query → {match} retrieved"
        axis.text(left, height - 0.1, heading, va="top", fontsize=8)
        shown = examples[examples["direction"] == direction].to_dict("records")
        if not shown:
            axis.text(left, height - 0.6, "no examples", color=QUIET)
        for row, example in enumerate(shown):
            _example(axis, example, left, height - 0.36 - row * _ROW)
    return page


def _example(axis: Axes, example: Example, left: float, top: float) -> None:
    """Draw the heading, both cards and the arrow between them below ``top``."""
    right, card_top = left + PAGE / 2 - 0.2, top - 0.16
    axis.text(left, top, str(example["kind"]), va="top", weight="bold")
    own = f"own clip at rank {int(example['rank']):,}"
    if example["own_was_first"]:
        own = "own clip came first, next one shown"
    axis.text(right, top, own, ha="right", va="top", color=QUIET)
    query, match = example["direction"].split("→")
    _card(axis, left, card_top, query, "query", example)
    _card(axis, right - _CARD, card_top, match, "match", example)
    middle, y = (left + right) / 2, card_top - _CARD_HEIGHT / 2
    sketch.arrow(axis, (left + _CARD + 0.05, y), (right - _CARD - 0.05, y), head=8)
    cosine = f"{example['cosine']:.2f}".replace("-", "−")
    axis.text(middle, y + 0.06, cosine, ha="center", va="bottom", weight="bold")
    axis.text(middle, y - 0.07, "cos", ha="center", va="top", color=QUIET)


def _card(axis: Axes, left: float, top: float, modality: str, role: str, example: Example) -> None:
    """Draw the card of the clip that is the query or the match: name and labels."""
    colour = MODALITIES["visual" if modality == "video" else modality]["color"]
    sketch.box(axis, (left, top - _CARD_HEIGHT), _CARD, _CARD_HEIGHT, colour, "white")
    axis.text(left + _MARGIN, top - 0.07, modality, va="top", weight="bold", color=colour)
    clip = _fit(str(example[f"{role}_id"]), _CARD - 0.6)
    axis.text(left + _CARD - _MARGIN, top - 0.07, clip, ha="right", va="top", color=QUIET)

    both = {one: _labels(example[f"{one}_labels"]) for one in ("query", "match")}
    shared = set(both["query"]) & set(both["match"])
    labels = sorted(both[role], key=lambda label: label not in shared)
    shown = labels if len(labels) <= _SHOWN else labels[: _SHOWN - 1]
    lines = [(label, "bold" if label in shared else "normal", INK) for label in shown]
    if rest := len(labels) - len(shown):
        lines.append((f"+{rest}", "normal", QUIET))
    for number, (words, weight, ink) in enumerate(lines):
        words, y = _fit(words, _CARD - 2 * _MARGIN, weight), top - 0.25 - 0.135 * number
        axis.text(left + _MARGIN, y, words, va="top", weight=weight, color=ink)


def _labels(names: object) -> list[str]:
    """Return the names in a text of labels, which is missing where a clip has none."""
    return [] if pd.isna(names) else str(names).split("; ")  # type: ignore[call-overload]


def _fit(text: str, inches: float, weight: str = "normal") -> str:
    """Cut ``text``, set in the small size, to at most ``inches``."""
    font = FontProperties(size=SMALL, weight=weight)
    for length in range(len(text), 1, -1):
        cut = shorten(text, length)
        if text_to_path.get_text_width_height_descent(cut, font, ismath=False)[0] <= 72 * inches:
            return cut
    return text[:1]
