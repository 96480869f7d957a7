"""Retrieved examples as pairs of cards, in the manner of the paper's Fig. 2."""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.textpath import text_to_path

from xmodal.config import InputError
from xmodal.plots.style import (
    INK,
    MODALITY_COLOUR,
    PAGE,
    QUIET,
    SMALL,
    PageFigure,
    columns_of,
    drawn_in_house_style,
    shorten,
    write_source,
)

# All lengths are inches: the axes cover the page one to one, and a row holds one example a side.
_CARD, _CARD_HEIGHT, _ROW = 1.42, 1.22, 1.58
_PICTURE = 0.5
_MARGIN = 0.07
_SHOWN = 4  # lines of labels on a card

_COLUMNS = [
    "kind",
    "direction",
    "query_id",
    "query_labels",
    "match_id",
    "match_labels",
    "cosine",
    "rank",
    "own_was_first",
    "query_feature",
    "match_feature",
]


@drawn_in_house_style
def retrieval(examples: pd.DataFrame, source: str) -> Figure:
    """Draw queries and what was retrieved for them as cards, one column for each direction.

    A card shows the feature vector as a small picture (features are no images: blue is negative,
    red positive, scaled by the vector's largest value) and the labels; a label that both cards
    share stands first and bold. As in the paper (Section 4.2), when the query's own clip came
    first the next one is shown, and the card says so.

    Parameters
    ----------
    examples
        Columns kind (how the example was chosen: "seeded", "best", "worst"), direction
        ("video→audio" or "audio→video"), query_id, query_labels (list of names), match_id,
        match_labels, cosine (of query and match), rank (of the query's own clip, 1 is best),
        own_was_first (bool), query_feature and match_feature (float arrays).

    Raises
    ------
    InputError
        When a column is missing, there are no rows, or a direction is none of the two.
    """
    columns_of(examples, _COLUMNS, "examples")
    sides = {
        name: examples[examples["direction"] == name] for name in ("video→audio", "audio→video")
    }
    if sum(map(len, sides.values())) != len(examples):
        odd = sorted(set(examples["direction"].astype(str)) - set(sides))
        raise InputError(
            f"the examples have directions {', '.join(odd)}: write video→audio or audio→video."
        )
    rows = max(map(len, sides.values()))
    height = 0.5 + rows * _ROW
    figure = PageFigure(figsize=(PAGE, height))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, PAGE), ylim=(0, height))
    axis.set_axis_off()
    write_source(figure, source)
    for column, (direction, side) in enumerate(sides.items()):
        left = 0.1 + column * PAGE / 2
        query, match = direction.split("→")
        axis.text(
            left,
            height - 0.1,
            f"{'ab'[column]}   {query} query → {match} retrieved",
            va="top",
            fontsize=8,
        )
        if side.empty:
            axis.text(left, height - 0.6, "no examples", fontsize=SMALL, color=QUIET)
        for row, example in enumerate(side.itertuples()):
            _example(axis, example, left, height - 0.36 - row * _ROW)
    return figure


def _example(axis: Axes, example, left: float, top: float) -> None:
    """Draw the heading, both cards and the arrow between them below ``top``."""
    query, match = ("visual" if m == "video" else m for m in example.direction.split("→"))
    axis.text(
        left, top, str(example.kind), va="top", fontsize=SMALL, weight="bold", parse_math=False
    )
    right = left + PAGE / 2 - 0.2
    own = f"own clip at rank {int(example.rank):,}"
    if example.own_was_first:
        own = "own clip came first, next one shown"
    axis.text(right, top, own, ha="right", va="top", fontsize=SMALL, color=QUIET)
    card_top = top - 0.16
    shared = set(example.query_labels) & set(example.match_labels)
    _card(
        axis,
        left,
        card_top,
        query,
        example.query_id,
        example.query_labels,
        shared,
        example.query_feature,
    )
    _card(
        axis,
        right - _CARD,
        card_top,
        match,
        example.match_id,
        example.match_labels,
        shared,
        example.match_feature,
    )
    middle, y = (left + right) / 2, card_top - _CARD_HEIGHT / 2
    axis.add_patch(
        FancyArrowPatch(
            (left + _CARD + 0.05, y),
            (right - _CARD - 0.05, y),
            arrowstyle="-|>",
            mutation_scale=8,
            linewidth=1,
            color=INK,
            shrinkA=0,
            shrinkB=0,
        )
    )
    cosine = f"{example.cosine:.2f}".replace("-", "−")
    axis.text(middle, y + 0.06, cosine, ha="center", va="bottom", fontsize=SMALL, weight="bold")
    axis.text(middle, y - 0.07, "cos", ha="center", va="top", fontsize=SMALL, color=QUIET)


def _card(
    axis: Axes,
    left: float,
    top: float,
    modality: str,
    clip: str,
    labels: Sequence[str],
    shared: Collection[str],
    feature: np.ndarray,
) -> None:
    colour = MODALITY_COLOUR[modality]
    axis.add_patch(
        FancyBboxPatch(
            (left, top - _CARD_HEIGHT),
            _CARD,
            _CARD_HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.05",
            facecolor="white",
            edgecolor=colour,
            linewidth=1,
        )
    )
    _fingerprint(axis, left + _MARGIN, top - _MARGIN, feature)
    text = left + _PICTURE + 2 * _MARGIN
    name = "video" if modality == "visual" else modality
    axis.text(text, top - 0.1, name, va="top", fontsize=SMALL, weight="bold", color=colour)
    axis.text(
        text,
        top - 0.24,
        _fit(str(clip), left + _CARD - text - _MARGIN),
        va="top",
        fontsize=SMALL,
        color=QUIET,
        parse_math=False,
    )
    ordered = sorted(labels, key=lambda label: label not in shared)
    lines = ordered if len(ordered) <= _SHOWN else ordered[: _SHOWN - 1]
    rest = len(ordered) - len(lines)
    for number, label in enumerate([*lines, f"+{rest}"] if rest else lines):
        weight = "bold" if number < len(lines) and label in shared else "normal"
        axis.text(
            left + _MARGIN,
            top - _PICTURE - 0.14 - 0.135 * number,
            _fit(label, _CARD - 2 * _MARGIN, weight),
            va="top",
            fontsize=SMALL,
            parse_math=False,
            weight=weight,
            color=INK if number < len(lines) else QUIET,
        )


def _fit(text: str, inches: float, weight: str = "normal") -> str:
    """Cut ``text``, set in the small size, to at most ``inches``."""
    font = FontProperties(size=SMALL, weight=weight)
    for length in range(len(text), 1, -1):
        cut = shorten(text, length)
        if text_to_path.get_text_width_height_descent(cut, font, ismath=False)[0] <= 72 * inches:
            return cut
    return text[:1]


def _fingerprint(axis: Axes, left: float, top: float, feature: np.ndarray) -> None:
    """Draw the vector as a picture ``_PICTURE`` wide, its values row by row."""
    values = np.asarray(feature, dtype=float).ravel()
    flat = 2 if values.size < 512 else 1  # audio is twice as wide as high, so the two look apart
    wide = int(np.ceil(np.sqrt(values.size * flat)))
    high = -(-values.size // wide)
    picture = np.pad(values, (0, wide * high - values.size), constant_values=np.nan)
    limit = np.nanmax(np.abs(picture), initial=0) or 1.0
    height = _PICTURE * high / wide
    axis.imshow(
        picture.reshape(high, wide),
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        aspect="auto",
        interpolation="nearest",
        extent=(left, left + _PICTURE, top - height, top),
        zorder=2,
    )
