"""The joint space flattened to a map: both modalities of every clip, and the pairs."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from xmodal.plots.style import (
    INK,
    MODALITY_COLOUR,
    MODALITY_MARKER,
    PALETTE,
    QUIET,
    SMALL,
    columns_of,
    drawn_in_house_style,
    legend_outside,
    letter,
    sheet,
    shorten,
)

OTHER = "other"
_OTHER_COLOUR = "#cfcfcf"
_LABEL_COLOURS = [PALETTE[n] for n in (0, 1, 2, 3, 4, 5, 9, 8)]


@drawn_in_house_style
def umap(
    frame: pd.DataFrame, source: str, labels: int = 8, linked: int = 150, seed: int = 0
) -> Figure:
    """Draw the map of the embeddings, coloured by label, and by modality with pairs linked.

    Each label also has a number, written on the middle of its points, so that the picture reads
    without colour. How many labels are named and pairs linked is our choice.

    Parameters
    ----------
    frame
        One row for each embedding: x, y, modality ("visual" or "audio"), label (a name or "other")
        and clip (its id).
    labels
        How many of the most frequent labels are coloured, at most 8.
    linked
        How many pairs are linked in the second panel, drawn at random with ``seed``.

    Raises
    ------
    InputError
        When a column is missing or there are no rows.
    """
    columns_of(frame, ["x", "y", "modality", "label", "clip"], "map")
    known = frame.loc[frame["label"] != OTHER, "label"]
    frequent = list(known.value_counts().index[: min(labels, len(_LABEL_COLOURS))])
    figure, axes = sheet(4.3, source, columns=2)
    by_label, by_pair = axes[0]
    for axis in (by_label, by_pair):
        axis.set_aspect("equal", adjustable="datalim")
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)

    colours = dict(zip(frequent, _LABEL_COLOURS, strict=False))
    _points(by_label, frame, frame["label"].map(colours).fillna(_OTHER_COLOUR))
    seen = frame[frame["modality"] == frame["modality"].iloc[-1]]  # one cloud, should they part
    middles = seen.groupby("label")[["x", "y"]].median().reindex(frequent).dropna().to_numpy()
    for number, (x, y) in enumerate(_spread(middles, _gap(frame)), start=1):
        by_label.text(
            x,
            y,
            str(number),
            fontsize=9,
            weight="bold",
            ha="center",
            va="center",
            zorder=5,
            path_effects=[withStroke(linewidth=2.2, foreground="white")],
        )

    _points(by_pair, frame, frame["modality"].map(MODALITY_COLOUR), alpha=0.3)
    count = _links(by_pair, frame, linked, seed)

    letter(axes, ["coloured by label", f"coloured by modality, {count:,} pairs linked"])
    labels_shown = [
        _key(f"{number}  {shorten(label, 24)}", "s", colours[label])
        for number, label in enumerate(frequent, start=1)
    ]
    labels_shown.append(_key("other labels", "s", _OTHER_COLOUR))
    shapes = [_key(name, marker, INK) for name, marker in MODALITY_MARKER.items()]
    colours_too = [_key(n, marker, MODALITY_COLOUR[n]) for n, marker in MODALITY_MARKER.items()]
    colours_too.append(Line2D([], [], color=INK, linewidth=0.6, label="same clip"))
    for axis, keys in ((by_label, shapes), (by_pair, colours_too)):
        axis.legend(
            handles=keys, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=3, handlelength=1.0
        )
    legend_outside(figure, labels_shown, "outside lower center", 4, handlelength=1.0)
    return figure


def _gap(frame: pd.DataFrame) -> float:
    """Return the room a number on the map needs, in the map's units (our choice: an 18th of it)."""
    return float(np.ptp(frame[["x", "y"]].to_numpy(float), axis=0).max() / 18)


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
    for modality, marker in MODALITY_MARKER.items():
        chosen = (frame["modality"] == modality).to_numpy()
        plain = (colours == _OTHER_COLOUR).to_numpy()
        for rows, order in ((chosen & plain, 1), (chosen & ~plain, 2)):
            axis.scatter(
                frame["x"][rows],
                frame["y"][rows],
                c=colours[rows],
                marker=marker,
                s=5,
                linewidths=0,
                alpha=alpha,
                zorder=order,
                rasterized=True,
            )


def _links(axis: Axes, frame: pd.DataFrame, linked: int, seed: int) -> int:
    """Link the two embeddings of some clips; return how many clips were linked."""
    sides = [
        frame[frame["modality"] == name].drop_duplicates("clip").set_index("clip")[["x", "y"]]
        for name in ("visual", "audio")
    ]
    pairs = sides[0].join(sides[1], lsuffix="_visual", rsuffix="_audio", how="inner").sort_index()
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:linked]
    ends = pairs.to_numpy(float)[chosen].reshape(-1, 2, 2)
    axis.add_collection(LineCollection(list(ends), colors=INK, linewidths=0.4, alpha=0.6, zorder=3))
    for side, modality in enumerate(("visual", "audio")):
        axis.scatter(
            ends[:, side, 0],
            ends[:, side, 1],
            color=MODALITY_COLOUR[modality],
            s=9,
            marker=MODALITY_MARKER[modality],
            linewidths=0.3,
            edgecolors="white",
            zorder=4,
        )
    return len(ends)


def _key(label: str, marker: str, colour: str) -> Line2D:
    edge = QUIET if colour == _OTHER_COLOUR else colour
    return Line2D(
        [],
        [],
        linestyle="none",
        marker=marker,
        markersize=SMALL * 0.7,
        color=colour,
        markeredgecolor=edge,
        markeredgewidth=0.4,
        label=label,
    )
