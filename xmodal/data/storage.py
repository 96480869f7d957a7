"""The arrays of a split on disk: made at their full size, filled row by row, mapped back."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np

PIECE = 8192
"""Rows of features that are in memory at once where all are looked at."""

_ARRAYS = ("visual", "audio", "ids", "label_indptr", "label_indices")


def new_array(path: Path, shape: tuple[int, ...], dtype: str) -> None:
    """Make an ``.npy`` file of zeros; the disk gives it room only as rows are written."""
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    partial = path.with_suffix(".tmp")
    with partial.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + int(np.prod(shape)) * np.dtype(dtype).itemsize)
    partial.replace(path)


def write_rows(path: Path, first: int, rows: np.ndarray) -> None:
    """Write rows into a file of `new_array`.

    It is written, not mapped: a full disk is then an error instead of a crash, and what was written
    does not count as this process's memory.
    """
    with path.open("r+b") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        file.seek(first * rows[:1].nbytes, 1)
        file.write(np.ascontiguousarray(rows).data)


def load_arrays(folder: Path) -> dict[str, np.ndarray]:
    """Map the arrays of a split from disk, read-only."""
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}


def take_rows(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Copy some rows; what is mapped is mapped anew, or all that was ever read would stay."""
    if isinstance(values, np.memmap):
        values = np.memmap(str(values.filename), values.dtype, "r", values.offset, values.shape)
    return np.asarray(values)[rows]


def pieces(*arrays: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Read arrays of any length together, `PIECE` rows at a time, as float32."""
    for start in range(0, len(arrays[0]), PIECE):
        rows = np.arange(start, min(start + PIECE, len(arrays[0])))
        yield [take_rows(values, rows).astype(np.float32) for values in arrays]


def repeated(values: np.ndarray) -> np.ndarray:
    """Tell which values occur more than once: bool, (n,)."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return counts[which] > 1


def digest(*parts: bytes | memoryview) -> str:
    """Return the SHA-256 of some bytes, in hexadecimal."""
    hashed = sha256()
    for part in parts:
        hashed.update(part)
    return hashed.hexdigest()
