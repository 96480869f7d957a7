"""Boxes and arrows on a page measured in inches: what the drawings without axes share."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from xmodal_suite.figures.style import INK, PAGE, Look, PageFigure

Point = tuple[float, float]


def page(height: float) -> tuple[Figure, Axes]:
    """Return a figure of page width and its only axes, which cover it in inches."""
    figure = PageFigure(figsize=(PAGE, height))
    axis = figure.add_axes((0, 0, 1, 1), xlim=(0, PAGE), ylim=(0, height))
    axis.set_axis_off()
    return figure, axis


def box(axis: Axes, corner: Point, width: float, height: float, colour: str, face: str) -> None:
    """Draw a box with rounded corners, its lower left at ``corner``."""
    look: Look = {"boxstyle": "round,pad=0,rounding_size=0.05", "linewidth": 1}
    look |= {"edgecolor": colour, "facecolor": face}
    axis.add_patch(FancyBboxPatch(corner, width, height, **look))


def arrow(axis: Axes, start: Point, end: Point, colour: str = INK) -> None:
    """Draw a straight arrow from ``start`` to ``end``."""
    look: Look = {"arrowstyle": "-|>", "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
    axis.add_patch(FancyArrowPatch(start, end, mutation_scale=7, color=colour, **look))
