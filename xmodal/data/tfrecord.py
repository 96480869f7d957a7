"""TFRecord files: reading them with every checksum verified, and writing them.

A shard is a sequence of records, and a record is (all little-endian)::

    u64 length | u32 checksum of the 8 length bytes | payload | u32 checksum of the payload

A checksum is a CRC-32C, masked: rotated right by 15 bits, then 0xa282ead8 added, modulo 2**32
(TFRecord format specification).
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from google_crc32c import value as crc32c

from xmodal.config import InputError
from xmodal.files import atomic, files_below


def checksum(data: bytes) -> bytes:
    """Return the checksum of some bytes, as records hold it."""
    crc = crc32c(data)
    return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def shards_below(folder: Path) -> dict[str, Path]:
    """Find the ``*.tfrecord`` in a folder and below, by their names there, hidden ones left out."""
    names = {path.relative_to(folder).as_posix(): path for path in files_below(folder)}
    shards = {n: names[n] for n in names if n.endswith(".tfrecord") and "/." not in f"/{n}"}
    if not shards:
        raise InputError(f"{folder}: the folder holds no *.tfrecord file; check the path.")
    return shards


def read_records(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """Read the payload of every record of a shard; InputError if a checksum is wrong.

    A file that was cut exactly between two records looks complete: the format holds no count.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path.") from error
    begin = number = 0
    while begin < len(data) or not number:
        length, payload = data[begin : begin + 8], begin + 12
        end = payload + int.from_bytes(length, "little")
        whole = data[begin + 8 : payload] == checksum(length) and end + 4 <= len(data)
        if not whole or data[end : end + 4] != checksum(data[payload:end]):
            raise InputError(
                f"{path}: record {number} is cut off or has a wrong checksum; the file is damaged "
                "or no TFRecord file, fetch it again."
            )
        yield data[payload:end]
        begin, number = end + 4, number + 1


def write_records(path: str | os.PathLike[str], payloads: Iterable[bytes]) -> None:
    """Write a TFRecord file, which appears only when it is complete."""
    with atomic(Path(path)) as fresh, fresh.open("wb") as file:
        for payload in payloads:
            length = len(payload).to_bytes(8, "little")
            file.write(length + checksum(length) + payload + checksum(payload))
