"""The joint space flattened to a map: both modalities of every clip, and the pairs."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from xmodal.plots import style
from xmodal.plots.style import INK, MODALITIES, PALETTE, QUIET, Look

_COLOUR = {modality: look["color"] for modality, look in MODALITIES.items()}
_MARKER = {"visual": "^", "audio": "o"}
_OTHER_COLOUR = "#cfcfcf"
_LABEL_COLOURS = [PALETTE[n] for n in (0, 1, 2, 3, 4, 5, 9, 8)]


@style.figure(frame=["x", "y", "modality", "label", "clip"])
def umap(
    frame: pd.DataFrame, source: str, labels: int = 8, linked: int = 150, seed: int = 0
) -> Figure:
    """Draw the map of the embeddings, coloured by label, and by modality with pairs linked.

    Each label also has a number, written on the middle of its points, so that the picture reads
    without colour.

    Parameters
    ----------
    frame : DataFrame
        One row for each embedding: x, y, modality ("visual" or "audio"), label (a name or "other")
        and clip (its id).
    labels : int
        How many of the most frequent labels are coloured, at most 8.
    linked : int
        How many pairs are linked in the second panel, chosen at random by ``seed``.
    """
    known = frame.loc[frame["label"] != "other", "label"]
    frequent = list(known.value_counts().index[: min(labels, len(_LABEL_COLOURS))])
    figure, axes = style.sheet(4.3, source, columns=2)
    by_label, by_pair = axes[0]
    for axis in axes[0]:
        axis.set_aspect("equal", adjustable="datalim")
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)

    colours = dict(zip(frequent, _LABEL_COLOURS, strict=False))
    _points(by_label, frame, frame["label"].map(colours).fillna(_OTHER_COLOUR))
    seen = frame[frame["modality"] == frame["modality"].iloc[-1]]  # one cloud, should they part
    middles = seen.groupby("label")[["x", "y"]].median().reindex(frequent).dropna().to_numpy()
    room = float(np.ptp(frame[["x", "y"]].to_numpy(float), axis=0).max() / 18)  # of a number
    bold: Look = {"fontsize": 9, "weight": "bold", "ha": "center", "va": "center"}
    outline = [withStroke(linewidth=2.2, foreground="white")]
    for number, (x, y) in enumerate(_spread(middles, room), start=1):
        by_label.text(x, y, str(number), zorder=5, path_effects=outline, **bold)

    _points(by_pair, frame, frame["modality"].map(_COLOUR), alpha=0.3)
    count = _links(by_pair, frame, linked, seed)

    style.letter(axes, ["coloured by label", f"coloured by modality, {count:,} pairs linked"])
    shapes = [_key(name, INK, marker) for name, marker in _MARKER.items()]
    both = [_key(name, _COLOUR[name], marker) for name, marker in _MARKER.items()]
    both.append(Line2D([], [], color=INK, linewidth=0.6, label="same clip"))
    below: Look = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "ncols": 3}
    for axis, keys in ((by_label, shapes), (by_pair, both)):
        axis.legend(handles=keys, handlelength=1.0, **below)
    named = [f"{number}  {style.shorten(name, 24)}" for number, name in enumerate(frequent, 1)]
    keys = [_key(name, colour) for name, colour in zip(named, colours.values(), strict=True)]
    keys.append(_key("other labels", _OTHER_COLOUR))
    style.legend(figure, 4, keys, "outside lower center", handlelength=1.0)
    return figure


def _spread(points: np.ndarray, gap: float) -> list[np.ndarray]:
    """Return points (n, 2) moved by the least that keeps each ``gap`` away from those before it."""
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ring = np.column_stack([np.cos(angles), np.sin(angles)])
    placed: list[np.ndarray] = []
    for point in points:
        radii = np.arange(len(points) + 1)[:, None, None] * gap / 2
        for place in (point + radii * ring).reshape(-1, 2):
            if all(np.linalg.norm(place - other) >= gap for other in placed):
                break
        placed.append(place)
    return placed


def _points(axis: Axes, frame: pd.DataFrame, colours: pd.Series, alpha: float = 0.7) -> None:
    """Scatter both modalities, the unnamed below the named, as pixels: thousands weigh little."""
    look: Look = {"s": 5, "linewidths": 0, "alpha": alpha, "rasterized": True}
    named = colours != _OTHER_COLOUR
    for modality, marker in _MARKER.items():
        chosen = frame["modality"] == modality
        for order, rows in enumerate((chosen & ~named, chosen & named), start=1):
            x, y = frame["x"][rows], frame["y"][rows]
            axis.scatter(x, y, c=colours[rows], marker=marker, zorder=order, **look)


def _links(axis: Axes, frame: pd.DataFrame, linked: int, seed: int) -> int:
    """Link the two embeddings of some clips; return how many clips were linked."""
    visual, audio = (
        frame[frame["modality"] == name].drop_duplicates("clip").set_index("clip")[["x", "y"]]
        for name in ("visual", "audio")
    )
    pairs = visual.join(audio, lsuffix="_visual", rsuffix="_audio", how="inner").sort_index()
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:linked]
    ends = pairs.to_numpy(float)[chosen].reshape(-1, 2, 2)
    axis.add_collection(LineCollection(list(ends), colors=INK, linewidths=0.4, alpha=0.6, zorder=3))
    look: Look = {"s": 9, "linewidths": 0.3, "edgecolors": "white", "zorder": 4}
    for side, (modality, marker) in enumerate(_MARKER.items()):
        colour = _COLOUR[modality]
        axis.scatter(*ends[:, side].T, color=colour, marker=marker, **look)
    return len(ends)


def _key(label: str, colour: str, marker: str = "s") -> Line2D:
    """Return a marker for a legend; a pale one has a darker edge."""
    edge = QUIET if colour == _OTHER_COLOUR else colour
    look: Look = {"linestyle": "none", "markersize": style.SMALL * 0.7, "markeredgewidth": 0.4}
    return Line2D([], [], marker=marker, color=colour, markeredgecolor=edge, label=label, **look)
