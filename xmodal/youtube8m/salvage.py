"""Reading a damaged shard: every record that is whole, and what lies between them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xmodal.data.framing import FOOTER, FRAMING, HEADER, Record, masked_crc

_WINDOW = 1 << 16


class Damage(NamedTuple):
    """A stretch of a file that is no whole record.

    ``number`` is counted as for records, each stretch as one; ``offset`` and ``size`` are in bytes;
    ``kind`` is "unreadable", "empty", "no TFRecord", "length checksum", "payload checksum" or
    "truncated"; ``reason`` is a sentence about this stretch.
    """

    number: int
    offset: int
    size: int
    kind: str
    reason: str


def salvage_records(path: str | os.PathLike[str]) -> Iterator[Record | Damage]:
    """Read every whole record of a shard, whatever surrounds it; complain about nothing.

    After damage the reader goes on at the next byte where a record stands whose two checksums are
    both right (our choice; the format has no marks to find a record by). Where only the payload is
    wrong, that is the record's end, if a header or the file's end is there. So no whole record is
    lost. Bytes taken for a record by chance pass 64 bits of checksums; only a payload that itself
    holds a TFRecord file can be mistaken for one, and only next to damage.

    Parameters
    ----------
    path
        Any file; it is read in one go.

    Yields
    ------
    Record or Damage
        In file order, without gap: together they cover every byte of the file. A file that was cut
        exactly between two records shows no damage: the format holds no count.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        yield Damage(0, 0, 0, "unreadable", f"the file cannot be read ({error.strerror})")
        return
    if not data:
        yield Damage(0, 0, 0, "empty", "the file is empty (0 bytes)")
    number = offset = 0
    while offset < len(data):
        end, kind, reason = _examine(data, offset)
        if kind:
            if not _is_boundary(data, end):
                end = min(end, _next_record(data, offset + 1))
            if kind == "length checksum" and (offset, end) == (0, len(data)):
                kind, reason = "no TFRecord", "the file holds no TFRecord record at all"
            yield Damage(number, offset, end - offset, kind, reason)
        else:
            yield Record(number, offset, data[offset + HEADER.size : end - FOOTER.size])
        offset = end
        number += 1


def _examine(data: bytes, offset: int) -> tuple[int, str, str]:
    """Return where the record ends (the file's end and more if unknown), kind and reason if bad."""
    unknown = len(data) + 1
    begin = offset + HEADER.size
    if begin > len(data):
        return unknown, "truncated", "the file ends inside the header"
    length, length_crc = HEADER.unpack_from(data, offset)
    if masked_crc(data[offset : offset + 8]) != length_crc:
        return unknown, "length checksum", "the checksum of the length is wrong"
    end = begin + length
    if end + FOOTER.size > len(data):
        said = f"the record needs {length + FOOTER.size} bytes after its header but the file has "
        return unknown, "truncated", f"{said}{len(data) - begin}"
    if masked_crc(data[begin:end]) != FOOTER.unpack_from(data, end)[0]:
        return end + FOOTER.size, "payload checksum", "the checksum of the payload is wrong"
    return end + FOOTER.size, "", ""


def _is_boundary(data: bytes, offset: int) -> bool:
    """Tell whether the file ends here, or a header stands here that is right."""
    if offset + HEADER.size > len(data):
        return offset == len(data)
    length_crc = HEADER.unpack_from(data, offset)[1]
    return masked_crc(data[offset : offset + 8]) == length_crc


def _next_record(data: bytes, start: int) -> int:
    """Return where the next whole record begins; the file's end if there is none.

    Every byte is tried, many at once: first the lengths that fit into the file are found, then the
    checksum is computed once for each length that occurs.
    """
    stop = len(data) - FRAMING + 1
    for first in range(start, stop, _WINDOW):
        places = min(_WINDOW, stop - first)
        lengths = np.ndarray(places, "<u8", data, first, (1,))  # one beginning at every byte
        noted = np.ndarray(places, "<u4", data, first + 8, (1,))
        near = np.flatnonzero(lengths <= stop - first)
        unique, which = np.unique(lengths[near], return_inverse=True)
        right = np.array([masked_crc(length.tobytes()) for length in unique], np.uint32)
        for place in near[noted[near] == right[which]]:
            if not _examine(data, first + int(place))[1]:
                return first + int(place)
    return len(data)
