"""The YouTube-8M video-level schema: clips as ``tf.train.Example`` messages."""

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xmodal.config import InputError
from xmodal.data.columns import AUDIO_DIM, VISUAL_DIM, Columns, read_ordinary
from xmodal.data.example import (
    BYTES,
    KINDS,
    Features,
    Span,
    delimited,
    encode_varint,
    entry,
    floats,
    integers,
    parse_features,
)
from xmodal.data.framing import read_records

FEATURE_RANGE = (-1.9921875, 2.0078125)
"""Least and greatest value a feature can take: 8 bits read back as real numbers (YouTube-8M)."""


class Clip(NamedTuple):
    """One video: two features and the labels that describe it.

    ``id`` is the data set's name for it; ``labels`` are class indices, int32, shape (k,);
    ``visual`` and ``audio`` are float32, shapes (1024,) and (128,), without unit.
    """

    id: str
    labels: np.ndarray
    visual: np.ndarray
    audio: np.ndarray


def parse_example(payload: bytes) -> Clip:
    """Read one ``tf.train.Example`` of YouTube-8M, release 1 (key ``video_id``) or 2 (key ``id``).

    Parameters
    ----------
    payload
        The serialised message, as a record holds it.

    Returns
    -------
    Clip
        With arrays of their own memory; labels ascending, each once.

    Raises
    ------
    InputError
        The message is malformed, a key is missing or of the wrong kind, a feature has the wrong
        length or a value that is not finite, a label is negative, or the id is not one printable
        ASCII text.
    """
    try:
        features = parse_features(payload)
        key = "id" if b"id" in features else "video_id"
        return Clip(
            _identity(payload, key, _values(features, key, 1)),
            _labels(integers(payload, _values(features, "labels", 3))),
            _feature(payload, features, "mean_rgb", VISUAL_DIM),
            _feature(payload, features, "mean_audio", AUDIO_DIM),
        )
    except IndexError:
        raise InputError(
            "the payload is not a tf.train.Example message; check where the file comes from."
        ) from None


def _values(features: Features, key: str, kind: int) -> list[Span]:
    if key.encode() not in features:
        found = ", ".join(sorted(name.decode("utf-8", "replace") for name in features)) or "nothing"
        wanted = "`id` (or `video_id`)" if key == "video_id" else f"`{key}`"
        raise InputError(
            f"{wanted} is missing (found: {found}); are these YouTube-8M video-level features?"
        )
    found_kind, values = features[key.encode()]
    if found_kind != kind:
        raise InputError(
            f"`{key}` holds {KINDS.get(found_kind, 'no')} values where {KINDS[kind]} values are "
            "expected; are these YouTube-8M video-level features?"
        )
    return values


def _identity(payload: bytes, key: str, values: list[Span]) -> str:
    if len(values) == 1 and values[0][0] == BYTES:
        identity = payload[values[0][1] : values[0][2]].decode("ascii", "replace")
        if identity.isascii() and identity.isprintable() and identity:
            return identity
    raise InputError(f"`{key}` must be one printable ASCII text; check where the file comes from.")


def _labels(numbers: list[int]) -> np.ndarray:
    labels = sorted(set(numbers))
    if labels and not 0 <= labels[0] <= labels[-1] < 1 << 31:
        wrong = labels[0] if labels[0] < 0 else labels[-1]
        raise InputError(f"label {wrong} is not a class index; check where the file comes from.")
    return np.array(labels, np.int32)


def _feature(payload: bytes, features: Features, key: str, dim: int) -> np.ndarray:
    feature = floats(payload, _values(features, key, 2))
    if len(feature) != dim:
        raise InputError(
            f"`{key}` holds {len(feature)} values where {dim} are expected; "
            "are these YouTube-8M video-level features?"
        )
    finite = np.isfinite(feature)
    if not finite.all():
        at = int(finite.argmin())
        raise InputError(
            f"`{key}` holds {feature[at]} at position {at}, which is not finite; remove the clip."
        )
    return feature


def read_shard(path: str | os.PathLike[str], num_classes: int | None = None) -> Iterator[Clip]:
    """Read the clips of a shard, every checksum verified.

    Parameters
    ----------
    path
        A TFRecord file of video-level YouTube-8M examples.
    num_classes
        Size of the vocabulary; a label outside it is refused. ``None`` accepts any label.

    Yields
    ------
    Clip
        In file order. The clips of a shard share a block of memory, each in a part of its own: one
        that is kept keeps the block (1 to 5 MB).

    Raises
    ------
    InputError
        As `read_records` and `parse_example` say; names the file, record number and byte offset.
    """
    columns = _read_quickly(path, num_classes)
    if columns is None:
        yield from _read_carefully(path, num_classes)
        return
    ends = columns.counts.cumsum().tolist()
    labels = (columns.labels[begin:end] for begin, end in pairwise([0, *ends]))
    yield from map(Clip, columns.ids, labels, columns.visual, columns.audio)


def read_columns(path: str | os.PathLike[str], num_classes: int | None = None) -> Columns:
    """Read the clips of a shard as arrays: what `read_shard` yields, in file order.

    Parameters
    ----------
    path, num_classes
        As for `read_shard`.

    Raises
    ------
    InputError
        What `read_shard` raises.
    """
    columns = _read_quickly(path, num_classes)
    if columns is not None:
        return columns
    ids, labels, visual, audio = zip(*_read_carefully(path, num_classes), strict=True)
    counts = np.array([len(some) for some in labels], np.int64)
    return Columns(list(ids), counts, np.concatenate(labels), np.array(visual), np.array(audio))


def _read_quickly(path: str | os.PathLike[str], num_classes: int | None) -> Columns | None:
    """Read a shard with nothing out of the ordinary in it, or return None."""
    columns = read_ordinary(Path(path))
    if columns and num_classes is not None and columns.labels.max() >= num_classes:
        return None
    return columns


def _read_carefully(path: str | os.PathLike[str], num_classes: int | None) -> Iterator[Clip]:
    """Read clip by clip what may be out of the ordinary, up to what is wrong."""
    for number, offset, payload in read_records(path):
        try:
            clip = parse_example(payload)
            if num_classes is not None and (clip.labels >= num_classes).any():
                raise InputError(
                    f"label {clip.labels[-1]} is outside the vocabulary of {num_classes} classes; "
                    "use the vocabulary of the release the shards belong to."
                )
        except InputError as error:
            raise InputError(f"{path}: record {number} at byte {offset}: {error}") from error
        yield clip


def encode_example(clip: Clip) -> bytes:
    """Write a clip as a ``tf.train.Example`` of release 2, keys in the order of their names.

    Returns
    -------
    bytes
        The serialised message; `parse_example` of it gives the clip back.
    """
    return delimited(
        1,
        entry("id", 1, clip.id.encode("ascii"))
        + entry("labels", 3, b"".join(encode_varint(int(label)) for label in clip.labels))
        + entry("mean_audio", 2, np.asarray(clip.audio, "<f4").tobytes())
        + entry("mean_rgb", 2, np.asarray(clip.visual, "<f4").tobytes()),
    )
