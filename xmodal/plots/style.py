"""The house style: page widths, type, colours, and what every figure has in common."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from io import BytesIO
from typing import Any, Literal, ParamSpec

import matplotlib.style
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator

from xmodal.config import InputError

PAGE = 7.0  # inches: the text width of a two-column page
SMALL = 7.0  # points: nothing is set smaller
INK, QUIET = "#222222", "#6f6f6f"

# Safe for the common colour-blindnesses, and never the only difference: a marker or a dash helps.
PALETTE: list[str] = sns.color_palette("colorblind").as_hex()
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
MODALITY_COLOUR = {"visual": PALETTE[0], "audio": PALETTE[3]}
MODALITY_MARKER = {"visual": "^", "audio": "o"}

_HOUSE: dict[str, Any] = {
    **sns.axes_style("ticks"),
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib, so a figure is the same anywhere
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.7,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 1.6,
    "ytick.minor.size": 1.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "figure.dpi": 96,
}

P = ParamSpec("P")


class PageFigure(Figure):
    """A matplotlib figure that keeps the house style, and that a notebook shows by itself."""

    def draw(self, renderer: RendererBase) -> None:
        """Draw with the house style: ticks made only now would else take the default's size."""
        with matplotlib.style.context(_HOUSE):
            super().draw(renderer)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width, height = (round(96 * inches) for inches in self.get_size_inches())
        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi=2 * 96)  # two pixels to each of the screen's
        return buffer.getvalue(), {"width": width, "height": height}


def house_style() -> AbstractContextManager[None]:
    """Matplotlib's own defaults with the house style on top, for the duration of a ``with``."""
    return matplotlib.style.context(_HOUSE, after_reset=True)


def drawn_in_house_style(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Wrap a drawing function: its figure is made in the house style, and its layout then fixed.

    The fixed layout makes every later saving of the figure the same, however often it is drawn.
    """

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with house_style():
            figure = draw(*args, **kwargs)
            for _ in range(2):  # the first pass settles the ticks, the second makes room for them
                figure.draw_without_rendering()
            figure.set_layout_engine("none")
        return figure

    return drawn


def sheet(
    height: float, source: str, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, np.ndarray]:
    """Return an empty figure of page width, its panels (rows, columns), the source in the corner.

    ``height`` is in inches; ``options`` go to ``Figure.subplots``.
    """
    figure = PageFigure(figsize=(PAGE, height))
    strip = write_source(figure, source) / height
    figure.set_layout_engine(
        ConstrainedLayoutEngine(rect=(0, strip, 1, 1 - strip), w_pad=0.06, h_pad=0.05)
    )
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def write_source(figure: Figure, source: str) -> float:
    """Write the source of the data into the lower right corner; return the height used, inches."""
    if not source:
        return 0.0
    figure.text(
        1 - 0.04 / figure.get_figwidth(),
        0.04 / figure.get_figheight(),
        source,
        fontsize=SMALL,
        color=QUIET,
        style="italic",
        ha="right",
        va="bottom",
        parse_math=False,
    )
    return 0.15


def legend_outside(
    figure: Figure,
    handles: Sequence[Artist],
    place: Literal["outside upper center", "outside lower center"],
    columns: int,
    **options: Any,
) -> None:
    """Put a legend above or below all panels, its words taken as they are."""
    legend = figure.legend(
        handles=handles, loc=place, ncols=min(columns, len(handles)), columnspacing=1.4, **options
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def letter(axes: np.ndarray, titles: Sequence[str]) -> None:
    """Set the titles of the panels, lettered a, b, c, ..."""
    for axis, mark, title in zip(axes.flat, "abcdefghij", titles, strict=False):
        axis.set_title(f"{mark}   {title}", parse_math=False)


def plain_ticks(axis: Axes, which: str = "xy") -> None:
    """Write ticks as plain numbers (1,000) rather than powers; minor ticks stay unnamed."""
    for name in which:
        side = axis.xaxis if name == "x" else axis.yaxis
        side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
        side.set_minor_formatter(lambda *_: "")


def log_ticks(axis: Axes, which: str = "xy") -> None:
    """Name 1, 2 and 5 of each decade in plain numbers, or the decades alone when there are many.

    Call it when the limits of the axes are settled.
    """
    for name in which:
        side = axis.xaxis if name == "x" else axis.yaxis
        low, high = side.get_view_interval()
        side.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,)))
    plain_ticks(axis, which)


def shorten(text: str, length: int) -> str:
    """Cut ``text`` to at most ``length`` characters, an ellipsis in place of what is left out."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def columns_of(frame: pd.DataFrame, needed: Sequence[str], what: str) -> pd.DataFrame:
    """Return ``frame`` when it has rows and every column ``needed``.

    Raises
    ------
    InputError
        When a column is missing, or there is nothing to draw.
    """
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise InputError(
            f"the {what} frame lacks the column(s) {', '.join(missing)}; it has "
            f"{', '.join(map(str, frame.columns)) or 'none'}: rename or add them."
        )
    if frame.empty:
        raise InputError(f"the {what} frame has no rows: there is nothing to draw.")
    return frame


def numbers_of(values: Any, what: str) -> np.ndarray:
    """Return ``values`` as a float array (n,).

    Raises
    ------
    InputError
        When it is empty, has more than one axis, or holds a value that is not finite.
    """
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise InputError(
            f"{what} must be a list of finite numbers, got an array of shape {array.shape}"
            f" with {int((~np.isfinite(array)).sum())} values that are not finite: check the input."
        )
    return array
