"""Paired features from anywhere, in one file: what a clip shows and what it sounds like, as arrays.

A clip may lack one modality: its row is then NaN. It can be searched for and found, but is part of
no pair, so of no split. Pairs that would make a split leak are dealt out together: those of one
group, and those with the same visual or the same audio features.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from xmodal.config import InputError
from xmodal.data.features import SPLITS, UNPAIRED, read_chunks, row_hashes

NAMES = ("visual", "audio", "ids", "labels", "group", "split", "encoder", "folder")


class Pairs(NamedTuple):
    """Clips as arrays, row by row; ``labels`` are a list of names for each clip.

    ``visual`` (n, V) and ``audio`` (n, A) are floats of any two lengths, a row all NaN where a clip
    lacks the modality; ``ids`` are n different texts, ``group`` n numbers or texts, such as the
    film that a clip is cut from. ``split`` names each clip's split, ``encoder`` what made the
    features and ``folder`` of which files, if that is given.
    """

    visual: np.ndarray
    audio: np.ndarray
    ids: np.ndarray
    labels: list[list[str]]
    group: np.ndarray
    split: np.ndarray | None = None
    encoder: str = ""
    folder: str = ""

    @property
    def label_names(self) -> list[str]:
        """The names of all labels, each once, in their order."""
        return sorted({name for names in self.labels for name in names})

    @property
    def complete(self) -> np.ndarray:
        """Which clips have both modalities: bool, (n,)."""
        return ~(np.isnan(self.visual[:, 0]) | np.isnan(self.audio[:, 0]))


def sparse_labels(labels: Sequence[list[str]], names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return labels as the places of their names, in sparse rows: starts, int64, places, int32."""
    place = {name: number for number, name in enumerate(names)}
    places = [place[name] for some in labels for name in some]
    return np.cumsum([0, *map(len, labels)]), np.array(places, np.int32)


def is_paired(path: Path) -> bool:
    """Tell whether a path names paired features, not a folder of shards."""
    return path.suffix in (".npz", ".parquet") or (path / "visual.npy").exists()


def read_pairs(path: Path | None, files: Mapping[str, Path] = {}) -> Pairs:
    """Read paired features: an ``.npz`` or Parquet file, or a folder of ``.npy`` files.

    ``files`` hold arrays by name, instead or in place of its own: as ``.npy``, or a text a line. It
    holds the arrays ``visual`` and ``audio`` and, if wanted, ``ids`` (else the rows' numbers),
    ``labels`` (texts, several in one joined by ``|``; in Parquet also lists), ``group``, ``split``,
    and the texts ``encoder`` and ``folder``. InputError if it cannot be read, the arrays do not
    fit each other, an id occurs twice, or a feature is infinite or in part NaN.
    """
    try:
        arrays = {} if path is None else _read(path)
        arrays |= {name: _array(file) for name, file in files.items()}
        encoder, folder = (str(np.ravel(arrays.pop(n, ""))[0]) for n in ("encoder", "folder"))
        for name in NAMES[:2]:
            if name not in arrays:
                raise ValueError(f"no array is called {name}; there are {', '.join(arrays)}")
        arrays = {name: arrays[name] for name in NAMES if name in arrays}
        visual, audio = (_features(name, arrays[name]) for name in NAMES[:2])
        clips = len(visual)
        for name, values in arrays.items():
            if values.shape[:1] != (clips,) or values.ndim > 1 + (name in NAMES[:2]):
                raise ValueError(f"{name} has the shape {values.shape} and visual {clips} rows")
        ids = np.array([str(clip) for clip in arrays.get("ids", range(clips))])
        for row in np.flatnonzero(pd.isna(arrays.get("ids", []))):
            raise ValueError(f"row {row} has no id")
        repeated = pd.Index(ids).duplicated()
        if repeated.any():
            raise ValueError(f"the id {str(ids[repeated.argmax()])!r} occurs twice")
        labels = [_names(some) for some in arrays.get("labels", [""] * clips)]
        group = np.asarray(arrays.get("group", np.arange(clips)))
        split = arrays["split"].astype(str) if "split" in arrays else None
    except Exception as error:  # numpy and Arrow raise some ten kinds for a damaged file
        told = path or " and ".join(map(str, files.values()))
        raise InputError(f"{told}: cannot be read as paired features: {error}.") from error
    return Pairs(visual, audio, ids, labels, group, split, encoder, folder)


def _array(file: Path) -> np.ndarray:
    """Return the array in an ``.npy`` file, or the lines of a text."""
    if file.suffix == ".npy":
        return np.load(file, mmap_mode="r")
    return np.array(file.read_text(encoding="utf-8").splitlines())


def _read(path: Path) -> dict[str, Any]:
    """Return the arrays that a file or folder holds."""
    if path.suffix == ".parquet":  # a number beside a missing one stays a whole number
        frame = pd.read_parquet(path, dtype_backend="numpy_nullable")
        columns = frame.items()
        found = {str(n): x.to_numpy(object if x.isna().any() else None) for n, x in columns}
    elif path.suffix == ".npz":
        with np.load(path) as stored:
            found = dict(stored)
    else:
        found = {file.stem: _array(file) for file in path.glob("*.npy")}
    return {n: x.astype(str) if x.dtype.kind == "S" else x for n, x in found.items()}


def _features(name: str, values: np.ndarray) -> np.ndarray:
    """Return features as floats, (clips, length); ValueError if they are anything else."""
    if values.dtype == object:  # of Parquet: a list a clip, or null
        length = max(len(row) for row in values if row is not None)
        nothing = np.full(length, np.nan, np.float32)
        values = np.stack([nothing if row is None else np.asarray(row) for row in values])
    if values.ndim != 2 or 0 in values.shape or values.dtype.kind not in "fiu":
        raise ValueError(f"{name} is an array {values.shape} of {values.dtype}")
    chunks = (chunk for (chunk,) in read_chunks(values))
    bad = [~np.isfinite(chunk).all(axis=1) & ~np.isnan(chunk).all(axis=1) for chunk in chunks]
    for row in np.flatnonzero(np.concatenate(bad)):
        raise ValueError(f"row {row} of {name} is not finite")
    return values


def _names(given: Any) -> list[str]:
    """Return the labels of a clip, given as a text or as a list of texts."""
    names: Iterable[Any] = given.split("|") if isinstance(given, str) else np.atleast_1d(given)
    return sorted({str(name).strip() for name in names if not pd.isna(name)} - {""})


def deal_out(pairs: Pairs, sizes: dict[str, int], seed: int) -> dict[str, np.ndarray]:
    """Return the rows of each split, ascending, and of the clips that are part of no pair.

    Linked clips are dealt out together, in random order, to the first of ``sizes`` with room for
    all of them, or else to "train": a split may be smaller than asked for. Splits that are given
    are kept: ValueError if linked clips are in two of them, or there is no such split.
    """
    left, owner = dict(sizes), np.full(len(pairs.ids), UNPAIRED, object)
    lots = linked(pairs)
    for number in np.random.default_rng(seed).permutation(len(lots)):
        rows = lots[number]
        name = next((name for name, room in left.items() if room >= len(rows)), "train")
        if pairs.split is not None:
            name, *others = np.unique(pairs.split[rows]).tolist()
            if others or name not in SPLITS:
                raise ValueError(
                    f"{', '.join(pairs.ids[rows[:9]])} (one group, or equal features) must be in "
                    f"one of {', '.join(SPLITS)}, and are in {', '.join([name, *others])}"
                )
        owner[rows] = name
        if name in left:
            left[name] -= len(rows)
    return {name: np.flatnonzero(owner == name) for name in (*SPLITS, UNPAIRED)}


def linked(pairs: Pairs) -> list[np.ndarray]:
    """Return the rows of the pairs that share a group or features, an array for each such lot."""
    complete = np.flatnonzero(pairs.complete)
    own = np.arange(len(complete))
    keys = [pairs.group[complete], *(row_hashes(values[complete]) for values in pairs[:2])]
    grouped = [pd.Series(own).groupby(key, sort=False) for key in keys]
    first = [some.transform("min").fillna(pd.Series(own)) for some in grouped]  # no group: its own
    edges = np.tile(own, len(keys)), np.concatenate(first).astype(int)
    graph = coo_array((np.ones(len(edges[0]), bool), edges), (len(own), len(own)))
    lots = connected_components(graph, directed=False)[1]
    rows = complete[np.argsort(lots, kind="stable")]
    return np.split(rows, np.cumsum(np.bincount(lots))[:-1]) if len(rows) else []
