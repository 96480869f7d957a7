"""The YouTube-8M video-level schema: a clip is one ``tf.train.Example`` message.

There are two ways to read a shard. An ordinary one, as YouTube-8M's own encoder writes it, is read
whole, numpy converting all values of a kind at once. Anything else is read by protobuf, clip by
clip: slower, and able to say what is wrong and where.
"""

import os
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from google.protobuf import descriptor_pool, message_factory, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError

from xmodal.config import InputError
from xmodal.data.tfrecord import read_records

VISUAL_DIM = 1024
"""Length of ``mean_rgb`` (Surís et al., section 3; YouTube-8M)."""
AUDIO_DIM = 128
"""Length of ``mean_audio`` (Surís et al., section 3; YouTube-8M)."""
FEATURE_RANGE = (-1.9921875, 2.0078125)
"""Least and greatest value a feature can take: 8 bits read back as real numbers (YouTube-8M)."""
CLASSES = {1: 4716, 2: 3862}
"""Size of the vocabulary of each release (YouTube-8M); one number means two things in the two."""


class Clip(NamedTuple):
    """One video: its features and the labels that describe it.

    ``id`` is the data set's name for it; ``labels`` are class indices, int32, shape (k,), ascending
    and each once, none in the test partition; ``visual`` and ``audio`` are float32, shapes (1024,)
    and (128,), without unit.
    """

    id: str
    labels: np.ndarray
    visual: np.ndarray
    audio: np.ndarray


class Columns(NamedTuple):
    """The clips of a shard, in file order.

    ``ids`` are n texts; clip i has the next ``counts[i]`` of ``labels`` (int32, ascending, each
    once); ``visual`` and ``audio`` are float32, shapes (n, 1024) and (n, 128).
    """

    ids: list[str]
    counts: np.ndarray
    labels: np.ndarray
    visual: np.ndarray
    audio: np.ndarray


def read_shard(path: str | os.PathLike[str], num_classes: int | None = None) -> Iterator[Clip]:
    """Read the clips of a shard in file order, as views of what `read_columns` returns."""
    columns = read_columns(path, num_classes)
    ends = columns.counts.cumsum().tolist()
    labels = (columns.labels[begin:end] for begin, end in pairwise([0, *ends]))
    yield from map(Clip, columns.ids, labels, columns.visual, columns.audio)


def read_columns(path: str | os.PathLike[str], num_classes: int | None = None) -> Columns:
    """Read the clips of a shard as arrays, every checksum verified.

    ``num_classes``, if given, is the size of the vocabulary; a label outside it is refused. An
    InputError names the file, the record number and the byte offset of what is bad.
    """
    columns = read_ordinary(Path(path))
    if columns and (num_classes is None or columns.labels.max(initial=-1) < num_classes):
        return columns
    clips = []
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
        clips.append(clip)
    return join_clips(clips)


def join_clips(clips: Collection[Clip]) -> Columns:
    """Return clips that were parsed one by one as arrays; there may be none."""
    return Columns(
        [clip.id for clip in clips],
        np.array([len(clip.labels) for clip in clips], np.int64),
        np.concatenate([np.zeros(0, np.int32), *(clip.labels for clip in clips)]),
        np.reshape([clip.visual for clip in clips], (-1, VISUAL_DIM)),
        np.reshape([clip.audio for clip in clips], (-1, AUDIO_DIM)),
    )


# --- one clip, by protobuf -----------------------------------------------------------------------

_DEFINITION = """
name: "example.proto"  syntax: "proto3"
message_type {
  name: "BytesList"  field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_BYTES }
}
message_type {
  name: "FloatList"  field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_FLOAT }
}
message_type {
  name: "Int64List"  field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_INT64 }
}
message_type {
  name: "Feature"  oneof_decl { name: "kind" }
  field { name: "bytes_list" number: 1 oneof_index: 0 type: TYPE_MESSAGE type_name: "BytesList" }
  field { name: "float_list" number: 2 oneof_index: 0 type: TYPE_MESSAGE type_name: "FloatList" }
  field { name: "int64_list" number: 3 oneof_index: 0 type: TYPE_MESSAGE type_name: "Int64List" }
}
message_type {
  name: "Features"
  field { name: "feature" number: 1 label: LABEL_REPEATED
          type: TYPE_MESSAGE type_name: "FeatureEntry" }
  nested_type {
    name: "FeatureEntry"  options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_STRING }
    field { name: "value" number: 2 type: TYPE_MESSAGE type_name: "Feature" }
  }
}
message_type {
  name: "Example"  field { name: "features" number: 1 type: TYPE_MESSAGE type_name: "Features" }
}
"""
"""``tf.train.Example`` as TensorFlow publishes it, in the text form of a protobuf definition."""


def message_class(definition: str, name: str) -> Any:
    """Return the class of a message, from the text form of a protobuf definition."""
    pool = descriptor_pool.DescriptorPool()  # of our own, as TensorFlow may define it, too
    pool.Add(text_format.Parse(definition, FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


_Example = message_class(_DEFINITION, "Example")

_KINDS = {"id": "bytes_list", "video_id": "bytes_list", "labels": "int64_list"}
_KINDS |= {"mean_rgb": "float_list", "mean_audio": "float_list"}
"""By key: which kind of values it must hold."""


def _feature_map(payload: bytes) -> Mapping[str, Any]:
    """Parse a message into its features by key."""
    try:
        return _Example.FromString(payload).features.feature
    except DecodeError:
        raise InputError(
            "the payload is not a tf.train.Example message; check where the file comes from."
        ) from None


def parse_example(payload: bytes) -> Clip:
    """Read a clip from a message of release 1 (key ``video_id``) or 2 (key ``id``)."""
    features = _feature_map(payload)
    return Clip(
        _identity(features),
        _labels(features),
        _feature(features, "mean_rgb", VISUAL_DIM),
        _feature(features, "mean_audio", AUDIO_DIM),
    )


def is_release_1(payload: bytes) -> bool:
    """Tell by the key of the id whether an example is of release 1."""
    return b"video_id" in payload and "id" not in _feature_map(payload)


def labelled_release(payload: bytes) -> int:
    """Return the release that the labels of an example are of; 0 if it has none, or is none."""
    try:
        features = _feature_map(payload)
    except InputError:  # is told in full when the shard is read
        return 0
    return 0 if "labels" not in features else 2 if "id" in features else 1


def encode_example(clip: Clip) -> bytes:
    """Write a clip as a ``tf.train.Example`` of release 2, keys in the order of their names."""
    values = {"id": [clip.id.encode("ascii")], "labels": clip.labels.tolist()}
    values |= {"mean_rgb": clip.visual.tolist(), "mean_audio": clip.audio.tolist()}
    return _message(values).SerializeToString(deterministic=True)


def _message(values: Mapping[str, list[Any]]) -> Any:
    """Return a message with these values by key."""
    example = _Example()
    for key, some in values.items():
        feature = getattr(example.features.feature[key], _KINDS[key])
        feature.SetInParent()  # it is there even with no values
        feature.value.extend(some)
    return example


def _values(features: Mapping[str, Any], key: str) -> Any:
    """Return the values of a key that must be there, and of the right kind."""
    if key not in features:
        found = ", ".join(sorted(features)) or "nothing"
        wanted = "`id` (or `video_id`)" if key == "video_id" else f"`{key}`"
        raise InputError(
            f"{wanted} is missing (found: {found}); are these YouTube-8M video-level features?"
        )
    kind = features[key].WhichOneof("kind") or "no"
    if kind != _KINDS[key]:
        found, wanted = (name.removesuffix("_list") for name in (kind, _KINDS[key]))
        raise InputError(
            f"`{key}` holds {found} values where {wanted} values are expected; "
            "are these YouTube-8M video-level features?"
        )
    return getattr(features[key], kind).value


def _identity(features: Mapping[str, Any]) -> str:
    key = "id" if "id" in features else "video_id"
    values = _values(features, key)
    identity = values[0].decode("ascii", "replace") if len(values) == 1 else ""
    if not (identity and identity.isascii() and identity.isprintable()):
        raise InputError(
            f"`{key}` must be one printable ASCII text; check where the file comes from."
        )
    return identity


def _labels(features: Mapping[str, Any]) -> np.ndarray:
    if "labels" not in features:  # the test partition, and whatever nobody labelled
        return np.zeros(0, np.int32)
    labels = np.unique(np.array(_values(features, "labels"), np.int64))
    wrong = labels[(labels < 0) | (labels >= 1 << 31)]
    if len(wrong):
        raise InputError(f"label {wrong[0]} is not a class index; check where the file comes from.")
    return labels.astype(np.int32)


def _feature(features: Mapping[str, Any], key: str, dim: int) -> np.ndarray:
    feature = np.array(_values(features, key), np.float32)
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


# --- an ordinary shard, fast ---------------------------------------------------------------------
# A key and its values make an *entry*. In an ordinary example the bytes of an entry that stand
# before its values are some of a few hundred possible ones: they are looked up, not parsed.

_COLUMNS = ("id", "labels", "mean_rgb", "mean_audio")


def _ordinary_entries() -> dict[bytes, tuple[bytes, int, int]]:
    """Return, by an entry's first 8 bytes: what precedes its values, its length, its column."""
    entries: list[tuple[str, list[Any], int]] = []
    for size in range(1, 100):
        entries += [("id", [bytes(size)], size), ("labels", [0] * size, size)]
    for key, dim in (("mean_rgb", VISUAL_DIM), ("mean_audio", AUDIO_DIM)):
        entries.append((key, [0.0] * dim, 4 * dim))
    found = {}
    for key, values, size in entries:
        entry = _message({key: values}).features.SerializeToString()
        found[entry[:8]] = (entry[:-size], len(entry), _COLUMNS.index(key))
    return found


_ENTRIES = _ordinary_entries()
_TAILS = (b"", b"\x12\x00")
"""After the features comes nothing, or the empty ``feature_lists`` of a SequenceExample."""


def read_ordinary(path: Path) -> Columns | None:
    """Read a shard, every checksum verified, if all its clips are ordinary; else return None.

    That is: the keys of release 2 in any order, each with one packed run of values, labels (if
    there are any) ascending and below 2**28, features finite.
    """
    try:
        rows = [_split_entries(payload) for _, _, payload in read_records(path)]
        ids, labels, visual, audio = zip(*rows, strict=True)
        return Columns(_texts(ids), *_integers(labels), *map(_floats, (visual, audio)))
    except (InputError, LookupError, TypeError, ValueError):
        return None


def _split_entries(payload: bytes) -> list[bytes]:
    """Take an example apart: the bytes of the id, the labels, the visual and the audio feature."""
    tag, low, high = payload[:3]
    end = 3 + (low & 127 | high << 7)
    if tag != 10 or low < 128 or high > 127 or payload[end:] not in _TAILS:
        raise ValueError
    values = [b""] * len(_COLUMNS)
    position = 3
    while position < end:
        head, length, column = _ENTRIES[payload[position : position + 8]]
        if not payload.startswith(head, position):
            raise ValueError
        values[column] = payload[position + len(head) : position + length]
        position += length
    identity, _, visual, audio = values
    if position != end or end > len(payload) or not (identity and visual and audio):
        raise ValueError
    return values


def _texts(runs: tuple[bytes, ...]) -> list[str]:
    texts = b"\n".join(runs).decode("ascii").split("\n")
    if len(texts) != len(runs) or not "".join(texts).isprintable():
        raise ValueError
    return texts


def _integers(runs: tuple[bytes, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Decode varints: seven bits a byte, the least significant first; the last byte is < 128."""
    data = np.frombuffer(b"".join(runs), np.uint8)
    is_last = data < 128
    lengths = np.array([*map(len, runs)])
    bounds = np.cumsum([0, *lengths[lengths > 0]])
    last = np.flatnonzero(is_last)
    sizes = np.diff(last, prepend=-1)
    if not is_last[bounds[1:] - 1].all() or sizes.max(initial=0) > 4:
        raise ValueError
    starts = last + 1 - sizes
    bits = 7 * (np.arange(len(data)) - starts.repeat(sizes))
    counts = np.zeros(len(runs), np.int64)
    numbers = np.zeros(0, np.int32)
    if len(data):
        numbers = np.add.reduceat((data & 127).astype(np.int32) << bits, starts, dtype=np.int32)
        counts[lengths > 0] = np.add.reduceat(is_last, bounds[:-1], dtype=np.int64)
    clip = np.arange(len(runs)).repeat(counts)
    if (np.diff(clip << 28 | numbers) <= 0).any():
        raise ValueError
    return counts, numbers


def _floats(runs: tuple[bytes, ...]) -> np.ndarray:
    values = np.frombuffer(bytearray().join(runs), "<f4").reshape(len(runs), -1)
    if not np.isfinite(values).all():
        raise ValueError
    return values
