"""Salvage: whatever is done to a shard, each record that was left alone comes back."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmodal.data.framing import read_records, write_records
from xmodal.youtube8m.salvage import Stretch, salvage_records

PAYLOADS = [b"first", b"", b"123456789", b"the last one"]
# A record takes 16 bytes beside its payload.
STARTS = [0, 21, 37, 62, 90]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "a.tfrecord"
    write_records(path, PAYLOADS)
    return path.read_bytes()


@pytest.fixture(scope="module")
def salvage(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], list[Stretch]]:
    """Give ``salvage(content)``: what is found in a file; that it has no gap is checked."""
    path = tmp_path_factory.mktemp("salvage") / "a.tfrecord"

    def run(content: bytes) -> list[Stretch]:
        path.write_bytes(content)
        found = list(salvage_records(path))
        position = 0
        for number, part in enumerate(found):
            assert (part.number, part.offset) == (number, position)
            position += part.size
        assert position == len(content)
        return found

    return run


def payloads(found: list[Stretch]) -> list[bytes]:
    return [part.payload for part in found if not part.kind]


def damages(found: list[Stretch]) -> list[tuple[int, int, int, str]]:
    return [part[:4] for part in found if part.kind]


def is_within(some: list[bytes], all_: list[bytes]) -> bool:
    """Tell whether all of ``some`` are there, in their order."""
    rest = iter(all_)
    return all(one in rest for one in some)


def test_a_whole_file_is_read_as_ever(content: bytes, salvage: Callable, tmp_path: Path) -> None:
    (tmp_path / "a.tfrecord").write_bytes(content)
    whole = [(part.number, part.offset, part.payload) for part in salvage(content)]
    assert whole == list(read_records(tmp_path / "a.tfrecord"))


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        (0, "length checksum"),
        (7, "length checksum"),
        (8, "length checksum"),
        (12, "payload checksum"),
        (20, "payload checksum"),
        (21, "payload checksum"),
        (24, "payload checksum"),
    ],
)
@pytest.mark.parametrize("number", [0, 2, 3])
def test_one_changed_byte_costs_one_record(
    content: bytes, salvage: Callable, number: int, place: int, kind: str
) -> None:
    changed = bytearray(content)
    place = min(place, STARTS[number + 1] - STARTS[number] - 1)
    changed[STARTS[number] + place] ^= 64
    found = salvage(bytes(changed))
    assert damages(found) == [(number, STARTS[number], STARTS[number + 1] - STARTS[number], kind)]
    assert payloads(found) == PAYLOADS[:number] + PAYLOADS[number + 1 :]


def test_damaged_neighbours_are_told_apart_where_the_first_header_is_right(
    content: bytes, salvage: Callable
) -> None:
    changed = bytearray(content)
    changed[13] ^= 1
    changed[21] ^= 1
    found = salvage(bytes(changed))
    assert damages(found) == [(0, 0, 21, "payload checksum"), (1, 21, 16, "length checksum")]
    assert payloads(found) == PAYLOADS[2:]


def test_a_cut_anywhere_costs_the_record_that_was_cut(content: bytes, salvage: Callable) -> None:
    for size in range(1, len(content)):
        whole = sum(end <= size for end in STARTS[1:])
        found = salvage(content[:size])
        assert payloads(found) == PAYLOADS[:whole]
        at = STARTS[whole]
        assert damages(found) == ([] if at == size else [(whole, at, size - at, "truncated")])


def test_two_reasons_of_truncation(content: bytes, salvage: Callable) -> None:
    assert salvage(content[: 62 + 11])[-1].reason == "the file ends inside the header"
    assert salvage(content[:-1])[-1].reason == (
        "the record needs 16 bytes after its header but the file has 15"
    )


@pytest.mark.parametrize("garbage", [b"\0", b"<html>", bytes(12), bytes(70_000), b"\xff" * 40])
def test_garbage_between_records_costs_none(
    content: bytes, salvage: Callable, garbage: bytes
) -> None:
    found = salvage(content[:37] + garbage + content[37:])
    assert payloads(found) == PAYLOADS
    assert damages(found) == [(2, 37, len(garbage), "length checksum")]


def test_bytes_lost_inside_a_payload_cost_one_record(content: bytes, salvage: Callable) -> None:
    # The record's length now reaches into the next record, which is there all the same.
    found = salvage(content[:50] + content[53:])
    assert payloads(found) == [PAYLOADS[0], PAYLOADS[1], PAYLOADS[3]]
    assert damages(found) == [(2, 37, 22, "payload checksum")]


def test_a_file_that_goes_on_after_a_cut_costs_one_record(
    content: bytes, salvage: Callable
) -> None:
    found = salvage(content[:80] + content)
    assert payloads(found) == [*PAYLOADS[:3], *PAYLOADS]
    assert damages(found) == [(3, 62, 18, "payload checksum")]


def test_a_right_length_checksum_alone_makes_no_record(content: bytes, salvage: Callable) -> None:
    # The header of the first record, taken out of its place, is followed by other bytes.
    found = salvage(b"\1" + content[:12] + b"\2" * 30 + content[21:])
    assert payloads(found) == PAYLOADS[1:]
    assert damages(found) == [(0, 0, 43, "length checksum")]


def test_a_last_record_without_contents_is_found(content: bytes, salvage: Callable) -> None:
    found = salvage(b"garbage, garbage" + content[21:37])
    assert payloads(found) == [b""]


def test_a_damaged_payload_that_holds_records_gives_none(
    content: bytes, salvage: Callable, tmp_path: Path
) -> None:
    write_records(tmp_path / "a.tfrecord", [content + b"?", b"next"])
    nested = bytearray((tmp_path / "a.tfrecord").read_bytes())
    nested[12 + len(content)] ^= 1
    assert payloads(salvage(bytes(nested))) == [b"next"]


@pytest.mark.parametrize(
    "other", [b"\x89PNG\r\n\x1a\n" + bytes(90), b"<!DOCTYPE html>\n<html>404</html>\n", b"{}"]
)
def test_another_kind_of_file_is_one_stretch(salvage: Callable, other: bytes) -> None:
    kind = "no TFRecord" if len(other) >= 12 else "truncated"
    assert damages(salvage(other)) == [(0, 0, len(other), kind)]


def test_nothing_to_read_is_told(tmp_path: Path, salvage: Callable) -> None:
    assert damages(salvage(b"")) == [(0, 0, 0, "empty")]
    assert damages(list(salvage_records(tmp_path))) == [(0, 0, 0, "unreadable")]


@given(data=st.data())
def test_what_was_left_alone_comes_back_and_nothing_else(
    salvage: Callable, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bodies = data.draw(st.lists(st.binary(max_size=40), min_size=1, max_size=6))
    source = tmp_path_factory.mktemp("any") / "a.tfrecord"
    write_records(source, bodies)
    content = bytearray(source.read_bytes())
    bounds = [0]
    for body in bodies:
        bounds.append(bounds[-1] + len(body) + 16)
    places = st.integers(0, len(content) - 1)
    touched = set(data.draw(st.lists(places, max_size=6)))
    for place in touched:
        content[place] ^= data.draw(st.integers(1, 255))
    # Stretches are taken out or garbage is put in, from the end on so that places stay right.
    edits = st.tuples(st.integers(0, len(content)), st.integers(0, 50), st.binary(max_size=30))
    split: set[int] = set()
    last = len(content) + 1
    for place, lost, put in sorted(data.draw(st.lists(edits, max_size=3)), reverse=True):
        end = min(place + lost, len(content))
        if end >= last or not (end > place or put):
            continue
        content[place:end] = put
        touched |= set(range(place, end))
        split.add(place)
        last = place
    whole = [
        body
        for body, begin, end in zip(bodies, bounds, bounds[1:])
        if touched.isdisjoint(range(begin, end)) and not any(begin < at < end for at in split)
    ]
    found = payloads(salvage(bytes(content)))
    assert is_within(whole, found)
    # What was taken out may leave the halves of two headers that are alike: one record, and whole.
    assert is_within(found, bodies) if split else found == whole


def test_an_absurd_length_costs_one_record(content: bytes, salvage: Callable) -> None:
    # 2**63, with its masked checksum as another implementation of CRC-32C gives it
    crc = 0xFFFFFFFF
    for byte in (length := struct.pack("<Q", 2**63)):
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    masked = ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) % 2**32
    found = salvage(content[:21] + length + struct.pack("<I", masked) + b"x" * 9 + content[21:])
    assert payloads(found) == PAYLOADS
    assert damages(found) == [(1, 21, 21, "truncated")]
