"""Feature sets: one split of checked clips as arrays that open in an instant.

A prepared folder holds ``manifest.json``, ``label_names.json``, and for each split the arrays
``visual``, ``audio``, ``ids``, ``label_indptr`` and ``label_indices`` as ``.npy`` files. Layout,
split and fingerprint are our choice; the paper says only that 6,000 clips were evaluated.
"""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from xmodal.config import InputError
from xmodal.data.schema import AUDIO_DIM, VISUAL_DIM
from xmodal.data.storage import load_arrays, repeated

SPLITS = ("train", "validation", "evaluation")
FORMAT = "xmodal features 2"
"""What the manifest of a feature set says it is; the number changes with the layout."""


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """One split of a feature set; the arrays are mapped from disk, read-only.

    Attributes
    ----------
    visual, audio
        float32, or float16 if so prepared, shapes (n, 1024) and (n, 128); row i of both belongs to
        clip i.
    ids
        Unicode text, shape (n,).
    label_indptr, label_indices
        Labels as compressed sparse rows: int64, shape (n + 1,), and int32, shape (nnz,); the
        classes of clip i are ``label_indices[label_indptr[i] : label_indptr[i + 1]]``, ascending.
    label_names
        By class index.
    fingerprint
        SHA-256 of the contents.
    source, split
        What the data is called, and which split of it this is.
    """

    visual: np.ndarray
    audio: np.ndarray
    ids: np.ndarray
    label_indptr: np.ndarray
    label_indices: np.ndarray
    label_names: list[str]
    fingerprint: str
    source: str
    split: str

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def silent(self) -> np.ndarray:
        """Which clips are silent: another clip of the split has the same audio, bit for bit.

        bool, shape (n,). Our choice: the audio vectors that repeat in YouTube-8M are all one and
        the same, that of silence, and no ranking can tell the clips apart that share it. A silent
        clip alone in its split is not marked; it ties with no other.
        """
        audio = np.asarray(self.audio)
        # 64 bits a clip, so that millions fit: two vectors that differ are taken for the same once
        # in a million sets of six million clips
        hashes = np.fromiter((hash(row.tobytes()) for row in audio), np.int64, len(audio))
        return repeated(hashes)

    @cached_property
    def labels(self) -> sparse.csr_array:
        """Which clip carries which label: float32, shape (n, classes), ones."""
        ones = np.ones(len(self.label_indices), np.float32)
        shape = (len(self), len(self.label_names))
        return sparse.csr_array((ones, self.label_indices, self.label_indptr), shape=shape)

    def labels_of(self, row: int) -> list[str]:
        """Return the label names of one clip."""
        begin, end = self.label_indptr[row], self.label_indptr[row + 1]
        return [self.label_names[index] for index in self.label_indices[begin:end]]


def open_features(folder: str | os.PathLike[str], split: str) -> FeatureSet:
    """Open a split that `prepare` made; nothing is read until it is used.

    Parameters
    ----------
    folder
        The ``out`` of `prepare`.
    split
        "train", "validation" or "evaluation".

    Raises
    ------
    InputError
        The folder holds no whole feature set, or there is no such split.
    """
    folder = Path(folder)
    if split not in SPLITS:
        raise InputError(f"{split!r} is no split; choose one of {', '.join(SPLITS)}.")
    manifest = read_manifest(folder)
    try:
        arrays = load_arrays(folder / split)
        label_names = json.loads((folder / "label_names.json").read_text(encoding="utf-8"))
        noted = manifest["splits"][split]
        shapes = [values.shape for values in arrays.values()]
        clips, labels = noted["clips"], noted["labels"]
        whole = shapes == [
            (clips, VISUAL_DIM),
            (clips, AUDIO_DIM),
            (clips,),
            (clips + 1,),
            (labels,),
        ] and (len(label_names) == manifest["classes"])
    except (OSError, ValueError, KeyError):
        whole = False
    if not whole:
        raise InputError(f"{folder}: the {split} split is damaged; prepare it again.")
    return FeatureSet(
        **arrays,
        label_names=label_names,
        fingerprint=noted["fingerprint"],
        source=manifest["source"],
        split=split,
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a feature set, or say that the folder holds none of this layout."""
    manifest = read_any_manifest(folder)
    if manifest.get("format") != FORMAT:
        raise InputError(
            f"{folder}: holds no feature set; run 01_data.ipynb (or `xmodal prepare`) to make one."
        )
    return manifest


def read_any_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a feature set, of an earlier layout too; {} if there is none."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    ours = isinstance(manifest, dict) and str(manifest.get("format", "")).startswith("xmodal ")
    return manifest if ours else {}
