"""One file by itself: what its clips hold, and what is wrong with it."""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xmodal.config import InputError
from xmodal.data.framing import FRAMING, read_records
from xmodal.data.schema import (
    AUDIO_DIM,
    FEATURE_RANGE,
    VISUAL_DIM,
    is_release_1,
    parse_example,
    read_ordinary,
)
from xmodal.youtube8m.findings import Contents, Labels, Problem, Values
from xmodal.youtube8m.salvage import Damage, salvage_records

ROW = np.dtype(
    [("id", "<u8"), ("audio", "<u8"), ("record", "<u8"), ("offset", "<u8"), ("bytes", "<u8")]
)
"""What is kept of a clip beside its id: digests of id and audio, and where it is."""


class Examined(NamedTuple):
    """What one file tells.

    ``classes`` holds those that occur, ascending; ``rows`` (of type `ROW`) and ``ids`` (bytes) have
    an entry for each clip without a problem.
    """

    contents: Contents
    problems: list[Problem]
    classes: np.ndarray
    rows: np.ndarray
    ids: np.ndarray


def examine(path: Path, num_classes: int | None = None) -> Examined:
    """Read a file whole, whatever its state; quickly, if it is an ordinary good shard.

    Parameters
    ----------
    path
        Any file.
    num_classes
        Size of the vocabulary; ``None`` accepts any label.
    """
    columns = read_ordinary(path)
    if columns is None or (num_classes is not None and columns.labels.max() >= num_classes):
        return _examine_carefully(path, num_classes)
    records = [(number, offset, len(load) + FRAMING) for number, offset, load in read_records(path)]
    contents = Contents(sum(size for _, _, size in records), len(records))  # all of release 2
    ranges = [f(values, 1) for values in (columns.visual, columns.audio) for f in (np.min, np.max)]
    _describe(contents, columns.counts, columns.labels, ranges, num_classes)
    rows = [
        (_digest(name.encode()), _digest(audio.tobytes()), *place)
        for name, audio, place in zip(columns.ids, columns.audio, records, strict=True)
    ]
    classes = np.unique(columns.labels)
    return Examined(contents, [], classes, np.array(rows, ROW), np.array(columns.ids, bytes))


def _examine_carefully(path: Path, num_classes: int | None) -> Examined:
    problems: list[Problem] = []
    labels: list[np.ndarray] = [np.zeros(0, np.int32)]
    ranges: list[tuple[np.float32, ...]] = []
    ids: list[str] = []
    rows: list[tuple[int, int, int, int, int]] = []
    contents = Contents()
    for found in salvage_records(path):
        size = found.size if isinstance(found, Damage) else len(found.payload) + FRAMING
        contents.bytes += size
        contents.records += size > 0
        if isinstance(found, Damage):
            problems.append(Problem(*found))
            continue
        place = (found.number, found.offset, size)
        try:
            clip = parse_example(found.payload)
        except InputError as error:
            problems.append(Problem(*place, "not an example", str(error)))
            continue
        visual, audio = clip.visual, clip.audio
        ranges.append((visual.min(), visual.max(), audio.min(), audio.max()))
        labels.append(clip.labels)
        contents.release_1 += is_release_1(found.payload)
        if num_classes is not None and clip.labels.size and clip.labels[-1] >= num_classes:
            reason = f"label {clip.labels[-1]} is outside the vocabulary of {num_classes} classes"
            problems.append(Problem(*place, "unknown label", reason))
            continue
        ids.append(clip.id)
        rows.append((_digest(clip.id.encode()), _digest(audio.tobytes()), *place))
    counts, joined = np.array([some.size for some in labels[1:]]), np.concatenate(labels)
    _describe(contents, counts, joined, np.array(ranges).T, num_classes)
    return Examined(
        contents, problems, np.unique(joined), np.array(rows, ROW), np.array(ids, bytes)
    )


def _describe(
    contents: Contents,
    counts: np.ndarray,
    labels: np.ndarray,
    ranges: Sequence[np.ndarray] | np.ndarray,
    num_classes: int | None,
) -> None:
    """Note what clips hold, from the number of labels of each, all labels, and the ranges.

    The ranges: least and greatest value of each clip's visual feature, and of its audio feature.
    """
    outside = None if num_classes is None else int((labels >= num_classes).sum())
    contents.labels = Labels(outside=outside)
    contents.clips = clips = len(counts)
    contents.release_2 = clips - contents.release_1
    if clips:
        contents.visual = _values(VISUAL_DIM, *ranges[:2])
        contents.audio = _values(AUDIO_DIM, *ranges[2:])
        most, without = int(counts.max()), int((counts == 0).sum())
        classes = len(np.unique(labels))
        mean = len(labels) / clips
        contents.labels = Labels(len(labels), mean, most, classes, without, outside)


def _digest(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def _values(dimension: int, least: np.ndarray, greatest: np.ndarray) -> Values:
    low, high = FEATURE_RANGE
    outside = int(((least < low) | (greatest > high)).sum())
    return Values(dimension, float(least.min()), float(greatest.max()), outside)
