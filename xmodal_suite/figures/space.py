"""The joint space flattened to maps: both modalities of every clip, together and alone."""

import numpy as np
import pandas as pd
from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from xmodal_suite.figures import style
from xmodal_suite.figures.style import INK, MODALITIES, PALETTE, QUIET, Look

_COLOUR = {modality: look["color"] for modality, look in MODALITIES.items()}
_MARKER = {"visual": "^", "audio": "o"}
OTHER_COLOUR = "#cfcfcf"
_LABEL_COLOURS = [PALETTE[n] for n in (2, 4, 9, 8, 5, 6)] + [INK, PALETTE[1]]  # no modality's
_LETTERS = 20  # of a label, at most


def umap(points: pd.DataFrame, labels: int = 8, linked: int = 150, seed: int = 0) -> Figure:
    """Draw the map after training, coloured by label, and by modality with pairs linked.

    Labels are named at the middle of their points, or near it.

    Parameters
    ----------
    points : DataFrame
        One row for each point of a map: x, y, modality ("visual" or "audio"), label (a name or
        "other"), clip (its id) and map; only "after training" is drawn.
    labels : int
        How many of the most frequent labels are coloured, at most 8.
    linked : int
        How many pairs are linked in the second panel, chosen at random by ``seed``.
    """
    frame = points[points["map"] == "after training"]
    figure, axes = style.sheet(4.3, columns=2)
    by_label, by_pair = axes[0]
    colours = label_colours(frame, labels)
    _points(by_label, frame, frame["label"].map(colours).fillna(OTHER_COLOUR))
    _points(by_pair, frame, frame["modality"].map(_COLOUR), alpha=0.3)
    count = _links(by_pair, frame, linked, seed)
    by_label.set_title("a   coloured by label")
    by_pair.set_title(f"b   coloured by modality, {count:,} pairs linked")

    shapes = [_key(name, INK, marker) for name, marker in _MARKER.items()]
    pair = Line2D([], [], color=INK, linewidth=0.6, label="same clip")
    below: Look = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "ncols": 3}
    for axis, keys in ((by_label, shapes), (by_pair, [*_modality_keys(), pair])):
        axis.legend(handles=keys, handlelength=1.0, **below)
    style.legend(figure, 5, _label_keys(colours), loc="outside lower center", handlelength=1.0)
    _name(by_label, frame, list(colours))
    return figure


def spaces(points: pd.DataFrame, labels: int = 8) -> Figure:
    """Draw all maps side by side: of both modalities coloured by modality, of one by label.

    ``points`` and ``labels`` are as `umap` takes them.
    """
    maps = list(points.groupby("map", sort=False))
    figure, axes = style.sheet(2.4, columns=len(maps))
    colours = label_colours(points, labels)
    for mark, axis, (name, frame) in zip("abcdef", axes[0], maps, strict=False):
        axis.set_title(f"{mark}   {name}")
        if frame["modality"].nunique() > 1:
            _points(axis, frame, frame["modality"].map(_COLOUR), size=2)
        else:
            _points(axis, frame, frame["label"].map(colours).fillna(OTHER_COLOUR), size=2)
    keys = _modality_keys() + _label_keys(colours)
    style.legend(figure, 6, keys, loc="outside lower center", handlelength=1.0)
    return figure


def label_colours(frame: pd.DataFrame, labels: int) -> dict[str, str]:
    """Give each of the most frequent labels its colour."""
    known = frame.loc[frame["label"] != "other", "label"].value_counts().index[:labels]
    return dict(zip(known, _LABEL_COLOURS, strict=False))


def _name(axis: Axes, frame: pd.DataFrame, labels: list[str]) -> None:
    """Write labels on the middle of their points, or near it with a line to the middle."""
    seen = frame[frame["modality"] == frame["modality"].iloc[-1]]  # one cloud, should they part
    middles = seen.groupby("label")[["x", "y"]].median().reindex(labels).dropna()
    look: Look = {"weight": "bold", "ha": "center", "va": "center", "zorder": 5}
    look["path_effects"] = [withStroke(linewidth=2, foreground="white")]
    names = [
        axis.text(x, y, style.shorten(label, _LETTERS), in_layout=False, **look)
        for label, x, y in middles.itertuples()
    ]
    leader: Look = {"arrowstyle": "-", "color": INK, "linewidth": 0.7, "zorder": 4}
    apart: Look = {"avoid_self": False, "force_explode": 0, "force_pull": 0}
    adjust_text(names, ax=axis, arrowprops=leader, min_arrow_len=12, iter_lim=500, **apart)


def _points(
    axis: Axes, frame: pd.DataFrame, colours: pd.Series, alpha: float = 0.7, size: float = 5
) -> None:
    """Scatter both modalities, the unnamed below the named, as pixels: thousands weigh little.

    They are drawn in parts of a fixed random order, so that neither modality hides the other.
    """
    axis.set_aspect("equal", adjustable="datalim")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    look: Look = {"s": size, "linewidths": 0, "alpha": alpha, "rasterized": True}
    named, part = colours != OTHER_COLOUR, np.random.default_rng(0).integers(40, size=len(frame))
    groups = frame.assign(colour=colours).groupby([part, "modality", named])
    for (_, modality, order), shown in groups:
        look |= {"c": shown["colour"], "marker": _MARKER[modality], "zorder": 1 + order}
        axis.scatter(shown["x"], shown["y"], **look)


def _links(axis: Axes, frame: pd.DataFrame, linked: int, seed: int) -> int:
    """Link the two embeddings of some clips; return how many clips were linked."""
    pairs = frame.pivot(index="clip", columns="modality", values=["x", "y"]).dropna()
    chosen = pairs.iloc[np.random.default_rng(seed).permutation(len(pairs))[:linked]]
    ends = np.stack([chosen.xs(name, axis=1, level="modality") for name in _MARKER], axis=1)
    axis.add_collection(LineCollection(list(ends), colors=INK, linewidths=0.4, alpha=0.6, zorder=3))
    look: Look = {"s": 9, "linewidths": 0.3, "edgecolors": "white", "zorder": 4}
    for side, (modality, marker) in enumerate(_MARKER.items()):
        axis.scatter(*ends[:, side].T, color=_COLOUR[modality], marker=marker, **look)
    return len(ends)


def _modality_keys() -> list[Line2D]:
    """Return the legend of the modalities."""
    return [_key(name, _COLOUR[name], marker) for name, marker in _MARKER.items()]


def _label_keys(colours: dict[str, str]) -> list[Line2D]:
    """Return the legend of the labels."""
    keys = [_key(style.shorten(name, _LETTERS), colour) for name, colour in colours.items()]
    return [*keys, _key("other labels", OTHER_COLOUR)]


def _key(label: str, colour: str, marker: str = "s") -> Line2D:
    """Return a marker for a legend; a pale one has a darker edge."""
    edge = QUIET if colour == OTHER_COLOUR else colour
    look: Look = {"linestyle": "none", "markersize": 4.9, "markeredgewidth": 0.4}
    return Line2D([], [], marker=marker, color=colour, markeredgecolor=edge, label=label, **look)
