"""The YouTube-8M video-level schema: a clip is one ``tf.train.Example`` message."""

import os
from collections.abc import Iterator, Mapping
from itertools import pairwise
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
_DIMS = {"mean_rgb": VISUAL_DIM, "mean_audio": AUDIO_DIM}


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


def read_shard(path: str | os.PathLike[str], num_classes: int = 0) -> Iterator[Clip]:
    """Read the clips of a shard in file order, as views of what `read_columns` returns."""
    columns = read_columns(path, num_classes)
    ends = columns.counts.cumsum().tolist()
    labels = (columns.labels[begin:end] for begin, end in pairwise([0, *ends]))
    yield from map(Clip, columns.ids, labels, columns.visual, columns.audio)


def read_columns(
    path: str | os.PathLike[str], num_classes: int = 0, leave_out: bool = False
) -> Columns:
    """Read the clips of a shard of either release as arrays, every checksum verified.

    ``num_classes`` is the size of the vocabulary; 0: any label goes. ``leave_out`` takes clips that
    are labelled in the vocabulary of the other release as clips without labels. InputError if a
    record is damaged or no clip of YouTube-8M, a feature is not finite, or a label is outside the
    vocabulary.
    """
    records = []
    for number, payload in enumerate(read_records(path)):
        try:
            records.append(_parse(payload, num_classes, leave_out))
        except InputError as error:
            raise InputError(f"{path}: record {number}: {error}") from error
    ids, labels, *runs = zip(*records, strict=True)
    visual, audio = (
        np.frombuffer(bytearray().join(run), "<f4").reshape(len(ids), -1) for run in runs
    )
    for name, values in zip(_DIMS, (visual, audio), strict=True):
        for record in np.flatnonzero(~np.isfinite(values).all(axis=1)):
            raise InputError(f"{path}: record {record}: `{name}` is not finite.")
    counts = np.array([*map(len, labels)])
    numbers = np.array([label for some in labels for label in some], np.int32)
    return Columns([*ids], counts, numbers, visual, audio)


def release_of(payload: bytes) -> int:
    """Return the release of YouTube-8M that a message is of; 0 if it is none."""
    try:
        return 2 if "id" in _features(payload) else 1
    except InputError:
        return 0


def encode_example(clip: Clip) -> bytes:
    """Write a clip as a ``tf.train.Example`` of release 2, keys in the order of their names."""
    example = _Example()
    features = example.features.feature
    features["id"].bytes_list.value.append(clip.id.encode("ascii"))
    features["labels"].int64_list.value.extend(clip.labels.tolist())
    for key, values in zip(_DIMS, (clip.visual, clip.audio), strict=True):
        features[key].float_list.value.append(values.astype("<f4").tobytes())
    return example.SerializeToString(deterministic=True)


_DEFINITION = """
name: "example.proto"  syntax: "proto3"
message_type {
  name: "BytesList"  field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_BYTES }
}
message_type {
  name: "Int64List"  field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_INT64 }
}
message_type {
  name: "Feature"  oneof_decl { name: "kind" }
  field { name: "bytes_list" number: 1 oneof_index: 0 type: TYPE_MESSAGE type_name: "BytesList" }
  field { name: "float_list" number: 2 oneof_index: 0 type: TYPE_MESSAGE type_name: "BytesList" }
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
"""``tf.train.Example`` as TensorFlow publishes it, in the text form of a protobuf definition.

But packed floats are bytes here, which are the same on the wire: numpy reads them faster.
"""


def message_class(definition: str, name: str) -> Any:
    """Return the class of a message, from the text form of a protobuf definition."""
    pool = descriptor_pool.DescriptorPool()  # of our own, as TensorFlow may define it, too
    pool.Add(text_format.Parse(definition, FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


_Example = message_class(_DEFINITION, "Example")


def _features(payload: bytes) -> Mapping[str, Any]:
    """Return the features of a message by key; one that is missing reads as an empty one."""
    try:
        return _Example.FromString(payload).features.feature
    except DecodeError:
        raise InputError("the payload is no tf.train.Example; check the file's origin.") from None


def _parse(
    payload: bytes, num_classes: int, leave_out: bool
) -> tuple[str, list[int], bytes, bytes]:
    """Return the id, the labels, and the visual and audio features as little-endian float32."""
    features = _features(payload)
    visual, audio = (b"".join(features[key].float_list.value) for key in _DIMS)
    for (key, dim), found in zip(_DIMS.items(), (visual, audio), strict=True):
        if len(found) != 4 * dim:
            raise InputError(f"`{key}` holds {len(found) // 4} values, not {dim}.")
    key, release = ("id", 2) if "id" in features else ("video_id", 1)
    texts = features[key].bytes_list.value
    name = texts[0].decode("ascii", "replace") if len(texts) == 1 else ""
    if not (name and name.isascii() and name.isprintable()):
        raise InputError(f"`{key}` must be one printable ASCII text; check the file's origin.")
    if features["labels"].WhichOneof("kind") not in (None, "int64_list"):
        raise InputError("`labels` must be whole numbers; check the file's origin.")
    labels, classes = sorted(set(features["labels"].int64_list.value)), num_classes or 2**31
    if labels and classes == CLASSES[3 - release]:
        if not leave_out:
            raise InputError(
                f"the labels are of release {release} of YouTube-8M, whose vocabulary has "
                f"{CLASSES[release]:,} classes and not {classes:,}; give that one, or leave the "
                "labels out."
            )
        labels = []
    for wrong in [label for label in labels if not 0 <= label < classes]:
        raise InputError(f"label {wrong} is outside the vocabulary of {classes:,} classes.")
    return name, labels, visual, audio
