"""The TFRecord framing, against a checksum computed bit by bit and against every kind of damage."""

import gzip
import os
import struct
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmodal.config import InputError
from xmodal.data.tfrecord import (
    first_payload,
    read_records,
    scan_records,
    shards_below,
    write_records,
)

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


def test_records_come_with_number_offset_and_payload(shard: Path) -> None:
    # A record takes 16 bytes beside its payload.
    assert list(read_records(shard)) == [(0, 0, b"first"), (1, 21, b""), (2, 37, b"123456789")]
    assert scan_records(shard)[0] == 3


@given(payloads=st.lists(st.binary(max_size=300), min_size=1, max_size=6))
def test_any_payloads_survive_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("round") / "a.tfrecord"
    assert write_records(path, payloads) == len(payloads)
    assert [record.payload for record in read_records(path)] == payloads


@given(data=st.data())
def test_a_change_to_any_byte_is_found(shard: Path, data: st.DataObject) -> None:
    content = bytearray(shard.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    damaged = shard.with_name("damaged.tfrecord")
    damaged.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged\.tfrecord: record \d at byte \d+: "):
        list(read_records(damaged))


def test_a_cut_anywhere_but_between_records_is_found(shard: Path) -> None:
    content = shard.read_bytes()
    bounds = [0, 21, 37, len(content)]
    cut = shard.with_name("cut.tfrecord")
    for number, (begin, end) in enumerate(pairwise(bounds)):
        for size in range(begin + 1, end):
            cut.write_bytes(content[:size])
            message = f"cut.tfrecord: record {number} at byte {begin}: "
            with pytest.raises(InputError, match=message):
                list(read_records(cut))
            with pytest.raises(InputError, match=message):
                scan_records(cut)


@pytest.mark.parametrize(
    ("position", "what"),
    [
        (21, "checksum of the length"),
        (21 + 8, "checksum of the length"),
        (37 + 12, "checksum of the payload"),
        (37 + 12 + 9, "checksum of the payload"),
    ],
    ids=["length", "length checksum", "payload", "payload checksum"],
)
def test_damage_is_placed_and_named(shard: Path, position: int, what: str) -> None:
    content = bytearray(shard.read_bytes())
    content[position] ^= 1
    damaged = shard.with_name("damaged.tfrecord")
    damaged.write_bytes(content)
    number, offset = (1, 21) if position < 37 else (2, 37)
    with pytest.raises(
        InputError, match=f"^{damaged}: record {number} at byte {offset}: the {what}"
    ):
        list(read_records(damaged))


def test_an_absurd_length_is_refused_even_with_a_right_checksum(tmp_path: Path) -> None:
    path = tmp_path / "absurd.tfrecord"
    path.write_bytes(frame(b"good") + frame(b"short", length=2**63))
    with pytest.raises(InputError, match="record 1 at byte 20: the record needs 92233720368547758"):
        list(read_records(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"Index,Name\n0,Game\n", "is not a TFRecord file"),
        (gzip.compress(b"a shard"), "is compressed; unpack it with gunzip"),
        (b"\n<!DOCTYPE html>\n<title>404</title>", "is a web page, .* fetch it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12", "with git lfs pull"),
    ],
    ids=["nothing", "text", "gzip", "page", "pointer"],
)
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "other.tfrecord"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_records(path))


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.tfrecord", tmp_path):
        with pytest.raises(InputError, match=f"^{path}: cannot be read"):
            list(read_records(path))


def test_the_digest_changes_with_a_payload_and_with_nothing_else(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path, last in zip(paths, (b"123456789", b"123456789", b"123456780"), strict=True):
        write_records(path, [*PAYLOADS[:2], last])
    (count, digest), same, other = map(scan_records, paths)
    assert same == (count, digest) == (3, digest)
    assert other != (count, digest)


def test_a_write_that_fails_leaves_the_earlier_file_alone(shard: Path) -> None:
    def failing():
        yield b"one"
        raise RuntimeError("injected")

    target = shard.with_name("kept.tfrecord")
    write_records(target, PAYLOADS)
    before, content = set(shard.parent.iterdir()), target.read_bytes()
    with pytest.raises(RuntimeError, match="injected"):
        write_records(target, failing())
    assert target.read_bytes() == content
    assert set(shard.parent.iterdir()) == before


@pytest.mark.parametrize("payloads", [[b"first"], [b"first", b"second"], [b""], []])
def test_the_first_payload_is_that_of_the_first_record(
    tmp_path: Path, payloads: list[bytes]
) -> None:
    path = tmp_path / "a.tfrecord"
    write_records(path, payloads)
    assert first_payload(path) == (payloads[0] if payloads else b"")


@pytest.mark.parametrize("content", [b"", b"short", frame(b"first", length=2**62)])
def test_what_is_no_first_record_has_no_payload(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tfrecord").write_bytes(content)
    assert first_payload(tmp_path / "a.tfrecord") == b""


# --- which files ---------------------------------------------------------------------------------


def test_links_are_followed_and_each_folder_read_once(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "shards").mkdir()
    for place in ("elsewhere/a", "elsewhere/c", "shards/b"):
        (tmp_path / f"{place}.tfrecord").touch()
    (tmp_path / "shards/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "shards/same").symlink_to("more")
    (tmp_path / "elsewhere/loop").symlink_to(tmp_path / "shards")
    (tmp_path / "shards/d.tfrecord").symlink_to("b.tfrecord")
    names = ["b.tfrecord", "d.tfrecord", "more/a.tfrecord", "more/c.tfrecord"]
    assert list(shards_below(tmp_path / "shards")) == names


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: os.mkfifo(path / "b.tfrecord"), "b.tfrecord: is no file"),
        (lambda path: (path / os.fsdecode(b"\xe9.tfrecord")).touch(), r"xe9.tfrecord: .* no UTF-8"),
    ],
)
def test_what_nobody_could_read_is_told_before_the_work(tmp_path: Path, make, said: str) -> None:
    (tmp_path / "a.tfrecord").touch()
    make(tmp_path)
    with pytest.raises(InputError, match=said):
        shards_below(tmp_path)


def test_what_looks_like_a_shard_and_is_not_read_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.tfrecord", "b.tfrecord.gz", "._a.tfrecord", "vocabulary.csv"):
        (tmp_path / name).touch()
    (tmp_path / "validate").symlink_to(tmp_path / "gone")
    assert list(shards_below(tmp_path)) == ["a.tfrecord"]
    told = f"{tmp_path}: not read, as no *.tfrecord: ._a.tfrecord, b.tfrecord.gz, validate\n"
    assert capsys.readouterr() == ("", told)
    (tmp_path / "a.tfrecord").unlink()
    with pytest.raises(InputError, match=r"no \*.tfrecord file but ._a.tfrecord"):
        shards_below(tmp_path)
