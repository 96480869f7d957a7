"""``tf.train.Example``, the message in a record: values of three kinds, by key.

It is read and written by hand from the protocol-buffer wire format, so that no TensorFlow and no
generated code are needed::

    Example { Features features = 1 }        Features { map<string, Feature> feature = 1 }
    Feature { oneof { BytesList bytes = 1, FloatList float = 2, Int64List int64 = 3 } }
    BytesList, FloatList, Int64List { repeated ... value = 1 }
"""

from collections.abc import Iterator

import numpy as np

KINDS = {1: "bytes", 2: "float", 3: "int64"}
"""Name of each kind of values, by its number in the oneof above."""
_VARINT, _FIXED64, BYTES, _FIXED32 = 0, 1, 2, 5

Span = tuple[int, int, int]
"""A value inside a payload: its wire type, and where it begins and ends."""
Features = dict[bytes, tuple[int, list[Span]]]
"""By key: the kind of the values (1, 2 or 3, as in the oneof above), and where they are."""


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
        if wire == BYTES:
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
        if found == number and wire == BYTES:
            yield first, last


def parse_features(data: bytes) -> Features:
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
        if (number, wire) == (1, BYTES):
            key = data[first:last]
        elif (number, wire) == (2, BYTES):
            for member, wire, low, high in _fields(data, first, last):
                if member in KINDS and wire == BYTES:
                    if member != kind:  # the last member of a oneof stands, and repeats merge
                        kind, values = member, []
                    values += [field[1:] for field in _fields(data, low, high) if field[0] == 1]
    return key, (kind, values)


def floats(data: bytes, values: list[Span]) -> np.ndarray:
    """Join packed runs and single values, as protobuf allows both; float32, memory of its own."""
    if any(wire not in (BYTES, _FIXED32) or (end - begin) % 4 for wire, begin, end in values):
        raise IndexError
    joined = b"".join([data[begin:end] for _, begin, end in values])
    return np.frombuffer(joined, "<f4").astype(np.float32)


def integers(data: bytes, values: list[Span]) -> list[int]:
    """Read packed runs and single values, signed, 64 bits."""
    numbers = []
    for wire, position, end in values:
        if wire not in (BYTES, _VARINT):
            raise IndexError
        while position < end:
            number, position = _varint(data, position)
            if position > end:
                raise IndexError
            numbers.append(number - (1 << 64) if number >> 63 else number)
    return numbers


# --- writing -------------------------------------------------------------------------------------


def encode_varint(value: int) -> bytes:
    """Write a number that is not negative, seven bits a byte, the least significant first."""
    groups = bytearray()
    while value >= 128:
        groups.append(value & 127 | 128)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def delimited(number: int, content: bytes) -> bytes:
    """Write a field that holds a text, a message or packed values."""
    return encode_varint(number << 3 | BYTES) + encode_varint(len(content)) + content


def entry(key: str, kind: int, values: bytes) -> bytes:
    """Write a key and its values, which are one text or a packed run."""
    feature = delimited(kind, delimited(1, values))
    return delimited(1, delimited(1, key.encode()) + delimited(2, feature))
