"""The model as a picture (the paper's Fig. 1), drawn from its layer sizes."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from xmodal_suite.figures import style
from xmodal_suite.figures.sketch import arrow, box, page
from xmodal_suite.figures.style import INK, MODALITIES, QUIET, Look

# All lengths are inches.
_HEIGHT = 3.95
_CENTRE = {"visual": 2.79, "audio": 0.98}
_OUTWARD = {"visual": 1, "audio": -1}  # away from the loss between the branches
_MIDDLE = (_CENTRE["visual"] + _CENTRE["audio"]) / 2
_BLOCK, _TALLEST, _LINE = 0.40, 1.2, 0.135
_LEFT, _EMBEDDING, _CLASSIFIER = 0.3, 3.95, 5.63  # centres of columns
_TALL = 0.9  # of the boxes of the losses
_PALE = "#f4f4f4"
_CENTRED: Look = {"ha": "center", "va": "center"}
_FEATURES = {
    "visual": "what is seen,\nmean over frames",
    "audio": "what is heard,\nmean over seconds",
}


@style.figure
def architecture(
    visual: Sequence[int] = (1024, 2000, 2000, 700, 700, 250),
    audio: Sequence[int] = (128, 450, 450, 200, 200, 250),
    classes: int = 3862,
) -> Figure:
    """Draw the two branches, the joint space and the shared classifier (paper, Section 2, Fig. 1).

    The drawing is our own; beside each part stands what it is for. The height of a block grows
    with the square root of its units, so that the smallest stays readable beside the largest.

    Parameters
    ----------
    visual, audio : sequence of int
        Units of each branch, from the features to the embedding (paper, Section 3.1).
    classes : int
        Units of the classifier's output.
    """
    figure, axis = page(_HEIGHT)
    largest = max(*visual, *audio)
    for modality, units in (("visual", visual), ("audio", audio)):
        halves = [_TALLEST * (size / largest) ** 0.5 / 2 for size in units]
        _branch(axis, modality, units, halves)
    _cosine_loss(axis, halves[-1])
    _classifier(axis, classes)
    return figure


def _branch(axis: Axes, modality: str, units: Sequence[int], halves: Sequence[float]) -> None:
    """Draw one branch: a block a layer, ``halves`` of their heights, and the words beside it."""
    colour, y = MODALITIES[modality]["color"], _CENTRE[modality]
    last = len(units) - 1
    step = (_EMBEDDING - _LEFT) / last
    width = min(_BLOCK, step * 0.7)
    for number, (size, half) in enumerate(zip(units, halves, strict=True)):
        x = _LEFT + number * step
        if number:
            left, right, before = x - width / 2, x - step + width / 2, halves[number - 1]
            corners = [(right, y + before), (left, y + half), (left, y - half), (right, y - before)]
            axis.add_patch(Polygon(corners, facecolor=colour, alpha=0.13, linewidth=0))
        hidden = 0 < number < last
        face, ink, weight = ("white", INK, "normal") if hidden else (colour, "white", "bold")
        box(axis, (x - width / 2, y - half), width, 2 * half, colour, face)
        turned = 0 if width > 0.36 else 90
        axis.text(x, y, f"{size:,}", color=ink, rotation=turned, weight=weight, **_CENTRED)
    reach = _TALLEST / 2 if modality == "visual" else max(halves)
    edge = y + _OUTWARD[modality] * (reach + 0.1)
    _words(axis, modality, 0.06, edge, f"{modality} features", _FEATURES[modality], "left")
    _words(axis, modality, _EMBEDDING, edge, "embedding", "of length 1: only\nits direction counts")
    if last > 1:
        layers = f"{last - 1} fully connected {'layer' if last == 2 else 'layers'}, ReLU"
        about = f"{layers}\nmap the features into the joint space"
        _words(axis, modality, (_LEFT + _EMBEDDING) / 2, edge, f"{modality} branch", about)


def _words(
    axis: Axes, modality: str, x: float, edge: float, name: str, about: str, side: str = "center"
) -> None:
    """Write what a part is called and, in two lines, what it is for, outward from ``edge``."""
    above = modality == "visual"
    first, second = edge + 2 * _LINE * above, edge - _LINE * (not above)
    look: Look = {"ha": side, "va": "bottom" if above else "top"}
    axis.text(x, first, name, weight="bold", color=MODALITIES[modality]["color"], **look)
    axis.text(x, second, about, linespacing=1.25, **look)


def _cosine_loss(axis: Axes, half: float) -> None:
    """Draw the loss between the two embeddings, whose blocks reach ``half`` above and below."""
    for modality, outward in _OUTWARD.items():
        start, tip = _CENTRE[modality] - outward * half, _MIDDLE + outward * _TALL / 2
        arrow(axis, (_EMBEDDING, start), (_EMBEDDING, tip))
    left, right = _EMBEDDING - 0.85, _EMBEDDING + 0.85
    box(axis, (left, _MIDDLE - _TALL / 2), right - left, _TALL, INK, _PALE)
    axis.text(_EMBEDDING, _MIDDLE + 0.33, "cosine similarity loss", weight="bold", **_CENTRED)
    for y, pair, formula, pull in (
        (_MIDDLE + 0.16, "same clip", "1 − cos", "pulls the two together"),
        (_MIDDLE - 0.17, "other clip", "max(0, cos − α)", "pushes them apart to cos ≤ α"),
    ):
        axis.text(left + 0.06, y, pair, va="center")
        axis.text(right - 0.06, y, formula, ha="right", va="center")
        axis.text(left + 0.14, y - 0.14, pull, va="center", color=QUIET, style="italic")


def _classifier(axis: Axes, classes: int) -> None:
    """Draw the classifier that both embeddings share, and the sum of the two losses."""
    x, width = _CLASSIFIER, 1.3
    for modality, outward in _OUTWARD.items():
        look, y = MODALITIES[modality], _CENTRE[modality]
        axis.plot([_EMBEDDING + _BLOCK / 2, x], [y, y], **look | {"linewidth": 1})
        arrow(axis, (x, y), (x, _MIDDLE + outward * _TALL / 2), look["color"])
    box(axis, (x - width / 2, _MIDDLE - _TALL / 2), width, _TALL, INK, _PALE)
    axis.text(x, _MIDDLE + 0.33, "shared classifier", weight="bold", **_CENTRED)
    axis.text(x, _MIDDLE + 0.16, "fully connected", **_CENTRED)
    axis.text(x, _MIDDLE + 0.02, f"{classes:,} sigmoids", **_CENTRED)
    purpose: Look = _CENTRED | {"color": QUIET, "style": "italic", "linespacing": 1.2}
    axis.text(x, _MIDDLE - 0.24, "tells the labels from\neither embedding", **purpose)
    arrow(axis, (x + width / 2, _MIDDLE), (6.47, _MIDDLE))
    axis.text(6.72, _MIDDLE, "cross\nentropy", weight="bold", **_CENTRED)
    right: Look = {"x": 6.94, "ha": "right", "va": "center"}
    y = _CENTRE["audio"] - 0.45
    axis.text(y=y, s="loss = cosine loss + λ · cross entropy", fontsize=8, **right)
    meaning = "λ: how much the labels count; 0 at first,\nso that similarity is learnt before them"
    axis.text(y=y - 0.24, s=meaning, color=QUIET, style="italic", linespacing=1.2, **right)
