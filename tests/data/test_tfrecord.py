"""TFRecord files, against a checksum computed bit by bit and against every kind of damage."""

import struct
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmodal.config import InputError
from xmodal.data.tfrecord import read_records, shards_below, write_records

PAYLOADS = [b"first", b"", b"123456789"]


def crc32c_by_bits(data: bytes) -> int:
    """CRC-32C from its definition: reflected polynomial 0x82F63B78, ones in and ones out."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def frame(payload: bytes, length: int | None = None) -> bytes:
    """One record as the format specification has it, with a length that may lie."""

    def masked(data: bytes) -> bytes:
        crc = crc32c_by_bits(data)
        return struct.pack("<I", ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) % 2**32)

    header = struct.pack("<Q", len(payload) if length is None else length)
    return header + masked(header) + payload + masked(payload)


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shard") / "a.tfrecord"
    write_records(path, PAYLOADS)
    return path


def test_the_bitwise_checksum_gives_the_published_check_value() -> None:
    assert crc32c_by_bits(b"123456789") == 0xE3069283


def test_written_bytes_are_those_of_the_specification(shard: Path) -> None:
    assert shard.read_bytes() == b"".join(map(frame, PAYLOADS))
    assert list(read_records(shard)) == PAYLOADS


@given(data=st.data())
def test_a_change_to_any_byte_is_found(shard: Path, data: st.DataObject) -> None:
    content = bytearray(shard.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    damaged = shard.with_name("damaged.tfrecord")
    damaged.write_bytes(content)
    number = (position >= 21) + (position >= 37)  # a record takes 16 bytes beside its payload
    with pytest.raises(InputError, match=rf"damaged\.tfrecord: record {number} "):
        list(read_records(damaged))


def test_a_cut_anywhere_but_between_records_is_found(shard: Path) -> None:
    content = shard.read_bytes()
    cut = shard.with_name("cut.tfrecord")
    for number, (begin, end) in enumerate(pairwise([0, 21, 37, len(content)])):
        for size in range(begin + 1, end):
            cut.write_bytes(content[:size])
            with pytest.raises(InputError, match=f"record {number} .*cut"):
                list(read_records(cut))


@pytest.mark.parametrize(
    "content",
    [b"", b"Index,Name\n0,Game\n", b"version https://git-lfs", frame(b"short", length=2**63)],
    ids=["nothing", "text", "pointer", "absurd length"],
)
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.tfrecord"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"other\.tfrecord: record 0 "):
        list(read_records(path))


def test_links_are_followed_each_folder_is_read_once_and_hidden_files_never(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "shards").mkdir()
    for place in ("elsewhere/a", "elsewhere/c", "shards/b", "shards/._b"):
        (tmp_path / f"{place}.tfrecord").touch()
    (tmp_path / "shards/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "shards/same").symlink_to("more")
    (tmp_path / "elsewhere/loop").symlink_to(tmp_path / "shards")
    (tmp_path / "shards/d.tfrecord").symlink_to("b.tfrecord")
    names = ["b.tfrecord", "d.tfrecord", "more/a.tfrecord", "more/c.tfrecord"]
    assert list(shards_below(tmp_path / "shards")) == names
