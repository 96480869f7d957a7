"""The YouTube-8M video-level schema: clips as ``tf.train.Example`` messages, and the vocabulary.

The message is read and written by hand from the protocol-buffer wire format, so that no TensorFlow
and no generated code are needed::

    Example { Features features = 1 }        Features { map<string, Feature> feature = 1 }
    Feature { oneof { BytesList bytes = 1, FloatList float = 2, Int64List int64 = 3 } }
    BytesList, FloatList, Int64List { repeated ... value = 1 }
"""

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xmodal.config import InputError
from xmodal.data.tfrecord import read_records

VISUAL_DIM = 1024
"""Length of ``mean_rgb`` (Surís et al., section 3; YouTube-8M)."""
AUDIO_DIM = 128
"""Length of ``mean_audio`` (Surís et al., section 3; YouTube-8M)."""
FEATURE_RANGE = (-1.9921875, 2.0078125)
"""Least and greatest value a feature can take: 8 bits read back as real numbers (YouTube-8M)."""

_KINDS = {1: "bytes", 2: "float", 3: "int64"}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Span = tuple[int, int, int]
"""A value inside a payload: its wire type, and where it begins and ends."""
Features = dict[bytes, tuple[int, list[Span]]]
"""By key: the kind of the values (1, 2 or 3, as in the oneof above), and where they are."""


class Clip(NamedTuple):
    """One video: two features and the labels that describe it.

    ``id`` is the data set's name for it; ``labels`` are class indices, int32, shape (k,);
    ``visual`` and ``audio`` are float32, shapes (1024,) and (128,), without unit.
    """

    id: str
    labels: np.ndarray
    visual: np.ndarray
    audio: np.ndarray


# --- reading -------------------------------------------------------------------------------------
# A malformed message raises IndexError, just as a value that runs past the payload's end does.


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (1 << 64) - 1, position
        shift += 7
    raise IndexError


def _fields(data: bytes, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, wire type, and where the value begins and ends, for each field of a message."""
    while position < end:
        tag = data[position]
        position += 1
        if tag >= 128:
            tag, position = _varint(data, position - 1)
        wire = tag & 7
        begin = position
        if wire == _BYTES:
            length = data[position]
            begin = position + 1
            if length >= 128:
                length, begin = _varint(data, position)
            position = begin + length
        elif wire == _VARINT:
            position = _varint(data, position)[1]
        elif wire == _FIXED32:
            position += 4
        elif wire == _FIXED64:
            position += 8
        else:
            raise IndexError
        if position > end or tag < 8:
            raise IndexError
        yield tag >> 3, wire, begin, position


def _messages(data: bytes, begin: int, end: int, number: int) -> Iterator[tuple[int, int]]:
    """Yield where each message in field ``number`` begins and ends."""
    for found, wire, first, last in _fields(data, begin, end):
        if found == number and wire == _BYTES:
            yield first, last


def _parse_features(data: bytes) -> Features:
    """Find the values of each key, without reading them yet."""
    return dict(
        _parse_entry(data, *entry)
        for features in _messages(data, 0, len(data), 1)
        for entry in _messages(data, *features, 1)
    )


def _parse_entry(data: bytes, begin: int, end: int) -> tuple[bytes, tuple[int, list[Span]]]:
    key, kind = b"", 0
    values: list[Span] = []
    for number, wire, first, last in _fields(data, begin, end):
        if (number, wire) == (1, _BYTES):
            key = data[first:last]
        elif (number, wire) == (2, _BYTES):
            for member, wire, low, high in _fields(data, first, last):
                if member in _KINDS and wire == _BYTES:
                    if member != kind:  # the last member of a oneof stands, and repeats merge
                        kind, values = member, []
                    values += [field[1:] for field in _fields(data, low, high) if field[0] == 1]
    return key, (kind, values)


def _floats(data: bytes, values: list[Span]) -> np.ndarray:
    """Join packed runs and single values, as protobuf allows both; float32, memory of its own."""
    if any(wire not in (_BYTES, _FIXED32) or (end - begin) % 4 for wire, begin, end in values):
        raise IndexError
    joined = b"".join([data[begin:end] for _, begin, end in values])
    return np.frombuffer(joined, "<f4").astype(np.float32)


def _integers(data: bytes, values: list[Span]) -> list[int]:
    numbers = []
    for wire, position, end in values:
        if wire not in (_BYTES, _VARINT):
            raise IndexError
        while position < end:
            number, position = _varint(data, position)
            if position > end:
                raise IndexError
            numbers.append(number - (1 << 64) if number >> 63 else number)
    return numbers


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
        features = _parse_features(payload)
        key = "id" if b"id" in features else "video_id"
        return Clip(
            _identity(payload, key, _values(features, key, 1)),
            _labels(_integers(payload, _values(features, "labels", 3))),
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
            f"`{key}` holds {_KINDS.get(found_kind, 'no')} values where {_KINDS[kind]} values are "
            "expected; are these YouTube-8M video-level features?"
        )
    return values


def _identity(payload: bytes, key: str, values: list[Span]) -> str:
    if len(values) == 1 and values[0][0] == _BYTES:
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
    feature = _floats(payload, _values(features, key, 2))
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
        In file order.

    Raises
    ------
    InputError
        As `read_records` and `parse_example` say; names the file, record number and byte offset.
    """
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


# --- writing -------------------------------------------------------------------------------------


def _encode_varint(value: int) -> bytes:
    groups = bytearray()
    while value >= 128:
        groups.append(value & 127 | 128)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def _delimited(number: int, content: bytes) -> bytes:
    return _encode_varint(number << 3 | _BYTES) + _encode_varint(len(content)) + content


def _entry(key: str, kind: int, values: bytes) -> bytes:
    feature = _delimited(kind, _delimited(1, values))
    return _delimited(1, _delimited(1, key.encode()) + _delimited(2, feature))


def encode_example(clip: Clip) -> bytes:
    """Write a clip as a ``tf.train.Example`` of release 2, keys in the order of their names.

    Returns
    -------
    bytes
        The serialised message; `parse_example` of it gives the clip back.
    """
    return _delimited(
        1,
        _entry("id", 1, clip.id.encode("ascii"))
        + _entry("labels", 3, b"".join(_encode_varint(int(label)) for label in clip.labels))
        + _entry("mean_audio", 2, np.asarray(clip.audio, "<f4").tobytes())
        + _entry("mean_rgb", 2, np.asarray(clip.visual, "<f4").tobytes()),
    )


# --- vocabulary ----------------------------------------------------------------------------------

_COLUMNS = ["Index", "TrainVideoCount", "KnowledgeGraphId", "Name", "WikiUrl"]
_COLUMNS += ["Vertical1", "Vertical2", "Vertical3", "WikiDescription"]


def read_vocabulary(path: str | os.PathLike[str]) -> list[str]:
    """Read the label names of a YouTube-8M vocabulary.

    Some classes of the published file have no name; their KnowledgeGraphId stands in (our choice).

    Parameters
    ----------
    path
        A CSV file with at least the columns ``Index`` and ``Name``, rows in any order.

    Returns
    -------
    list of str
        The name of each class, by class index.

    Raises
    ------
    InputError
        The file is missing or no such CSV file, or its indices are not 0, 1, 2, ... once each.
    """
    names: dict[int, str] = {}
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, strict=True)
            missing = {"Index", "Name"} - set(rows.fieldnames or ())
            if missing:
                raise InputError(
                    f"{path}: the vocabulary has no column {' or '.join(sorted(missing))}; "
                    "use YouTube-8M's vocabulary.csv."
                )
            for row in rows:
                where = f"{path}: the row that ends on line {rows.line_num}"
                if not (row["Index"] or "").isdecimal() or None in row or None in row.values():
                    raise InputError(f"{where} is not a vocabulary row; fetch the file again.")
                index = int(row["Index"])
                if index in names:
                    raise InputError(f"{where} repeats class {index}; fetch the file again.")
                names[index] = row["Name"] or row.get("KnowledgeGraphId") or f"class {index}"
    except OSError as error:
        raise InputError(
            f"{path}: the vocabulary cannot be read ({error.strerror}); check the path."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path}: the vocabulary is not a UTF-8 CSV file ({error}); fetch it again."
        ) from error
    if sorted(names) != list(range(len(names))) or not names:
        raise InputError(
            f"{path}: the vocabulary's {len(names)} classes are not numbered 0, 1, 2, ... without "
            "a gap; fetch the file again."
        )
    return [names[index] for index in range(len(names))]


def write_vocabulary(
    path: str | os.PathLike[str], names: Sequence[str], counts: Iterable[int]
) -> None:
    """Write a vocabulary in YouTube-8M's columns; those that are not known stay empty.

    Parameters
    ----------
    path
        The CSV file to write; one that exists is replaced.
    names, counts
        By class index: the label's name, and the number of training clips that carry it.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(_COLUMNS)
            for index, (name, count) in enumerate(zip(names, counts, strict=True)):
                rows.writerow([index, count, "", name, *[""] * 5])
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
