"""Feature sets: one split of clips as arrays that open in an instant.

A prepared folder holds ``manifest.json``, ``label_names.json``, and for each split its `ARRAYS`.
Layout, split and fingerprint are our choice; the paper says only that 6,000 clips were evaluated.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from mmap import MADV_DONTNEED, mmap
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from scipy import sparse

from xmodal.config import InputError
from xmodal.data.schema import AUDIO_DIM, VISUAL_DIM
from xmodal.files import read_json

SPLITS = ("train", "validation", "evaluation")
UNPAIRED = "unpaired"
"""A fourth split of paired features: clips without one modality, of which the row is NaN."""
ARRAYS = ("visual", "audio", "ids", "label_indptr", "label_indices")
"""The files of a split, less their suffix ``.npy``."""
FORMAT = "xmodal features 2"
"""What the manifest of a feature set says it is; the number changes with the layout."""
CHUNK = 8192
"""Rows of features in memory at once where all of them are read."""


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """One split of a feature set; the features are mapped from disk, read-only.

    Attributes
    ----------
    visual, audio
        float32 or float16, shapes (n, 1024) and (n, 128) for YouTube-8M; row i belongs to clip i.
    ids
        Unicode text, shape (n,).
    labels, label_names
        Which clip carries which label, sparse, float32, shape (n, classes), ones; and their names.
    fingerprint
        SHA-256 of the contents.
    source, split, encoder
        What the data is called, which split of it this is, and what embedded own media, if known.
    """

    visual: np.ndarray
    audio: np.ndarray
    ids: np.ndarray
    labels: sparse.csr_array
    label_names: list[str]
    fingerprint: str
    source: str
    split: str
    encoder: str = ""

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def silent(self) -> np.ndarray:
        """Which clips are silent: another clip of the split has the same audio, bit for bit.

        bool, shape (n,). Our choice: the audio vectors that repeat in YouTube-8M are all that of
        silence, and no ranking can tell the clips apart that share it.
        """
        return pd.Index(row_hashes(self.audio)).duplicated(keep=False)

    def labels_of(self, row: int) -> list[str]:
        """Return the label names of one clip."""
        return [self.label_names[index] for index in self.labels[[row]].indices]

    def take(self, rows: np.ndarray) -> "FeatureSet":
        """Return the same split with only these rows (int64, in this order), read into memory."""
        visual, audio = read_rows(self.visual, rows), read_rows(self.audio, rows)
        ids, labels = self.ids[rows], self.labels[rows]
        return replace(self, visual=visual, audio=audio, ids=ids, labels=labels)


def open_features(folder: str | os.PathLike[str], split: str) -> FeatureSet:
    """Open a split of the folder that `prepare` made; features are read when they are used.

    ``split`` is "train", "validation" or "evaluation"; or "unpaired", see `pairs.Pairs`. InputError
    if there is no such split, or the folder holds no feature set, or a damaged one.
    """
    return open_splits(folder, split)[0]


def open_splits(folder: str | os.PathLike[str], *splits: str) -> list[FeatureSet]:
    """Open several splits as `open_features` does, surely of one feature set.

    What is open stays as it was, even if another set takes its place in the folder.
    """
    folder = Path(folder)
    for split in splits:
        if split not in (*SPLITS, UNPAIRED):
            raise InputError(f"{split!r} is no split; choose one of {', '.join(SPLITS)}.")
    manifest = read_manifest(folder)
    if manifest.get("format") != FORMAT:
        raise InputError(f"{folder}: holds no feature set; run `xmodal prepare` first.")
    opened = []
    for split in splits:
        try:
            label_names = json.loads((folder / "label_names.json").read_text(encoding="utf-8"))
            arrays = map_clips(folder / split, len(label_names))
            found = [*(values.shape[1] for values in arrays[:2]), len(label_names)]
            if found != [*manifest.get("sizes", (VISUAL_DIM, AUDIO_DIM)), manifest["classes"]]:
                raise ValueError
            fingerprint = manifest["splits"][split]["fingerprint"]
        except Exception:  # numpy raises some ten kinds for a damaged file
            raise InputError(f"{folder}: the {split} split is damaged; prepare it again.") from None
        about = (fingerprint, manifest["source"], split, manifest.get("encoder", ""))
        opened.append(FeatureSet(*arrays, label_names, *about))
    if read_manifest(folder) != manifest:
        raise InputError(f"{folder}: another feature set took its place just now; start again.")
    return opened


def map_clips(
    folder: Path, classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, sparse.csr_array]:
    """Map the `ARRAYS` of a folder: visual, audio, ids, labels; any error if they are damaged."""
    visual, audio, ids, starts, indices = (
        np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS
    )
    if not visual.shape[:1] == audio.shape[:1] == ids.shape == (len(starts) - 1,):
        raise ValueError
    return visual, audio, ids, label_rows(starts, indices, classes)


def label_rows(starts: np.ndarray, indices: np.ndarray, classes: int) -> sparse.csr_array:
    """Return which clip carries which label, from compressed sparse rows; an error if damaged."""
    ones, shape = np.ones(len(indices), np.float32), (len(starts) - 1, classes)
    labels = sparse.csr_array((ones, indices, starts.astype(indices.dtype)), shape)
    labels.check_format()  # scipy's C code trusts it
    if starts[-1] != len(indices) or (np.diff(starts) < 0).any():
        raise ValueError
    return labels


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a feature set, also of an earlier layout; {} if there is none."""
    manifest = read_json(folder / "manifest.json")
    return manifest if str(manifest.get("format", "")).startswith("xmodal ") else {}


def read_rows(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Copy some rows; what was read of a mapped file then leaves the process's memory again."""
    found = np.asarray(values)[rows]
    if isinstance(values, np.memmap) and isinstance(values.base, mmap):
        values.base.madvise(MADV_DONTNEED)
    return found


def evenly(count: int, most: int) -> np.ndarray:
    """Return at most so many of ``count`` rows, from all over: int64, (rows,)."""
    return np.linspace(0, count - 1, min(count, most)).astype(int)


def begin_rows(path: Path, dtype: str, shape: tuple[int, int]) -> BinaryIO:
    """Open an ``.npy`` file to write row after row: on a full disk, a mapped one is a crash."""
    file = path.open("wb")
    write_header(file, dtype, shape)
    return file


def write_header(file: BinaryIO, dtype: str, shape: tuple[int, int]) -> None:
    """Write the header of an ``.npy`` file, as long for any number of rows."""
    file.seek(0)
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def row_hashes(values: np.ndarray) -> np.ndarray:
    """Return a number for each row, the same for the same values: int64, (rows,)."""
    rows = (row.tobytes() for (chunk,) in read_chunks(values) for row in chunk + 0)  # -0 is 0
    return np.frombuffer(b"".join(blake2b(row, digest_size=8).digest() for row in rows), np.int64)


def read_chunks(*arrays: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Read arrays of any length together, `CHUNK` rows at a time, as float32."""
    for start in range(0, len(arrays[0]), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(arrays[0])))
        yield [read_rows(values, rows).astype(np.float32) for values in arrays]
