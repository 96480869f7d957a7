"""A shard at once gives what clip by clip gives, or leaves the shard to that."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmodal.config import InputError
from xmodal.data.columns import Columns, read_ordinary
from xmodal.data.example import delimited, encode_varint, entry
from xmodal.data.framing import write_records
from xmodal.data.schema import Clip, encode_example, parse_example, read_columns, read_shard

MakeClips = Callable[..., list[Clip]]


def columns_of(clips: list[Clip]) -> Columns:
    ids, labels, visual, audio = zip(*clips)
    counts = np.array([len(some) for some in labels], np.int64)
    return Columns(list(ids), counts, np.concatenate(labels), np.array(visual), np.array(audio))


def assert_same(ours: Columns, theirs: Columns) -> None:
    assert ours.ids == theirs.ids
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def encode(clip: Clip, order: list[int], labels: bytes | None = None) -> bytes:
    """An example with its entries in some order, and its labels as any bytes."""
    if labels is None:
        labels = b"".join(encode_varint(int(label)) for label in clip.labels)
    entries = [
        entry("id", 1, clip.id.encode()),
        entry("labels", 3, labels),
        entry("mean_rgb", 2, clip.visual.tobytes()),
        entry("mean_audio", 2, clip.audio.tobytes()),
    ]
    return delimited(1, b"".join(entries[place] for place in order))


@given(
    labels=st.lists(
        st.lists(st.integers(0, 2**28 - 1), min_size=1, max_size=20, unique=True).map(sorted),
        min_size=1,
        max_size=5,
    ),
    order=st.permutations(range(4)),
    tail=st.sampled_from([b"", b"\x12\x00"]),
)
@settings(max_examples=50)
def test_an_ordinary_shard_is_read_at_once(
    tmp_path_factory: pytest.TempPathFactory,
    make_clips: MakeClips,
    labels: list[list[int]],
    order: list[int],
    tail: bytes,
) -> None:
    path = tmp_path_factory.mktemp("ordinary") / "a.tfrecord"
    clips = [
        clip._replace(labels=np.array(some, np.int32))
        for clip, some in zip(make_clips(len(labels), seed=0), labels, strict=True)
    ]
    write_records(path, [encode(clip, order) + tail for clip in clips])
    columns = read_ordinary(path)
    assert columns is not None
    assert_same(columns, columns_of(clips))
    assert_same(columns_of(list(read_shard(path))), columns)


@given(data=st.data())
@settings(max_examples=300)
def test_a_changed_shard_is_left_alone_or_read_as_clip_by_clip(
    tmp_path_factory: pytest.TempPathFactory, make_clips: MakeClips, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("changed") / "a.tfrecord"
    first, second, third = map(encode_example, make_clips(3, seed=1))
    payload = bytearray(second)
    # The first 60 bytes and the ends of the entries hold the structure; the rest is numbers.
    audio, visual = payload.find(b"mean_audio"), payload.find(b"mean_rgb")
    places = [*range(60), *range(audio - 8, audio + 24), *range(visual - 8, visual + 24)]
    for position in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=2)):
        payload[position] = data.draw(st.integers(0, 255))
    payloads = [first, bytes(payload), third]
    write_records(path, payloads)
    columns = read_ordinary(path)
    if columns is not None:
        assert_same(columns, columns_of([parse_example(payload) for payload in payloads]))


@given(labels=st.binary(min_size=1, max_size=12))
@settings(max_examples=300)
def test_any_bytes_as_labels_are_left_alone_or_read_as_clip_by_clip(
    tmp_path_factory: pytest.TempPathFactory, make_clips: MakeClips, labels: bytes
) -> None:
    path = tmp_path_factory.mktemp("labels") / "a.tfrecord"
    first, second, third = make_clips(3, seed=1)
    payloads = [encode_example(first), encode(second, [0, 1, 2, 3], labels), encode_example(third)]
    write_records(path, payloads)
    columns = read_ordinary(path)
    if columns is not None:
        assert_same(columns, columns_of([parse_example(payload) for payload in payloads]))


def test_what_is_not_ordinary_is_read_clip_by_clip(tmp_path: Path, make_clips: MakeClips) -> None:
    clip, other = make_clips(2, seed=2)
    ids, labels, *features = (
        entry("id", 1, clip.id.encode()),
        entry("labels", 3, b"\x03"),
        entry("mean_rgb", 2, clip.visual.tobytes()),
        entry("mean_audio", 2, clip.audio.tobytes()),
    )
    cases = {
        "unsorted": encode(clip, [0, 1, 2, 3], b"\x05\x01"),
        "repeated": encode(clip, [0, 1, 2, 3], b"\x05\x05"),
        "large": encode(clip, [0, 1, 2, 3], encode_varint(2**30)),
        "none": encode(clip, [0, 1, 2, 3], b""),
        "another key": delimited(
            1, b"".join([ids, labels, *features, entry("title", 1, b"a film")])
        ),
        "release 1": delimited(
            1, b"".join([entry("video_id", 1, clip.id.encode()), labels, *features])
        ),
        "spread": delimited(1, ids + labels) + delimited(1, b"".join(features)),
    }
    for name, payload in cases.items():
        path = tmp_path / f"{name}.tfrecord"
        payloads = [encode_example(other), payload]
        write_records(path, payloads)
        assert read_ordinary(path) is None, name
        expected = columns_of([parse_example(payload) for payload in payloads])
        assert_same(read_columns(path), expected)
        assert_same(columns_of(list(read_shard(path))), expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_clips_before_a_bad_one_are_delivered(
    tmp_path: Path, make_clips: MakeClips, value: float
) -> None:
    clips = make_clips(3, seed=3)
    clips[2].audio[5] = value
    path = tmp_path / "a.tfrecord"
    write_records(path, map(encode_example, clips))
    reader = read_shard(path)
    assert [next(reader).id, next(reader).id] == [clips[0].id, clips[1].id]
    message = f"^{re.escape(str(path))}: record 2 at byte .*`mean_audio` holds .* at position 5"
    with pytest.raises(InputError, match=message):
        next(reader)
    with pytest.raises(InputError, match=message):
        read_columns(path)


def test_damage_is_found_shard_by_shard(tmp_path: Path, make_clips: MakeClips) -> None:
    path = tmp_path / "a.tfrecord"
    write_records(path, map(encode_example, make_clips(3, seed=4)))
    content = bytearray(path.read_bytes())
    content[-3000] ^= 1  # inside the last clip's numbers: only the checksum can tell
    path.write_bytes(content)
    with pytest.raises(InputError, match="record 2 at byte .*: the checksum of the payload"):
        read_columns(path)


def test_huge_but_finite_features_are_read_at_once(tmp_path: Path, make_clips: MakeClips) -> None:
    [clip] = make_clips(1, seed=5)
    clip.visual[:] = np.finfo(np.float32).max
    write_records(tmp_path / "a.tfrecord", [encode_example(clip)])
    columns = read_ordinary(tmp_path / "a.tfrecord")
    assert columns is not None
    np.testing.assert_array_equal(columns.visual, clip.visual[None])


def test_real_shards_are_ordinary(real_shards: Path) -> None:
    for path in sorted((real_shards / "validate").glob("*.tfrecord"))[:3]:
        columns = read_ordinary(path)
        assert columns is not None
        assert_same(columns_of(list(read_shard(path))), columns)
