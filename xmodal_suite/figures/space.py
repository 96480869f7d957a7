"""The joint space: flattened to maps, as distances, and as cosines of a few clips."""

import numpy as np
import pandas as pd
from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike

from xmodal_suite.figures import style
from xmodal_suite.figures.style import INK, METHODS, MODALITIES, QUIET, Look

_COLOUR = {modality: look["color"] for modality, look in MODALITIES.items()}
_MARKER = {"visual": "^", "audio": "o"}
OTHER_COLOUR = "#cfcfcf"
_LABEL_COLOURS = "#00805c #b0508f #3f93c7 #9a8700 #8a5a34 #e07fc0 #222222 #d08300".split()  # no modality's


def umap(
    points: pd.DataFrame, distances: pd.DataFrame, labels: int = 8, linked: int = 15, seed: int = 0
) -> Figure:
    """Draw the map after training by label and by modality, and distances in the space itself.

    At most 8 of the most frequent ``labels`` are coloured, and named at the middle of their points
    or near it; ``seed`` draws the pairs that are ``linked``. ``points`` has a line for each point
    of a map: x, y, modality, label (a name or "other"), clip and map, of which "after training" is
    drawn; ``distances`` are those of each clip's video to its own sound, ``same clip``, and to that
    of another, ``random pair``.
    """
    frame = points[points["map"] == "after training"]
    nearer = (distances["same clip"] < distances["random pair"]).mean()
    title = f"For {nearer:.0%} of the clips, the video is nearer to its own sound than to another's"
    figure, axes = style.sheet(4.6, 2, 2, title, width_ratios=(1.5, 1), height_ratios=(1.25, 1))
    (by_label, by_pair), (below, histogram) = axes
    below.remove()
    by_label.set_subplotspec(axes[0, 0].get_gridspec()[:, 0])
    known = frame.loc[frame["label"] != "other", "label"].value_counts().index[:labels]
    colours = dict(zip(known, _LABEL_COLOURS, strict=False))
    _points(by_label, frame, frame["label"].map(colours).fillna(OTHER_COLOUR))
    _points(by_pair, frame, frame["modality"].map(_COLOUR), alpha=0.12)
    _links(by_pair, frame, linked, seed)
    by_label.set_title("UMAP, by label: ▲ video, ● audio")
    by_pair.set_title(f"{linked} pairs: ▲ video, ● audio")
    edges = np.linspace(0, distances.to_numpy().max(), 40)
    for name, colour in (("random pair", QUIET), ("same clip", METHODS["paper"])):
        look: Look = {"color": colour, "alpha": 0.5, "label": name, "edgecolor": "none"}
        histogram.hist(distances[name], edges, **look)
    histogram.set(title="distances in the space", xlabel="distance", ylabel="clips")
    histogram.legend()
    _name(by_label, frame, colours)
    return figure


def spaces(points: pd.DataFrame, title: str = "") -> Figure:
    """Draw the maps before and after training side by side, of ``points`` as `umap` takes them."""
    figure, axes = style.sheet(3.3, columns=2, title=title)
    for axis, state in zip(axes[0], ("before training", "after training"), strict=True):
        frame = points[points["map"] == state]
        axis.set_title(state)
        _points(axis, frame, frame["modality"].map(_COLOUR), alpha=0.35)
        for name, colour in _COLOUR.items():
            axis.plot([], [], _MARKER[name], color=colour, label=name.replace("visual", "video"))
    axes[0, 0].legend(loc="upper left")
    return figure


def similarity(paper: ArrayLike, recipe: ArrayLike, names: list[str]) -> Figure:
    """Draw the cosines of a few clips by two models, a row a sound and a column a video."""
    both = {"the paper's method": np.asarray(paper), "the recipe": np.asarray(recipe)}
    found = [(s.argmax(axis=1) == np.arange(len(s))).sum() for s in both.values()]
    title = (
        f"Of {len(names)} sounds, {found[0]} have their own video as the most similar by the "
        f"paper's method, {found[1]} by the recipe"
    )
    figure, axes = style.sheet(3.7, columns=2, title=title, sharey=True)
    scale: Look = {"vmin": min(s.min() for s in both.values()), "vmax": 1, "cmap": "Greys"}
    for axis, colour, (name, cosines) in zip(axes[0], ("paper", "recipe"), both.items(), strict=True):
        shades = axis.imshow(cosines, **scale)
        outline: Look = {"fill": False, "edgecolor": METHODS[colour], "linewidth": 1.8}
        for place in range(len(names)):
            axis.add_patch(Rectangle((place - 0.5, place - 0.5), 1, 1, **outline))
        axis.set(title=name, xlabel="videos, in the same order", xticks=[])
        axis.set_yticks(range(len(names)), [style.shorten(name, 20) for name in names])
        axis.tick_params(length=0)
    axes[0, 0].set_ylabel("sounds")
    figure.colorbar(shades, ax=list(axes[0]), label="cosine", shrink=0.8).outline.set_visible(False)
    return figure


def _name(axis: Axes, frame: pd.DataFrame, colours: dict[str, str]) -> None:
    """Write labels, with their colour, on the middle of their points, or near it."""
    seen = frame[frame["modality"] == frame["modality"].iloc[-1]]  # one cloud, should they part
    middles = seen.groupby("label")[["x", "y"]].median().reindex([*colours]).dropna()
    look: Look = {"weight": "bold", "ha": "center", "va": "center", "zorder": 5}
    look |= {"in_layout": False, "path_effects": [withStroke(linewidth=2.5, foreground="white")]}
    names = [
        axis.text(x, y, style.shorten(label, 20), color=colours[label], **look)
        for label, x, y in middles.itertuples()
    ]
    style.cover(names)  # before they are measured
    leader: Look = {"arrowstyle": "-", "color": INK, "linewidth": 0.7, "zorder": 4}
    apart: Look = {"avoid_self": False, "force_explode": 0, "force_pull": 0}
    adjust_text(names, ax=axis, arrowprops=leader, min_arrow_len=12, iter_lim=500, **apart)


def _points(axis: Axes, frame: pd.DataFrame, colours: pd.Series, alpha: float = 0.7) -> None:
    """Scatter both modalities as pixels, in parts of a random order: neither hides the other."""
    axis.set_aspect("equal", adjustable="datalim")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    look: Look = {"s": 7, "linewidths": 0, "alpha": alpha, "rasterized": True}
    named, part = colours != OTHER_COLOUR, np.random.default_rng(0).integers(40, size=len(frame))
    groups = frame.assign(colour=colours).groupby([part, "modality", named])
    for (_, modality, order), shown in groups:
        look |= {"c": shown["colour"], "marker": _MARKER[modality], "zorder": 1 + order}
        axis.scatter(shown["x"], shown["y"], **look)


def _links(axis: Axes, frame: pd.DataFrame, linked: int, seed: int) -> None:
    """Link the two embeddings of some clips."""
    pairs = frame.pivot(index="clip", columns="modality", values=["x", "y"]).dropna()
    chosen = pairs.iloc[np.random.default_rng(seed).permutation(len(pairs))[:linked]]
    ends = np.stack([chosen.xs(name, axis=1, level="modality") for name in _MARKER], axis=1)
    axis.add_collection(LineCollection(list(ends), colors=INK, linewidths=0.7, zorder=3))
    look: Look = {"s": 24, "linewidths": 0.5, "edgecolors": "white", "zorder": 4}
    for side, (modality, marker) in enumerate(_MARKER.items()):
        axis.scatter(*ends[:, side].T, color=_COLOUR[modality], marker=marker, **look)
