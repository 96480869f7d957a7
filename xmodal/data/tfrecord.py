"""TFRecord files: reading them with every checksum verified, and writing them.

A shard is a sequence of records, and a record is (all little-endian)::

    u64 length | u32 checksum of the 8 length bytes | payload | u32 checksum of the payload

A checksum is a CRC-32C, masked: rotated right by 15 bits, then 0xa282ead8 added, modulo 2**32
(TFRecord format specification).
"""

import os
import struct
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from google_crc32c import value as crc32c

from xmodal.config import InputError
from xmodal.files import atomic, files_below

HEADER = struct.Struct("<QI")
FOOTER = struct.Struct("<I")


class Record(NamedTuple):
    """One record of a shard: its number (from 0), where its header begins (bytes), its payload."""

    number: int
    offset: int
    payload: bytes


def masked_crc(data: bytes) -> int:
    """Return the checksum of some bytes, as records hold it."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def shards_below(folder: Path) -> dict[str, Path]:
    """Find the ``*.tfrecord`` in a folder and below, by their names there, hidden ones left out."""
    names = {path.relative_to(folder).as_posix(): path for path in files_below(folder)}
    shards = {n: names[n] for n in names if n.endswith(".tfrecord") and "/." not in f"/{n}"}
    if not shards:
        raise InputError(f"{folder}: the folder holds no *.tfrecord file; check the path.")
    return shards


def read_records(path: str | os.PathLike[str]) -> Iterator[Record]:
    """Read every record of a shard, verifying both checksums of each; InputError if it is damaged.

    A file that was cut exactly between two records looks complete: the format holds no count.
    """
    for record, checksum in _scan(Path(path)):
        if masked_crc(record.payload) != checksum:
            raise _damaged(path, record.number, record.offset, "its payload has a wrong checksum")
        yield record


def scan_records(path: str | os.PathLike[str]) -> tuple[int, str]:
    """Return the number of records and the SHA-256 of their payloads' checksums, unverified."""
    checksums = [FOOTER.pack(checksum) for _, checksum in _scan(Path(path))]
    return len(checksums), sha256(b"".join(checksums)).hexdigest()


def write_records(path: str | os.PathLike[str], payloads: Iterable[bytes]) -> int:
    """Write a TFRecord file, which appears only when it is complete; return the record count."""
    count = 0
    with atomic(Path(path)) as fresh, fresh.open("wb") as file:
        for payload in payloads:
            length = struct.pack("<Q", len(payload))
            file.write(length + FOOTER.pack(masked_crc(length)))
            file.write(payload + FOOTER.pack(masked_crc(payload)))
            count += 1
    return count


def _scan(path: Path) -> Iterator[tuple[Record, int]]:
    """Walk a file from header to header: yield each record and its payload's noted checksum."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path.") from error
    offset = number = 0
    while offset < len(data) or not number:
        header = data[offset : offset + HEADER.size]
        if len(header) < HEADER.size:
            raise _damaged(path, number, offset, "the file ends inside its header")
        length, checksum = HEADER.unpack(header)
        if masked_crc(header[:8]) != checksum:
            raise _damaged(path, number, offset, "its length has a wrong checksum")
        begin, end = offset + HEADER.size, offset + HEADER.size + length
        if end + FOOTER.size > len(data):
            raise _damaged(path, number, offset, "the file ends inside its payload")
        yield Record(number, offset, data[begin:end]), FOOTER.unpack_from(data, end)[0]
        offset, number = end + FOOTER.size, number + 1


def _damaged(path: str | os.PathLike[str], number: int, offset: int, what: str) -> InputError:
    place = f"{os.fspath(path)}: record {number} at byte {offset}"
    return InputError(f"{place}: {what}; the file is damaged or no TFRecord file, fetch it again.")
