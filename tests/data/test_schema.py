"""The schema: protobuf against bytes made by hand, and the fast path against protobuf."""

import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from by_hand import delimited, entry, example, varint
from hypothesis import given, settings
from hypothesis import strategies as st

from xmodal.config import InputError
from xmodal.data.schema import (
    AUDIO_DIM,
    FEATURE_RANGE,
    VISUAL_DIM,
    Clip,
    Columns,
    encode_example,
    is_release_1,
    labelled_release,
    parse_example,
    read_columns,
    read_ordinary,
    read_shard,
)
from xmodal.data.tfrecord import read_records, write_records
from xmodal.data.vocabulary import read_vocabulary

MakeClips = Callable[..., list[Clip]]
ID, LABELS, VISUAL, AUDIO = "id", "labels", "mean_rgb", "mean_audio"


def packed(numbers: list[float]) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


def entries_of(clip: Clip, id_key: str = ID) -> dict[str, bytes]:
    """The entries of a clip, in the order of release 2's keys."""
    return {
        id_key: entry(id_key, 1, clip.id.encode()),
        LABELS: entry(LABELS, 3, b"".join(varint(int(label)) for label in clip.labels)),
        AUDIO: entry(AUDIO, 2, packed(clip.audio.tolist())),
        VISUAL: entry(VISUAL, 2, packed(clip.visual.tolist())),
    }


def written(clip: Clip, id_key: str = ID, **replaced: bytes) -> bytes:
    return example(*{**entries_of(clip, id_key), **replaced}.values())


def columns_of(clips: list[Clip]) -> Columns:
    ids, labels, visual, audio = zip(*clips)
    counts = np.array([len(some) for some in labels], np.int64)
    return Columns(list(ids), counts, np.concatenate(labels), np.array(visual), np.array(audio))


def assert_same(ours: Clip | Columns, theirs: Clip | Columns) -> None:
    assert ours[0] == theirs[0]
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def clip(make_clips: MakeClips) -> Clip:
    return make_clips(1, seed=0)[0]


# --- one clip ------------------------------------------------------------------------------------


@given(
    labels=st.lists(st.integers(0, 2**31 - 1), unique=True, min_size=1, max_size=20).map(sorted),
    seed=st.integers(0, 99),
)
def test_what_is_written_is_the_wire_format_and_is_read(
    make_clips: MakeClips, labels: list[int], seed: int
) -> None:
    clip = make_clips(1, seed)[0]._replace(labels=np.array(labels, np.int32))
    payload = encode_example(clip)
    assert payload == written(clip)
    assert_same(parse_example(payload), clip)


@pytest.mark.parametrize("id_key", ["id", "video_id"])
def test_both_releases_are_read(clip: Clip, id_key: str) -> None:
    payload = written(clip, id_key)
    assert_same(parse_example(payload), clip)
    assert is_release_1(payload) == (id_key == "video_id")


def test_a_clip_with_both_ids_is_of_release_2(clip: Clip) -> None:
    both = written(clip) + example(entry("video_id", 1, b"another"))
    assert not is_release_1(both)
    assert_same(parse_example(both), clip)


def test_no_labels_are_read_back(clip: Clip) -> None:
    unlabelled = clip._replace(labels=np.zeros(0, np.int32))
    assert_same(parse_example(encode_example(unlabelled)), unlabelled)
    assert_same(parse_example(written(unlabelled)), unlabelled)


def single(key: str, kind: int, values: list[bytes]) -> bytes:
    """An entry whose values stand one by one, each in a field of its own."""
    feature = delimited(kind, b"".join(values))
    return delimited(1, delimited(1, key.encode()) + delimited(2, feature))


def test_values_need_not_be_packed_nor_features_together(clip: Clip) -> None:
    labels = single(LABELS, 3, [b"\x08" + varint(int(label)) for label in clip.labels])
    audio = single(AUDIO, 2, [b"\x0d" + packed([value]) for value in clip.audio.tolist()])
    assert_same(parse_example(written(clip, labels=labels, mean_audio=audio)), clip)
    apart = b"".join(map(example, entries_of(clip).values()))
    assert_same(parse_example(apart), clip)  # concatenated messages merge (encoding guide)


def test_of_two_entries_with_one_key_the_last_stands(clip: Clip) -> None:
    first = example(entry(LABELS, 3, b"\x05\x06"))
    assert_same(parse_example(first + written(clip)), clip)


def test_unknown_keys_and_fields_are_passed_over(clip: Clip) -> None:
    # Fields 15 (varint 300), 16 (8 bytes) and 17 (4 bytes) are not the message's.
    stray = b"\x78\xac\x02" + b"\x81\x01" + bytes(8) + b"\x8d\x01" + bytes(4)
    assert_same(parse_example(written(clip, title=entry("title", 1, b"a film")) + stray), clip)


def test_labels_come_ascending_and_once(clip: Clip) -> None:
    payload = written(clip, labels=entry(LABELS, 3, b"\x06\x02\x06" + varint(3861)))
    assert parse_example(payload).labels.tolist() == [2, 6, 3861]


@given(payload=st.binary(max_size=200))
def test_noise_is_refused(payload: bytes) -> None:
    with pytest.raises(InputError):
        parse_example(payload)


def test_a_message_cut_anywhere_is_refused(clip: Clip) -> None:
    payload = encode_example(clip)
    for size in range(0, len(payload), 7):
        with pytest.raises(InputError):
            parse_example(payload[:size])


NAN_AT_5 = [0.0] * 5 + [float("nan")] + [0.0] * (VISUAL_DIM - 6)
MINUS_ONE = varint(2**64 - 1)
FAULTS: dict[str, tuple[str, bytes, str]] = {
    "no id": (ID, b"", "`id` (or `video_id`) is missing (found: labels, mean_audio, mean_rgb)"),
    "no visual": (VISUAL, b"", "`mean_rgb` is missing"),
    "no audio": (AUDIO, b"", "`mean_audio` is missing"),
    "short visual": (VISUAL, entry(VISUAL, 2, bytes(4 * 1023)), "`mean_rgb` holds 1023 values whe"),
    "long audio": (AUDIO, entry(AUDIO, 2, bytes(4 * 129)), "`mean_audio` holds 129 values where "),
    "empty audio": (AUDIO, entry(AUDIO, 2, b""), "`mean_audio` holds 0 values where 128"),
    "bytes for floats": (VISUAL, entry(VISUAL, 1, b"x"), "holds bytes values where float values"),
    "floats for labels": (LABELS, entry(LABELS, 2, bytes(4)), "holds float values where int64 val"),
    "number for id": (ID, entry(ID, 3, b"\x01"), "`id` holds int64 values where bytes values"),
    "nothing for id": (ID, delimited(1, delimited(1, b"id")), "`id` holds no values where bytes"),
    "two ids": (ID, single(ID, 1, [delimited(1, b"a")] * 2), "`id` must be one printable ASCII"),
    "empty id": (ID, entry(ID, 1, b""), "`id` must be one printable ASCII text"),
    "unprintable id": (ID, entry(ID, 1, b"a\0"), "`id` must be one printable ASCII text"),
    "not a number": (VISUAL, entry(VISUAL, 2, packed(NAN_AT_5)), "holds nan at position 5"),
    "infinite": (AUDIO, entry(AUDIO, 2, packed([-np.inf] * AUDIO_DIM)), "holds -inf at position 0"),
    "negative label": (LABELS, entry(LABELS, 3, b"\x03" + MINUS_ONE), "label -1 is not a class in"),
    "huge label": (LABELS, entry(LABELS, 3, varint(2**40)), "label 1099511627776 is not a class"),
    "unknown label": (LABELS, entry(LABELS, 3, b"\x01\x07"), "label 7 is outside the vocabulary "),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_clip_is_refused_with_its_place(clip: Clip, tmp_path: Path, fault: str) -> None:
    key, replacement, message = FAULTS[fault]
    path = tmp_path / "bad.tfrecord"
    good = written(clip)
    write_records(path, [good, written(clip, **{key: replacement})])
    place = f"{path}: record 1 at byte {len(good) + 16}: "
    for read in (read_columns, lambda *words: list(read_shard(*words))):
        with pytest.raises(InputError, match="^" + re.escape(place) + ".*" + re.escape(message)):
            read(path, 7)


def test_a_payload_that_is_no_example_is_refused(tmp_path: Path) -> None:
    write_records(tmp_path / "bad.tfrecord", [b"hello, world"])
    with pytest.raises(InputError, match="record 0 at byte 0: the payload is not a tf"):
        read_columns(tmp_path / "bad.tfrecord")


# --- a shard -------------------------------------------------------------------------------------


def test_any_label_goes_without_a_vocabulary(clip: Clip, tmp_path: Path) -> None:
    expected = clip._replace(labels=np.array([10**6], np.int32))
    write_records(tmp_path / "a.tfrecord", [encode_example(expected)])
    [read] = read_shard(tmp_path / "a.tfrecord")
    assert_same(read, expected)


def test_clips_can_be_changed_one_by_one(tmp_path: Path, make_clips: MakeClips) -> None:
    clips = make_clips(3, seed=1)
    write_records(tmp_path / "a.tfrecord", map(encode_example, clips))
    first, second, third = read_shard(tmp_path / "a.tfrecord")
    second.visual[:] = second.audio[:] = 0
    assert_same(first, clips[0])
    assert_same(third, clips[2])


@given(
    labels=st.lists(
        st.lists(st.integers(0, 2**28 - 1), min_size=1, max_size=20, unique=True).map(sorted),
        min_size=1,
        max_size=5,
    ),
    order=st.permutations([ID, LABELS, VISUAL, AUDIO]),
    tail=st.sampled_from([b"", b"\x12\x00"]),
)
@settings(max_examples=50)
def test_an_ordinary_shard_is_read_fast(
    tmp_path_factory: pytest.TempPathFactory,
    make_clips: MakeClips,
    labels: list[list[int]],
    order: list[str],
    tail: bytes,
) -> None:
    path = tmp_path_factory.mktemp("ordinary") / "a.tfrecord"
    clips = [
        clip._replace(labels=np.array(some, np.int32))
        for clip, some in zip(make_clips(len(labels), seed=0), labels, strict=True)
    ]
    write_records(path, [example(*map(entries_of(clip).get, order)) + tail for clip in clips])
    columns = read_ordinary(path)
    assert columns is not None
    assert_same(columns, columns_of(clips))
    assert_same(columns_of(list(read_shard(path))), columns)


def assert_fast_or_left_alone(path: Path, payloads: list[bytes]) -> None:
    """The fast path gives what protobuf gives, or nothing."""
    write_records(path, payloads)
    columns = read_ordinary(path)
    if columns is not None:
        assert_same(columns, columns_of([parse_example(payload) for payload in payloads]))


@given(data=st.data())
@settings(max_examples=300)
def test_a_changed_shard_is_left_alone_or_read_as_protobuf_reads_it(
    tmp_path_factory: pytest.TempPathFactory, make_clips: MakeClips, data: st.DataObject
) -> None:
    first, second, third = map(encode_example, make_clips(3, seed=1))
    payload = bytearray(second)
    # The first 60 bytes and the ends of the entries hold the structure; the rest is numbers.
    audio, visual = payload.find(b"mean_audio"), payload.find(b"mean_rgb")
    places = [*range(60), *range(audio - 8, audio + 24), *range(visual - 8, visual + 24)]
    for position in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=2)):
        payload[position] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("changed") / "a.tfrecord"
    assert_fast_or_left_alone(path, [first, bytes(payload), third])


@given(labels=st.binary(min_size=1, max_size=12))
@settings(max_examples=300)
def test_any_bytes_as_labels_are_left_alone_or_read_as_protobuf_reads_them(
    tmp_path_factory: pytest.TempPathFactory, make_clips: MakeClips, labels: bytes
) -> None:
    first, second, third = make_clips(3, seed=1)
    changed = written(second, labels=entry(LABELS, 3, labels))
    path = tmp_path_factory.mktemp("labels") / "a.tfrecord"
    assert_fast_or_left_alone(path, [encode_example(first), changed, encode_example(third)])


def test_what_is_not_ordinary_is_left_to_protobuf(tmp_path: Path, make_clips: MakeClips) -> None:
    clip, other = make_clips(2, seed=2)
    ids, labels, *features = entries_of(clip).values()
    cases = {
        "unsorted": written(clip, labels=entry(LABELS, 3, b"\x05\x01")),
        "repeated": written(clip, labels=entry(LABELS, 3, b"\x05\x05")),
        "large": written(clip, labels=entry(LABELS, 3, varint(2**30))),
        "none": written(clip, labels=entry(LABELS, 3, b"")),
        "another key": written(clip, title=entry("title", 1, b"a film")),
        "release 1": written(clip, "video_id"),
        "spread": example(ids, labels) + example(*features),
    }
    for name, payload in cases.items():
        path = tmp_path / f"{name}.tfrecord"
        payloads = [encode_example(other), payload]
        write_records(path, payloads)
        assert read_ordinary(path) is None, name
        expected = columns_of([parse_example(payload) for payload in payloads])
        assert_same(read_columns(path), expected)
        assert_same(columns_of(list(read_shard(path))), expected)


@pytest.mark.parametrize("unlabelled", ["all", "first", "middle", "last"])
def test_clips_without_labels_have_none(
    tmp_path: Path, make_clips: MakeClips, unlabelled: str
) -> None:
    clips = make_clips(3, seed=7)
    without = {"all": {0, 1, 2}, "first": {0}, "middle": {1}, "last": {2}}[unlabelled]
    payloads = [
        written(clip, **({LABELS: b""} if row in without else {})) for row, clip in enumerate(clips)
    ]
    path = tmp_path / "a.tfrecord"
    write_records(path, payloads)
    columns = read_ordinary(path)
    assert columns is not None
    assert_same(columns, columns_of([parse_example(payload) for payload in payloads]))
    expected = [0 if row in without else len(clip.labels) for row, clip in enumerate(clips)]
    assert columns.counts.tolist() == expected
    assert [len(clip.labels) for clip in read_shard(path, 7)] == expected


def test_the_release_of_labels_is_told_by_the_key_of_the_id(clip: Clip) -> None:
    assert labelled_release(written(clip)) == 2
    assert labelled_release(written(clip, "video_id")) == 1
    assert labelled_release(written(clip, **{LABELS: b""})) == 0
    assert labelled_release(b"no message") == 0


def test_damage_is_found_shard_by_shard(tmp_path: Path, make_clips: MakeClips) -> None:
    path = tmp_path / "a.tfrecord"
    write_records(path, map(encode_example, make_clips(3, seed=4)))
    content = bytearray(path.read_bytes())
    content[-3000] ^= 1  # inside the last clip's numbers: only the checksum can tell
    path.write_bytes(content)
    with pytest.raises(InputError, match="record 2 at byte .*: the checksum of the payload"):
        read_columns(path)


def test_huge_but_finite_features_are_read_fast(tmp_path: Path, make_clips: MakeClips) -> None:
    [clip] = make_clips(1, seed=5)
    clip.visual[:] = np.finfo(np.float32).max
    write_records(tmp_path / "a.tfrecord", [encode_example(clip)])
    columns = read_ordinary(tmp_path / "a.tfrecord")
    assert columns is not None
    np.testing.assert_array_equal(columns.visual, clip.visual[None])


def test_real_shards_are_ordinary_and_read_as_protobuf_reads_them(real_shards: Path) -> None:
    classes = len(read_vocabulary(real_shards / "vocabulary.csv"))
    assert classes == 3862
    for path in sorted((real_shards / "validate").glob("*.tfrecord"))[:3]:
        columns = read_ordinary(path)
        assert columns is not None
        assert 200 < len(columns.ids) < 400
        parsed = [parse_example(record.payload) for record in read_records(path)]
        assert_same(columns, columns_of(parsed))
        assert columns.labels.max() < classes
        for values in (columns.visual, columns.audio):
            assert FEATURE_RANGE[0] <= values.min() <= values.max() <= FEATURE_RANGE[1]
