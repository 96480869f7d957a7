"""Paired features from anywhere, in one file: what a clip shows and what it sounds like, as arrays.

A clip may lack one modality: its row is then NaN. It can be searched for and found, but is part of
no pair, so of no split. What must not be on both sides of a split is dealt out together: clips of
one group, and clips with the same visual or the same audio features.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from xmodal.config import InputError
from xmodal.data.features import CHUNK, UNPAIRED, row_hashes

SUFFIXES = (".npz", ".parquet")
NAMES = ("visual", "audio", "ids", "labels", "group", "split")


class Pairs(NamedTuple):
    """Clips as arrays, row by row; ``labels`` are a list of names for each clip.

    ``visual`` (n, V) and ``audio`` (n, A) are floats of any two lengths, a row all NaN where a clip
    lacks the modality; ``ids`` are n different texts, ``group`` n numbers or texts, such as the
    film that a clip is cut from. ``split`` is the name of each clip's split, if that is given.
    """

    visual: np.ndarray
    audio: np.ndarray
    ids: np.ndarray
    labels: list[list[str]]
    group: np.ndarray
    split: np.ndarray | None = None

    @property
    def label_names(self) -> list[str]:
        """The names of all labels, each once, in their order."""
        return sorted({name for names in self.labels for name in names})

    @property
    def whole(self) -> np.ndarray:
        """Which clips have both modalities: bool, (n,)."""
        return ~(np.isnan(self.visual[:, 0]) | np.isnan(self.audio[:, 0]))


def numbered(labels: Sequence[list[str]], names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return labels as the places of their names, in sparse rows: starts, int64, places, int32."""
    place = {name: number for number, name in enumerate(names)}
    places = [place[name] for some in labels for name in some]
    return np.cumsum([0, *map(len, labels)]), np.array(places, np.int32)


def is_paired(path: Path) -> bool:
    """Tell whether a path names paired features, not a folder of shards."""
    return path.suffix in SUFFIXES or (path / "visual.npy").exists()


def read_pairs(path: Path) -> Pairs:
    """Read paired features: an ``.npz`` or Parquet file, or a folder of ``.npy`` files.

    It holds the arrays ``visual`` and ``audio`` and, if wanted, ``ids``, ``labels`` (texts, several
    in one joined by ``|``; in Parquet also lists), ``group`` and ``split``. Without ids a clip is
    called by its row. InputError if it cannot be read, the arrays do not fit each other or hold
    something else, an id occurs twice, or a feature is infinite or in part NaN.
    """
    try:
        arrays = _read(path)
    except Exception as error:  # numpy and Arrow raise some ten kinds for a damaged file
        raise InputError(f"{path}: cannot be read as paired features ({error}).") from error
    missing = [name for name in NAMES[:2] if name not in arrays]
    if missing:
        raise InputError(
            f"{path}: there is no array {' or '.join(missing)} (found: {', '.join(arrays)}); "
            "give visual and audio features, a row a clip."
        )
    visual, audio = (_features(path, name, arrays[name]) for name in NAMES[:2])
    clips = len(visual)
    for name, values in arrays.items():
        rows = len(values) if values.ndim else "no"
        if rows != clips:
            raise InputError(
                f"{path}: {name} has {rows} rows and visual {clips}; give a row a clip."
            )
        if name not in NAMES[:2] and not _is_plain(values, lists=name == "labels"):
            raise InputError(f"{path}: {name} must be texts or numbers, one a clip; save them so.")
    ids = np.array([str(clip) for clip in arrays.get("ids", range(clips))])
    repeated = pd.Index(ids).duplicated()
    if repeated.any():
        raise InputError(
            f"{path}: the id {str(ids[repeated.argmax()])!r} occurs twice; clips must differ."
        )
    labels = [_names(some) for some in arrays.get("labels", [""] * clips)]
    group, split = np.asarray(arrays.get("group", np.arange(clips))), arrays.get("split")
    return Pairs(
        visual, audio, ids, labels, group, None if split is None else np.asarray(split).astype(str)
    )


def _read(path: Path) -> dict[str, Any]:
    """Return the arrays that a file or folder holds, of those that have a meaning here."""
    if path.suffix == ".parquet":
        frame = pd.read_parquet(path)
        found = {name: frame[name].to_numpy() for name in NAMES if name in frame}
    elif path.suffix == ".npz":
        with np.load(path) as stored:
            found = {name: stored[name] for name in NAMES if name in stored}
    else:
        files = {name: path / f"{name}.npy" for name in NAMES}
        found = {n: np.load(file, mmap_mode="r") for n, file in files.items() if file.exists()}
    for name, values in found.items():
        if values.dtype.kind == "S":
            found[name] = values = values.astype(str)
        if values.dtype.kind == "U":
            "".join(values.ravel()).encode()  # or it fails where it is first written
    return found


def _is_plain(values: np.ndarray, lists: bool) -> bool:
    """Tell whether values are texts, numbers or dates, one a row; or lists of them, if allowed."""
    if values.dtype.kind != "O":
        return values.ndim == 1 and values.dtype.kind in "biufUM"
    rows = (row if lists and isinstance(row, np.ndarray | list) else [row] for row in values)
    parts = [part for row in rows for part in row]
    return all(pd.api.types.is_scalar(part) and not isinstance(part, bytes) for part in parts)


def _features(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    """Return features as floats, (clips, length); InputError if they are anything else."""
    if values.dtype == object:  # of Parquet: a list a clip, or null
        shapes = {np.shape(row) for row in values if row is not None}
        if len(shapes) == 1:
            nothing = np.full(shapes.pop(), np.nan, np.float32)
            values = np.stack([nothing if row is None else np.asarray(row) for row in values])
    if values.ndim != 2 or 0 in values.shape or values.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: {name} is an array {values.shape} of {values.dtype}; give numbers, a row a "
            "clip and all rows of one length."
        )
    for start in range(0, len(values), CHUNK):
        chunk = np.asarray(values[start : start + CHUNK], np.float64)
        bad = ~np.isfinite(chunk).all(axis=1) & ~np.isnan(chunk).all(axis=1)
        if bad.any():
            raise InputError(
                f"{path}: row {start + bad.argmax()} of {name} is not finite; remove the clip, or "
                "make the whole row NaN if it lacks the modality."
            )
    return values


def _names(given: Any) -> list[str]:
    """Return the labels of a clip, given as a text or as a list of texts."""
    names: Iterable[Any] = given.split("|") if isinstance(given, str) else np.atleast_1d(given)
    return sorted({str(name).strip() for name in names if not pd.isna(name)} - {""})


def deal_out(pairs: Pairs, sizes: dict[str, int], seed: int) -> dict[str, np.ndarray]:
    """Return the rows of each split, ascending, and of the clips that are part of no pair.

    Clips that belong together are dealt out together, in random order, to the first of ``sizes``
    that has room for all of them, and else to "train". So a split may stay somewhat smaller than
    asked for. Where splits are given, they are taken as they are: ValueError if clips that belong
    together are in two of them, or there is no such split.
    """
    left = dict(sizes)
    dealt: dict[str, list[np.ndarray]] = {name: [] for name in [*sizes, "train"]}
    members = together(pairs)
    for one in np.random.default_rng(seed).permutation(len(members)):
        rows = members[one]
        name = next((name for name, room in left.items() if room >= len(rows)), "train")
        if pairs.split is not None:
            name, *others = first = dict(zip(pairs.split[rows], rows, strict=True))
            if others:
                clips = " and ".join(f"{pairs.ids[first[n]]} ({n})" for n in (name, others[0]))
                raise ValueError(f"{clips} belong together, by group or by equal features")
            if name not in dealt:
                raise ValueError(f"there is no split {name!r}, only {', '.join(dealt)}")
        if name in left:
            left[name] -= len(rows)
        dealt[name].append(rows)
    none = [np.zeros(0, np.int64)]
    found = {name: np.sort(np.concatenate(none + rows)) for name, rows in dealt.items()}
    return found | {UNPAIRED: np.flatnonzero(~pairs.whole)}


def together(pairs: Pairs) -> list[np.ndarray]:
    """Return the rows of the pairs that belong together, an array for each lot of them."""
    whole = np.flatnonzero(pairs.whole)
    keys = [pd.factorize(pairs.group[whole])[0]]
    keys += [pd.factorize(row_hashes(values[whole]))[0] for values in pairs[:2]]
    clips, nodes, first = np.arange(len(whole)), [], len(whole)
    for key in keys:  # a node for each clip, and one for each thing that clips may share
        key = np.where(key < 0, key.max() + 1 + clips, key)  # no group is one's own
        nodes.append(first + key)
        first += int(key.max(initial=-1)) + 1
    edges = (np.tile(clips, len(keys)), np.concatenate(nodes))
    graph = coo_array((np.ones(len(edges[0]), bool), edges), (first, first))
    lots = connected_components(graph, directed=False)[1][: len(whole)]
    rows = whole[np.argsort(lots, kind="stable")]
    return np.split(rows, np.cumsum(np.bincount(lots))[:-1]) if len(rows) else []
