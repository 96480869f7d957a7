"""The arrays of one split on disk: written clip by clip, mapped back, fingerprinted."""

from array import array
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import numpy as np

from xmodal.data.yt8m import AUDIO_DIM, VISUAL_DIM, Clip

_ARRAYS = ("visual", "audio", "ids", "label_indptr", "label_indices")


def write_arrays(target: Path, clips: Iterable[Clip], count: int) -> None:
    """Write the first ``count`` clips; the others are read too, so that damage shows."""
    visual = _new_array(target / "visual.npy", (count, VISUAL_DIM))
    audio = _new_array(target / "audio.npy", (count, AUDIO_DIM))
    ids: list[str] = []
    labels = array("i")
    indptr = np.zeros(count + 1, np.int64)
    for row, clip in enumerate(clips):
        if row < count:
            visual[row], audio[row] = clip.visual, clip.audio
            ids.append(clip.id)
            labels.extend(clip.labels)
            indptr[row + 1] = len(labels)
    visual.flush()
    audio.flush()
    np.save(target / "ids.npy", np.array(ids))
    np.save(target / "label_indptr.npy", indptr)
    np.save(target / "label_indices.npy", np.array(labels, np.int32))


def _new_array(path: Path, shape: tuple[int, int]) -> np.memmap:
    return np.lib.format.open_memmap(path, "w+", np.float32, shape)


def load_arrays(folder: Path) -> dict[str, np.ndarray]:
    """Map the arrays of a split from disk, read-only."""
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}


def digest(*parts: bytes | memoryview) -> str:
    """Return the SHA-256 of some bytes, in hexadecimal."""
    hashed = sha256()
    for part in parts:
        hashed.update(part)
    return hashed.hexdigest()


def fingerprint(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over the name, type, shape and contents of each array."""
    parts: list[bytes | memoryview] = []
    for name, values in arrays.items():
        parts.append(f"{name} {values.dtype.str} {values.shape} ".encode())
        parts.append(values.reshape(-1).view(np.uint8).data)
    return digest(*parts)
