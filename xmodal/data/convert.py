"""From one shard to its rows of a feature set, and from all shards' labels and ids to arrays."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xmodal.config import InputError
from xmodal.data.arrays import digest, write_rows
from xmodal.data.yt8m import read_columns


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


class Part(NamedTuple):
    """What waits of a converted shard.

    The ids of all its clips; how many labels each kept clip has, and which; the digest of the kept
    clips, features included.
    """

    ids: np.ndarray
    counts: np.ndarray
    labels: np.ndarray
    digest: str


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
    with np.errstate(over="ignore"):  # looked for below
        visual, audio = (x[: task.kept].astype(task.storage) for x in (clips.visual, clips.audio))
    if task.storage == "float16" and not (np.isfinite(visual).all() and np.isfinite(audio).all()):
        raise InputError(f"{task.shard}: holds values too large for float16; store as float32.")
    write_rows(task.split / "visual.npy", task.first, visual)
    write_rows(task.split / "audio.npy", task.first, audio)
    ids, counts = np.array(clips.ids), clips.counts[: task.kept]
    labels = clips.labels[: counts.sum()]
    found = _digest(visual, audio, ids, counts, labels)
    partial = task.part.with_suffix(".tmp.npz")
    np.savez(partial, ids=ids, counts=counts, labels=labels, digest=np.array(found))
    partial.replace(task.part)
    return task.records


def read_part(task: Task) -> Part:
    """Read what waits of a converted shard."""
    with np.load(task.part) as part:
        return Part(part["ids"], part["counts"], part["labels"], str(part["digest"]))


def _is_there(task: Task) -> bool:
    """Tell whether the rows on the disk are those that the part was written for."""
    part = read_part(task)
    rows = slice(task.first, task.first + task.kept)
    visual = np.load(task.split / "visual.npy", mmap_mode="r")[rows]
    audio = np.load(task.split / "audio.npy", mmap_mode="r")[rows]
    return part.digest == _digest(visual, audio, part.ids, part.counts, part.labels)


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
    parts = [read_part(task) for task in tasks]
    ids = [part.ids[: task.kept] for part, task in zip(parts, tasks, strict=True)]
    counts = np.concatenate([part.counts for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    np.save(split / "ids.npy", np.concatenate(ids))
    np.save(split / "label_indptr.npy", np.concatenate([[0], counts.cumsum()]))
    np.save(split / "label_indices.npy", labels)
    return len(labels), digest(*(part.digest.encode() for part in parts))


def refuse_repeated(tasks: Sequence[Task]) -> None:
    """Make sure that no two records of any shards have the same id; 13 bytes a clip or so.

    Raises
    ------
    InputError
        Naming both records.
    """
    ids = np.concatenate([read_part(task).ids.astype(bytes) for task in tasks])
    order = ids.argsort(kind="stable")
    twice = np.flatnonzero(ids[order[1:]] == ids[order[:-1]])
    if len(twice):
        starts = np.cumsum([0, *(task.records for task in tasks)])
        first, second = order[twice[0]], order[twice[0] + 1]
        (one, record), (other, number) = (
            (tasks[shard], row - starts[shard])
            for row in (first, second)
            for shard in [starts.searchsorted(row, side="right") - 1]
        )
        raise InputError(
            f"{other.shard}: record {number}: the id {ids[second].decode()!r} is that of record "
            f"{record} of {one.shard}; remove one of the two, as clips must differ."
        )
