"""The TFRecord framing: reading with every checksum verified, and writing.

A shard is a sequence of records, and a record is (all little-endian)::

    u64 length | u32 checksum of the 8 length bytes | payload | u32 checksum of the payload

A checksum is a CRC-32C, masked: rotated right by 15 bits, then 0xa282ead8 added, modulo 2**32
(TFRecord format specification).
"""

import os
import struct
import sys
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from google_crc32c import value as crc32c

from xmodal.config import InputError
from xmodal.files import atomic, files_below

HEADER = struct.Struct("<QI")
FOOTER = struct.Struct("<I")
FRAMING = HEADER.size + FOOTER.size
"""Bytes of a record beside its payload."""
FOREIGN = {
    b"\x1f\x8b": "is compressed; unpack it with gunzip",
    b"version https://git-lfs": "is no shard but the pointer of one; fetch it with git lfs pull",
    b"<": "is a web page, as servers send in place of a file; fetch it again",
}
"""By their first bytes: what is often found in place of a shard, and what to do."""


class Record(NamedTuple):
    """One record of a shard: its number (from 0), where its header begins (bytes), its payload."""

    number: int
    offset: int
    payload: bytes


def masked_crc(data: bytes) -> int:
    """Return the checksum of some bytes, as records hold it."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_records(path: str | os.PathLike[str]) -> Iterator[Record]:
    """Read every record of a shard, verifying both checksums of each.

    A file that was cut exactly between two records looks whole: the format holds no count.
    """
    path = Path(path)
    data = _read_bytes(path)
    for number, offset, begin, end in _spans(path, data):
        payload = data[begin:end]
        if masked_crc(payload) != FOOTER.unpack_from(data, end)[0]:
            raise InputError(
                f"{path}: record {number} at byte {offset}: the checksum of the payload is wrong; "
                "the file is damaged, so fetch it again."
            )
        yield Record(number, offset, payload)


def shards_below(folder: Path) -> dict[str, Path]:
    """Find the ``*.tfrecord`` in a folder and below, by their names there; say what is passed over.

    InputError if there is none, or one is a pipe or has a name that is no text.
    """
    like = {
        path.relative_to(folder).as_posix(): path
        for path in files_below(folder)
        if "tfrecord" in path.name.lower() or not path.exists()
    }
    shards = {n: like[n] for n in like if n.endswith(".tfrecord") and "/." not in f"/{n}"}
    for name, path in shards.items():
        text = os.fsencode(name).decode(errors="backslashreplace")
        if text != name or (path.exists() and not (path.is_file() or path.is_dir())):
            raise InputError(
                f"{folder / text}: is no file, or its name no UTF-8; rename or remove it."
            )
    passed = ", ".join([name for name in like if name not in shards][:9])
    if not shards:
        but = f" but {passed}" if passed else ""
        raise InputError(f"{folder}: the folder holds no *.tfrecord file{but}; check the path.")
    if passed:
        print(f"{folder}: not read, as no *.tfrecord: {passed}", file=sys.stderr)
    return shards


def foreign(data: bytes) -> str:
    """Say what a file is that holds no record, if that can be told, and what to do; or ""."""
    begin = data[:64].lstrip()
    return next((said for start, said in FOREIGN.items() if begin.startswith(start)), "")


def scan_records(path: str | os.PathLike[str]) -> tuple[int, str]:
    """Return the number of records and the SHA-256 of their payloads' checksums, unverified."""
    path = Path(path)
    data = _read_bytes(path)
    checksums = [data[end : end + FOOTER.size] for _, _, _, end in _spans(path, data)]
    return len(checksums), sha256(b"".join(checksums)).hexdigest()


def first_payload(path: str | os.PathLike[str]) -> bytes:
    """Return the payload of a shard's first record, unverified and without reading on; or b""."""
    with Path(path).open("rb") as file:
        header = file.read(8 + FOOTER.size)
        length = int.from_bytes(header[:8], "little")
        return file.read(length) if length < os.fstat(file.fileno()).st_size else b""


def write_records(path: str | os.PathLike[str], payloads: Iterable[bytes]) -> int:
    """Write a TFRecord file, which appears only when it is whole; return the number of records."""
    count = 0
    with atomic(Path(path)) as fresh, fresh.open("wb") as file:
        for payload in payloads:
            length = struct.pack("<Q", len(payload))
            file.write(length + FOOTER.pack(masked_crc(length)))
            file.write(payload + FOOTER.pack(masked_crc(payload)))
            count += 1
    return count


def _read_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); check the path and permissions."
        ) from error
    if not data:
        raise InputError(f"{path}: the file is empty (0 bytes); fetch it again.")
    return data


def span_at(data: bytes, offset: int) -> tuple[int, str, str]:
    """Return where the record at ``offset`` ends, by its header alone; kind and reason if bad.

    Where that is unknown, it is past the end of the file.
    """
    unknown, begin = len(data) + 1, offset + HEADER.size
    if begin > len(data):
        return unknown, "truncated", "the file ends inside the header"
    length, length_crc = HEADER.unpack_from(data, offset)
    if masked_crc(data[offset : offset + 8]) != length_crc:
        return unknown, "length checksum", "the checksum of the length is wrong"
    end = begin + length + FOOTER.size
    if end > len(data):
        needed = f"the record needs {length + FOOTER.size} bytes after its header"
        return unknown, "truncated", f"{needed} but the file has {len(data) - begin}"
    return end, "", ""


def _spans(path: Path, data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Walk the headers: yield number, offset, and where the payload begins and ends."""
    offset = number = 0
    while offset < len(data):
        end, kind, reason = span_at(data, offset)
        if kind and not number and (said := foreign(data)):
            raise InputError(f"{path}: {said}.")
        if kind:
            what = "cut short" if kind == "truncated" else "damaged"
            what += "" if number else " or is not a TFRecord file"
            raise InputError(
                f"{path}: record {number} at byte {offset}: {reason}; the file is {what}, so "
                "fetch it again or remove it."
            )
        yield number, offset, offset + HEADER.size, end - FOOTER.size
        offset, number = end, number + 1
