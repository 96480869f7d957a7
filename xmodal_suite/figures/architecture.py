"""The paper's model as a picture (its Fig. 1)."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from xmodal_suite.figures import style
from xmodal_suite.figures.cards import arrow, box, page
from xmodal_suite.figures.style import INK, MODALITIES, QUIET, Look

_UNITS = {"visual": (1024, 2000, 2000, 700, 700, 250), "audio": (128, 450, 450, 200, 200, 250)}
_CLASSES = 3862

# All lengths are inches.
_HEIGHT = 4.4
_CENTRE = {"visual": 3.1, "audio": 1.1}
_MIDDLE = (_CENTRE["visual"] + _CENTRE["audio"]) / 2
_BLOCK, _TALLEST, _LINE = 0.48, 1.2, 0.165
_LEFT, _EMBEDDING, _CLASSIFIER = 0.34, 3.9, 6.03  # centres of columns
_STEP = (_EMBEDDING - _LEFT) / 5  # from a layer to the next
_TALL = 1.1  # of the boxes of the losses
_PALE = "#f4f4f4"
_CENTRED: Look = {"ha": "center", "va": "center"}
_REMARK: Look = {"color": QUIET, "style": "italic"}
_FEATURES = {
    "visual": "what is seen,\nmean over frames",
    "audio": "what is heard,\nmean over seconds",
}
_BRANCH = "4 fully connected\nlayers with ReLU"


def architecture() -> Figure:
    """Draw the two branches, the joint space and the shared classifier (paper, sections 2, 3.1)."""
    figure, axis = page(_HEIGHT)
    for modality in _UNITS:
        _branch(axis, modality)
    _cosine_loss(axis)
    _classifier(axis)
    return figure


def _half(units: int) -> float:
    """Return half the height of a block, which grows with the square root of its units."""
    return _TALLEST * (units / 2000) ** 0.5 / 2


def _branch(axis: Axes, modality: str) -> None:
    """Draw one branch, a block a layer, and the words beside it."""
    colour, y, layers = MODALITIES[modality]["color"], _CENTRE[modality], _UNITS[modality]
    for number, units in enumerate(layers):
        x, half = _LEFT + number * _STEP, _half(units)
        left = x - _BLOCK / 2
        if number:
            right, before = left - _STEP + _BLOCK, _half(layers[number - 1])
            corners = [(right, y + before), (left, y + half), (left, y - half), (right, y - before)]
            axis.add_patch(Polygon(corners, facecolor=colour, alpha=0.13, linewidth=0))
        hidden = 0 < number < len(layers) - 1
        face, ink, weight = ("white", INK, "normal") if hidden else (colour, "white", "bold")
        box(axis, (left, y - half), _BLOCK, 2 * half, colour, face)
        axis.text(x, y, f"{units:,}", color=ink, weight=weight, **_CENTRED)
    above = modality == "visual"
    outward = 1 if above else -1  # away from the loss between the branches
    edge = y + outward * (_half(max(layers)) + 0.1)
    va, first, second = "bottom" if above else "top", 2 * _LINE * above, -_LINE * (not above)
    for x, side, name, about in (
        (0.06, "left", f"{modality} features", _FEATURES[modality]),
        (_EMBEDDING, "center", "embedding", "of length 1: only\nits direction counts"),
        ((_LEFT + _EMBEDDING) / 2, "center", f"{modality} branch", _BRANCH),
    ):
        axis.text(x, edge + first, name, weight="bold", color=colour, ha=side, va=va)
        axis.text(x, edge + second, about, linespacing=1.25, ha=side, va=va)
    arrow(axis, (_EMBEDDING, y - outward * half), (_EMBEDDING, _MIDDLE + outward * _TALL / 2))
    axis.plot([_EMBEDDING + _BLOCK / 2, _CLASSIFIER], [y, y], color=colour, linewidth=1)
    arrow(axis, (_CLASSIFIER, y), (_CLASSIFIER, _MIDDLE + outward * _TALL / 2), colour)


def _cosine_loss(axis: Axes) -> None:
    """Draw the loss between the two embeddings."""
    left, right = _EMBEDDING - 1.15, _EMBEDDING + 1.15
    box(axis, (left, _MIDDLE - _TALL / 2), right - left, _TALL, INK, _PALE)
    axis.text(_EMBEDDING, _MIDDLE + 0.42, "cosine similarity loss", weight="bold", **_CENTRED)
    for y, pair, formula, pull in (
        (_MIDDLE + 0.22, "same clip", "1 − cos", "pulls the two together"),
        (_MIDDLE - 0.2, "other clip", "max(0, cos − α)", "pushes them apart to cos ≤ α"),
    ):
        axis.text(left + 0.06, y, pair, va="center")
        axis.text(right - 0.06, y, formula, ha="right", va="center")
        axis.text(left + 0.14, y - _LINE, pull, va="center", **_REMARK)


def _classifier(axis: Axes) -> None:
    """Draw the classifier that both embeddings share, and the sum of the two losses."""
    x, width = _CLASSIFIER, 1.78
    box(axis, (x - width / 2, _MIDDLE - _TALL / 2), width, _TALL, INK, _PALE)
    purpose = "cross entropy with\nthe labels of the clip"
    axis.text(x, _MIDDLE + 0.42, "shared classifier", weight="bold", **_CENTRED)
    axis.text(x, _MIDDLE + 0.22, "fully connected", **_CENTRED)
    axis.text(x, _MIDDLE + 0.05, f"{_CLASSES:,} sigmoids", **_CENTRED)
    axis.text(x, _MIDDLE - 0.28, purpose, linespacing=1.2, **_CENTRED, **_REMARK)
    right: Look = {"x": 6.94, "ha": "right", "va": "center"}
    y = _CENTRE["audio"] - 0.3
    axis.text(y=y, s="loss = cosine loss\n+ λ · cross entropy", weight="bold", **right)
    meaning = "λ, the weight of the\nlabels, is 0 at first"
    axis.text(y=y - 0.38, s=meaning, linespacing=1.2, **_REMARK, **right)
