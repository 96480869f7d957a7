"""The model as a picture (the paper's Fig. 1), drawn from its layer sizes."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon

from xmodal.plots.style import (
    INK,
    MODALITY_COLOUR,
    PAGE,
    QUIET,
    SMALL,
    PageFigure,
    drawn_in_house_style,
    write_source,
)

# All lengths are inches: the axes cover the page one to one.
_HEIGHT = 3.35
_CENTRE = {"visual": 2.4, "audio": 0.77}
_BLOCK = 0.40
_TALLEST = 1.2
_LEFT, _EMBEDDING = 0.3, 4.02  # centres of the first and of the last column
_MIDDLE = (_CENTRE["visual"] + _CENTRE["audio"]) / 2


@drawn_in_house_style
def architecture(
    visual_hidden: Sequence[int] = (2000, 2000, 700, 700),
    audio_hidden: Sequence[int] = (450, 450, 200, 200),
    embedding_dim: int = 250,
    classes: int = 3862,
    visual_dim: int = 1024,
    audio_dim: int = 128,
    source: str = "",
) -> Figure:
    """Draw the two branches, the joint space and the shared classifier (paper, Section 2, Fig. 1).

    The drawing is our own. The height of a block grows with the square root of its units, so
    that the smallest stays readable beside the largest.

    Parameters
    ----------
    visual_hidden, audio_hidden
        Units of the hidden layers, from features to embedding (paper, Section 3.1).
    embedding_dim, classes, visual_dim, audio_dim
        Units of the embedding, the classifier's output and the two inputs.
    source
        A remark for the corner; a schematic shows no data, so there is none by default.
    """
    figure = PageFigure(figsize=(PAGE, _HEIGHT))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, PAGE), ylim=(0, _HEIGHT))
    axis.set_axis_off()
    write_source(figure, source)
    units = {
        "visual": (visual_dim, *visual_hidden, embedding_dim),
        "audio": (audio_dim, *audio_hidden, embedding_dim),
    }
    largest = max(max(branch) for branch in units.values())
    for modality, branch in units.items():
        _branch(axis, modality, branch, largest)
    _cosine_loss(axis, _TALLEST * (embedding_dim / largest) ** 0.5 / 2)
    _classifier(axis, classes)
    return figure


def _branch(axis: Axes, modality: str, units: Sequence[int], largest: int) -> None:
    colour, y = MODALITY_COLOUR[modality], _CENTRE[modality]
    step = (_EMBEDDING - _LEFT) / (len(units) - 1)
    width = min(_BLOCK, step * 0.7)
    right, half = 0.0, 0.0
    for number, size in enumerate(units):
        x = _LEFT + number * step
        above = half  # of the block before
        half = _TALLEST * (size / largest) ** 0.5 / 2
        if number:
            left = x - width / 2
            corners = [(right, y + above), (left, y + half), (left, y - half), (right, y - above)]
            axis.add_patch(Polygon(corners, facecolor=colour, alpha=0.13, linewidth=0))
        right = x + width / 2
        hidden = 0 < number < len(units) - 1
        _box(axis, x, y, width, 2 * half, colour, filled=not hidden)
        axis.text(
            x,
            y,
            f"{size:,}",
            ha="center",
            va="center",
            fontsize=SMALL,
            color=INK if hidden else "white",
            rotation=0 if width > 0.36 else 90,
            weight="normal" if hidden else "bold",
        )
    # Words stand on the outer side of each branch, away from the loss between them.
    side = 1 if modality == "visual" else -1
    edge = y + side * (_TALLEST / 2 + 0.1)
    if modality == "audio":
        edge = y - _TALLEST * (max(units) / largest) ** 0.5 / 2 - 0.1
    last = len(units) - 1
    words = {0: f"{modality}\nfeatures", last: "embedding"}
    for number, text in words.items():
        axis.text(
            _LEFT + number * step,
            edge,
            text,
            color=colour,
            ha="center",
            linespacing=1.05,
            va="bottom" if side > 0 else "top",
            fontsize=SMALL,
            weight="bold",
        )
    if last > 1:
        layers = "layer" if last == 2 else "layers"
        axis.text(
            _LEFT + last * step / 2,
            edge,
            f"{last - 1} fully connected {layers}, ReLU",
            ha="center",
            va="bottom" if side > 0 else "top",
            fontsize=SMALL,
            color=colour,
        )


def _cosine_loss(axis: Axes, half: float) -> None:
    """Draw the loss between the two embeddings, whose blocks reach ``half`` above and below."""
    for modality, tip in (("visual", _MIDDLE + 0.27), ("audio", _MIDDLE - 0.27)):
        side = -1 if modality == "visual" else 1
        _arrow(axis, (_EMBEDDING, _CENTRE[modality] + side * half), (_EMBEDDING, tip))
    _box(axis, _EMBEDDING, _MIDDLE, 1.6, 0.54, INK, face="#f4f4f4")
    axis.text(
        _EMBEDDING,
        _MIDDLE + 0.155,
        "cosine similarity loss",
        ha="center",
        va="center",
        fontsize=SMALL,
        weight="bold",
    )
    for y, pair, formula in (
        (_MIDDLE - 0.01, "same clip", "1 − cos"),
        (_MIDDLE - 0.155, "other clip", "max(0, cos − α)"),
    ):
        axis.text(_EMBEDDING - 0.74, y, pair, va="center", fontsize=SMALL, color=QUIET)
        axis.text(_EMBEDDING + 0.74, y, formula, ha="right", va="center", fontsize=SMALL)


def _classifier(axis: Axes, classes: int) -> None:
    x, width, height = 5.58, 1.16, 0.6
    for modality in ("visual", "audio"):
        side = 1 if modality == "visual" else -1
        start = (_EMBEDDING + _BLOCK / 2, _CENTRE[modality])
        colour = MODALITY_COLOUR[modality]
        axis.plot([start[0], x], [start[1], start[1]], color=colour, linewidth=1)
        _arrow(axis, (x, start[1]), (x, _MIDDLE + side * height / 2), colour)
    _box(axis, x, _MIDDLE, width, height, INK, face="#f4f4f4")
    for offset, text, weight in (
        (0.165, "shared classifier", "bold"),
        (0.0, "fully connected", "normal"),
        (-0.155, f"{classes:,} sigmoids", "normal"),
    ):
        axis.text(
            x, _MIDDLE + offset, text, ha="center", va="center", fontsize=SMALL, weight=weight
        )
    _arrow(axis, (x + width / 2, _MIDDLE), (6.38, _MIDDLE))
    axis.text(
        6.68, _MIDDLE, "cross\nentropy", ha="center", va="center", fontsize=SMALL, weight="bold"
    )
    axis.text(
        6.92,
        _CENTRE["audio"] - 0.42,
        "loss = cosine loss + λ · cross entropy",
        ha="right",
        va="center",
        fontsize=8,
    )


def _box(
    axis: Axes,
    x: float,
    y: float,
    width: float,
    height: float,
    colour: str,
    *,
    filled: bool = False,
    face: str = "white",
) -> None:
    axis.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.05",
            linewidth=1,
            edgecolor=colour,
            facecolor=colour if filled else face,
        )
    )


def _arrow(
    axis: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = INK
) -> None:
    axis.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=7,
            linewidth=1,
            color=colour,
            shrinkA=0,
            shrinkB=0,
        )
    )
