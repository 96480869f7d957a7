"""Reading a damaged shard: every record that is whole, and what lies between them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xmodal.data.framing import FOOTER, FRAMING, HEADER, foreign, masked_crc, span_at

_WINDOW = 1 << 16


class Stretch(NamedTuple):
    """A whole record of a file, or a stretch that is none.

    ``number`` counts both; ``offset`` and ``size`` are in bytes, header included. Of a whole record
    ``kind`` is empty. Else it is "unreadable", "empty", "no TFRecord", "length checksum", "payload
    checksum" or "truncated", ``reason`` is a sentence about this stretch, and there is no payload.
    """

    number: int
    offset: int
    size: int
    kind: str = ""
    reason: str = ""
    payload: bytes = b""


def salvage_records(path: Path) -> Iterator[Stretch]:
    """Cut any file, without gap, into its whole records and the damage between them.

    After damage the next record is where both checksums are right (our choice; the format has no
    marks to find a record by), or where a record ends of which the payload alone is wrong, if a
    header or the file's end is there. So no whole record is lost. Bytes taken for a record by
    chance pass 64 bits of checksums; only a payload that itself holds a TFRecord file can be
    mistaken for one, and only next to damage. A file that was cut exactly between two records shows
    none: the format holds no count.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        yield Stretch(0, 0, 0, "unreadable", f"the file cannot be read ({error.strerror})")
        return
    if not data:
        yield Stretch(0, 0, 0, "empty", "the file is empty (0 bytes)")
    number = offset = 0
    while offset < len(data):
        end, kind, reason = _record_at(data, offset)
        if kind and not _is_boundary(data, end):
            end = min(end, _next_record(data, offset + 1))
        if kind == "length checksum" and (offset, end) == (0, len(data)):
            kind, said = "no TFRecord", foreign(data)
            reason = f"the file {said or 'holds no TFRecord record at all'}"
        payload = b"" if kind else data[offset + HEADER.size : end - FOOTER.size]
        yield Stretch(number, offset, end - offset, kind, reason, payload)
        number, offset = number + 1, end


def _record_at(data: bytes, offset: int) -> tuple[int, str, str]:
    """Return what `span_at` does, the checksum of the payload verified, too."""
    end, kind, reason = span_at(data, offset)
    if not kind:
        payload = data[offset + HEADER.size : end - FOOTER.size]
        if masked_crc(payload) != FOOTER.unpack_from(data, end - FOOTER.size)[0]:
            return end, "payload checksum", "the checksum of the payload is wrong"
    return end, kind, reason


def _is_boundary(data: bytes, offset: int) -> bool:
    """Tell whether the file ends here, or a right header stands here."""
    header = data[offset : offset + HEADER.size]
    if len(header) < HEADER.size:
        return offset == len(data)
    return masked_crc(header[:8]) == HEADER.unpack(header)[1]


def _next_record(data: bytes, start: int) -> int:
    """Return where the next whole record begins, or the file's end.

    Every byte is tried, many at once: first the lengths that fit into the file are found, then the
    checksum is computed once for each length that occurs.
    """
    stop = len(data) - FRAMING + 1
    for first in range(start, stop, _WINDOW):
        places = min(_WINDOW, stop - first)
        lengths = np.ndarray(places, "<u8", data, first, (1,))  # one beginning at every byte
        checksums = np.ndarray(places, "<u4", data, first + 8, (1,))
        near = np.flatnonzero(lengths <= stop - first)
        unique, which = np.unique(lengths[near], return_inverse=True)
        right = np.array([masked_crc(length.tobytes()) for length in unique], np.uint32)
        for place in near[checksums[near] == right[which]].tolist():
            if not _record_at(data, first + place)[1]:
                return first + place
    return len(data)
