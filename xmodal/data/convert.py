"""From one shard to its rows of a feature set, and from all shards' labels and ids to arrays."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xmodal.config import InputError
from xmodal.data.schema import read_columns
from xmodal.data.storage import digest, write_rows


class Task(NamedTuple):
    """A shard to convert, and where its clips go.

    Attributes
    ----------
    shard : Path
        The file.
    records : int
        How many records it was seen to hold.
    classes : int
        Size of the vocabulary.
    storage : str
        Type of the features as stored, float32 or float16.
    split : Path
        Folder that holds ``visual.npy`` and ``audio.npy``.
    first, kept : int
        Row of the shard's first clip, and how many of its clips the split takes.
    part : Path
        Where its ids and labels wait until all shards are there.
    """

    shard: Path
    records: int
    classes: int
    storage: str
    split: Path
    first: int
    kept: int
    part: Path


def convert(task: Task) -> int:
    """Write the features of a shard into its rows, and its part; return its number of clips.

    A shard that was converted before is left as it is, when its rows are still what they were.

    Raises
    ------
    InputError
        The shard is damaged, holds a label outside the vocabulary or a value too large for the
        storage, or changed since it was counted.
    """
    if task.part.exists() and _is_there(task):
        return task.records
    clips = read_columns(task.shard, task.classes)
    if len(clips.ids) != task.records:
        raise InputError(f"{task.shard}: the file changed while it was read; prepare again.")
    kept = (clips.visual[: task.kept], clips.audio[: task.kept])
    largest = max(max(values.max(), -values.min()) for values in kept)
    if largest > np.finfo(task.storage).max:
        raise InputError(f"{task.shard}: holds values too large for float16; store as float32.")
    visual, audio = (values.astype(task.storage) for values in kept)
    write_rows(task.split / "visual.npy", task.first, visual)
    write_rows(task.split / "audio.npy", task.first, audio)
    ids, counts = np.array(clips.ids), clips.counts[: task.kept]
    labels = clips.labels[: counts.sum()]
    found = _digest(visual, audio, ids, counts, labels)
    partial = task.part.with_suffix(".tmp.npz")
    np.savez(partial, ids=ids, counts=counts, labels=labels, digest=np.array(found))
    partial.replace(task.part)
    return task.records


def read_part(task: Task, name: str) -> np.ndarray:
    """Read what waits of a converted shard.

    Its ``ids``; of the clips that are kept, how many labels each has (``counts``), which
    (``labels``), and the ``digest`` of all there is of them.
    """
    with np.load(task.part) as part:
        return part[name]


def _is_there(task: Task) -> bool:
    """Tell whether the rows on the disk are those that the part was written for."""
    rows = slice(task.first, task.first + task.kept)
    stored = [np.load(task.split / f"{m}.npy", mmap_mode="r")[rows] for m in ("visual", "audio")]
    waiting = [read_part(task, name) for name in ("ids", "counts", "labels")]
    return str(read_part(task, "digest")) == _digest(*stored, *waiting)


def _digest(*arrays: np.ndarray) -> str:
    """SHA-256 over the type, shape and contents of some arrays."""
    parts: list[bytes | memoryview] = []
    for values in arrays:
        parts.append(f"{values.dtype.str} {values.shape} ".encode())
        parts.append(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return digest(*parts)


def gather_split(split: Path, tasks: Sequence[Task]) -> tuple[int, str]:
    """Write the ids and labels of a split, whose shards are all converted.

    Returns
    -------
    labels : int
        How many there are.
    fingerprint : str
        SHA-256 of the shards' digests: it changes with any value, id or label, and with the order.
    """
    ids = np.concatenate([read_part(task, "ids")[: task.kept] for task in tasks])
    np.save(split / "ids.npy", ids)
    del ids  # one after the other, as there may be millions
    counts = np.concatenate([read_part(task, "counts") for task in tasks])
    np.save(split / "label_indptr.npy", np.concatenate([[0], counts.cumsum()]))
    labels = np.concatenate([read_part(task, "labels") for task in tasks])
    np.save(split / "label_indices.npy", labels)
    return len(labels), digest(*(str(read_part(task, "digest")).encode() for task in tasks))


def refuse_repeated(tasks: Sequence[Task]) -> None:
    """Make sure that no two records of any shards have the same id.

    Raises
    ------
    InputError
        Naming both records.
    """
    ids = np.concatenate([read_part(task, "ids").astype(bytes) for task in tasks])
    ordered = np.sort(ids)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        starts = np.cumsum([0, *(task.records for task in tasks)])
        (one, record), (other, number) = (
            (tasks[shard], row - starts[shard])
            for row in np.flatnonzero(ids == twice[0])[:2]
            for shard in [starts.searchsorted(row, side="right") - 1]
        )
        raise InputError(
            f"{other.shard}: record {number}: the id {twice[0].decode()!r} is that of record "
            f"{record} of {one.shard}; remove one of the two, as clips must differ."
        )
