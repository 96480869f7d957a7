"""The schema, against bytes made by hand."""

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
    CLASSES,
    FEATURE_RANGE,
    VISUAL_DIM,
    Clip,
    encode_example,
    read_shard,
)
from xmodal.data.tfrecord import write_records
from xmodal.data.vocabulary import read_vocabulary

MakeClips = Callable[..., list[Clip]]
ID, LABELS, VISUAL, AUDIO = "id", "labels", "mean_rgb", "mean_audio"


def packed(numbers: list[float]) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


def single(key: str, kind: int, values: list[bytes]) -> bytes:
    """An entry whose values stand one by one, each in a field of its own."""
    feature = delimited(kind, b"".join(values))
    return delimited(1, delimited(1, key.encode()) + delimited(2, feature))


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


def assert_same(clips: list[Clip], expected: list[Clip]) -> None:
    assert [clip.id for clip in clips] == [clip.id for clip in expected]
    for ours, theirs in zip(clips, expected, strict=True):
        for one, other in zip(ours[1:], theirs[1:], strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def clip(make_clips: MakeClips) -> Clip:
    return make_clips(1, seed=0)[0]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Clip]]:
    """Give ``read(payloads, classes)``: the clips of a shard that holds these messages."""
    path = tmp_path_factory.mktemp("shard") / "bad.tfrecord"

    def write_and_read(payloads: list[bytes], classes: int = 0) -> list[Clip]:
        write_records(path, payloads)
        return list(read_shard(path, classes))

    return write_and_read


@given(
    labels=st.lists(st.integers(0, 2**31 - 1), unique=True, max_size=20).map(sorted),
    order=st.permutations([ID, LABELS, VISUAL, AUDIO]),
    tail=st.sampled_from([b"", b"\x12\x00"]),  # an empty field of SequenceExample
    seed=st.integers(0, 9),
)
@settings(max_examples=50)
def test_any_clip_is_read_as_it_was_written(
    make_clips: MakeClips, read: Callable, labels: list[int], order: list[str], tail: bytes, seed
) -> None:
    first, second = make_clips(2, seed)
    second = second._replace(labels=np.array(labels, np.int32))
    by_hand = example(*map(entries_of(second).get, order)) + tail
    assert_same(read([encode_example(first), by_hand]), [first, second])
    assert_same(read([encode_example(second)]), [second])
    assert not labels or encode_example(second) == written(second)


def test_every_way_to_write_a_clip_is_read(clip: Clip, read: Callable) -> None:
    # Fields 15 (varint 300), 16 (8 bytes) and 17 (4 bytes) are not the message's.
    stray = b"\x78\xac\x02" + b"\x81\x01" + bytes(8) + b"\x8d\x01" + bytes(4)
    one_by_one = single(LABELS, 3, [b"\x08" + varint(int(label)) for label in clip.labels])
    backwards = b"".join(varint(int(label)) for label in clip.labels[::-1])
    halves = [delimited(1, packed(half)) for half in np.split(clip.visual, 2)]
    ways = {
        "release 1": written(clip, "video_id"),
        "both ids": written(clip) + example(entry("video_id", 1, b"another")),
        "labels not packed": written(clip, labels=one_by_one),
        "labels twice, backwards": written(clip, labels=entry(LABELS, 3, 2 * backwards)),
        "packed in two": written(clip, **{VISUAL: single(VISUAL, 2, halves)}),
        "in parts": b"".join(map(example, entries_of(clip).values())),
        "a key twice": example(entry(LABELS, 3, b"\x05\x06")) + written(clip),
        "another key": written(clip, title=entry("title", 1, b"a film")),
        "other fields": written(clip) + stray,
    }
    for payload in ways.values():
        assert_same(read([payload], 7), [clip])


@pytest.mark.parametrize("labels", [b"", entry(LABELS, 3, b""), delimited(1, delimited(1, b"x"))])
def test_a_clip_may_have_no_labels(clip: Clip, read: Callable, labels: bytes) -> None:
    nothing = clip._replace(labels=np.zeros(0, np.int32))
    assert_same(read([written(clip, **{LABELS: labels}), written(clip)], 7), [nothing, clip])


NAN_AT_5 = np.where(np.arange(VISUAL_DIM) == 5, np.nan, 0.0).tolist()
FAULTS: dict[str, tuple[str, bytes, str]] = {
    "no id": (ID, b"", "id"),
    "short visual": (VISUAL, entry(VISUAL, 2, bytes(4 * 1023)), "1023"),
    "noise": (ID, b"\x0f", "origin"),
    "two ids": (ID, single(ID, 1, [delimited(1, b"a")] * 2), "id"),
    "unprintable id": (ID, entry(ID, 1, b"a\0"), "id"),
    "not a number": (VISUAL, entry(VISUAL, 2, packed(NAN_AT_5)), "mean_rgb"),
    "infinite": (AUDIO, entry(AUDIO, 2, packed([-np.inf] * AUDIO_DIM)), "mean_audio"),
    "negative label": (LABELS, entry(LABELS, 3, b"\x03" + varint(2**64 - 1)), "-1"),
    "huge label": (LABELS, entry(LABELS, 3, varint(2**40)), "1099511627776"),
    "unknown label": (LABELS, entry(LABELS, 3, b"\x01\x07"), "7"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_clip_is_refused_with_its_place(clip: Clip, read: Callable, fault: str) -> None:
    key, replacement, word = FAULTS[fault]
    with pytest.raises(InputError, match=rf"bad\.tfrecord: record 1\b.*{word}\b"):
        read([written(clip), written(clip, **{key: replacement})], 7)


@pytest.mark.parametrize("release", [1, 2])
def test_labels_of_another_release_than_the_vocabulary_are_refused(
    clip: Clip, read: Callable, release: int
) -> None:
    payload = written(clip, "video_id" if release == 1 else "id")
    assert_same(read([payload], CLASSES[release]), [clip])
    with pytest.raises(InputError, match=f"record 0: .*release {release}"):
        read([payload], CLASSES[3 - release])
    unlabelled = written(clip, "video_id" if release == 1 else "id", labels=b"")
    assert len(read([unlabelled], CLASSES[3 - release])) == 1


def test_real_shards_are_as_the_schema_says(real_shards: Path) -> None:
    classes = len(read_vocabulary(real_shards / "vocabulary.csv"))
    assert classes == CLASSES[2]
    for path in sorted((real_shards / "validate").glob("*.tfrecord"))[:3]:
        clips = list(read_shard(path, classes))
        assert 200 < len({clip.id for clip in clips}) == len(clips) < 400
        for clip in clips:
            assert len(clip.labels) and (np.diff(clip.labels) > 0).all()
            for values in clip[2:]:
                assert FEATURE_RANGE[0] <= values.min() <= values.max() <= FEATURE_RANGE[1]
