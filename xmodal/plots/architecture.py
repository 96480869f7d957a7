"""The model as a picture (the paper's Fig. 1), drawn from its layer sizes."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from xmodal.plots import style
from xmodal.plots.sketch import arrow, box, page
from xmodal.plots.style import INK, MODALITIES, QUIET, Look

# All lengths are inches.
_HEIGHT = 3.35
_CENTRE = {"visual": 2.4, "audio": 0.77}
_OUTWARD = {"visual": 1, "audio": -1}  # away from the loss between the branches
_MIDDLE = (_CENTRE["visual"] + _CENTRE["audio"]) / 2
_BLOCK, _TALLEST = 0.40, 1.2
_LEFT, _EMBEDDING = 0.3, 4.02  # centres of the first and of the last column
_PALE = "#f4f4f4"
_CENTRED: Look = {"ha": "center", "va": "center"}


@style.figure()
def architecture(
    visual: Sequence[int] = (1024, 2000, 2000, 700, 700, 250),
    audio: Sequence[int] = (128, 450, 450, 200, 200, 250),
    classes: int = 3862,
    source: str = "",
) -> Figure:
    """Draw the two branches, the joint space and the shared classifier (paper, Section 2, Fig. 1).

    The drawing is our own. The height of a block grows with the square root of its units, so
    that the smallest stays readable beside the largest.

    Parameters
    ----------
    visual, audio : sequence of int
        Units of each branch, from the features to the embedding (paper, Section 3.1).
    classes : int
        Units of the classifier's output.
    source : str
        A remark for the corner; a schematic shows no data, so there is none by default.
    """
    figure, axis = page(_HEIGHT, source)
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
    look: Look = {
        "color": colour,
        "ha": "center",
        "va": "bottom" if modality == "visual" else "top",
    }
    bold: Look = look | {"weight": "bold", "linespacing": 1.05}
    axis.text(_LEFT, edge, f"{modality}\nfeatures", **bold)
    axis.text(_EMBEDDING, edge, "embedding", **bold)
    if last > 1:
        layers = f"{last - 1} fully connected {'layer' if last == 2 else 'layers'}, ReLU"
        axis.text(_LEFT + last * step / 2, edge, layers, **look)


def _cosine_loss(axis: Axes, half: float) -> None:
    """Draw the loss between the two embeddings, whose blocks reach ``half`` above and below."""
    for modality, outward in _OUTWARD.items():
        start, tip = _CENTRE[modality] - outward * half, _MIDDLE + outward * 0.27
        arrow(axis, (_EMBEDDING, start), (_EMBEDDING, tip))
    box(axis, (_EMBEDDING - 0.8, _MIDDLE - 0.27), 1.6, 0.54, INK, _PALE)
    axis.text(_EMBEDDING, _MIDDLE + 0.155, "cosine similarity loss", weight="bold", **_CENTRED)
    for y, pair, formula in (
        (_MIDDLE - 0.01, "same clip", "1 − cos"),
        (_MIDDLE - 0.155, "other clip", "max(0, cos − α)"),
    ):
        axis.text(_EMBEDDING - 0.74, y, pair, va="center", color=QUIET)
        axis.text(_EMBEDDING + 0.74, y, formula, ha="right", va="center")


def _classifier(axis: Axes, classes: int) -> None:
    """Draw the classifier that both embeddings share, and the sum of the two losses."""
    x, width, height = 5.58, 1.16, 0.6
    for modality, outward in _OUTWARD.items():
        colour, y = MODALITIES[modality]["color"], _CENTRE[modality]
        axis.plot([_EMBEDDING + _BLOCK / 2, x], [y, y], color=colour, linewidth=1)
        arrow(axis, (x, y), (x, _MIDDLE + outward * height / 2), colour)
    box(axis, (x - width / 2, _MIDDLE - height / 2), width, height, INK, _PALE)
    axis.text(x, _MIDDLE + 0.165, "shared classifier", weight="bold", **_CENTRED)
    axis.text(x, _MIDDLE, "fully connected", **_CENTRED)
    axis.text(x, _MIDDLE - 0.155, f"{classes:,} sigmoids", **_CENTRED)
    arrow(axis, (x + width / 2, _MIDDLE), (6.38, _MIDDLE))
    axis.text(6.68, _MIDDLE, "cross\nentropy", weight="bold", **_CENTRED)
    total, y = "loss = cosine loss + λ · cross entropy", _CENTRE["audio"] - 0.42
    axis.text(6.92, y, total, ha="right", va="center", fontsize=8)
