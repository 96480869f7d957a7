"""The YouTube-8M schema, against protobuf as the oracle, and the vocabulary."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from xmodal.config import InputError
from xmodal.data.framing import read_records, write_records
from xmodal.data.schema import (
    AUDIO_DIM,
    FEATURE_RANGE,
    VISUAL_DIM,
    Clip,
    encode_example,
    parse_example,
    read_shard,
)
from xmodal.data.vocabulary import read_vocabulary, write_vocabulary

ID, LABELS, VISUAL, AUDIO = "id", "labels", "mean_rgb", "mean_audio"
Features = dict[str, tuple[str, list[Any]]]


def example_class(packed: bool) -> Any:
    """Build the message class `tf.train.Example` from its published definition."""
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name=f"example_{packed}.proto", package="oracle", syntax="proto3"
    )

    def message(parent: Any, name: str, **fields: tuple[int, int, int, str | None]) -> Any:
        declared = parent.add(name=name)
        for field, (number, label, type_, type_name) in fields.items():
            added = declared.field.add(name=field, number=number, label=label, type=type_)
            if type_name:
                added.type_name = f".oracle.{type_name}"
            elif type_ != kind.TYPE_BYTES and label == kind.LABEL_REPEATED:
                added.options.packed = packed
        return declared

    one, many, sub = kind.LABEL_OPTIONAL, kind.LABEL_REPEATED, kind.TYPE_MESSAGE
    message(file.message_type, "BytesList", value=(1, many, kind.TYPE_BYTES, None))
    message(file.message_type, "FloatList", value=(1, many, kind.TYPE_FLOAT, None))
    message(file.message_type, "Int64List", value=(1, many, kind.TYPE_INT64, None))
    feature = message(
        file.message_type,
        "Feature",
        bytes_list=(1, one, sub, "BytesList"),
        float_list=(2, one, sub, "FloatList"),
        int64_list=(3, one, sub, "Int64List"),
    )
    feature.oneof_decl.add(name="kind")
    for field in feature.field:
        field.oneof_index = 0
    features = message(
        file.message_type, "Features", feature=(1, many, sub, "Features.FeatureEntry")
    )
    entry = message(
        features.nested_type,
        "FeatureEntry",
        key=(1, one, kind.TYPE_STRING, None),
        value=(2, one, sub, "Feature"),
    )
    entry.options.map_entry = True
    message(file.message_type, "Example", features=(1, one, sub, "Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("oracle.Example"))


PACKED, UNPACKED = example_class(packed=True), example_class(packed=False)


def features_of(clip: Clip) -> Features:
    return {
        ID: ("bytes_list", [clip.id.encode()]),
        LABELS: ("int64_list", clip.labels.tolist()),
        VISUAL: ("float_list", clip.visual.tolist()),
        AUDIO: ("float_list", clip.audio.tolist()),
    }


def serialise(features: Features, example: Any = PACKED) -> bytes:
    message = example()
    for key, (kind, values) in features.items():
        getattr(message.features.feature[key], kind).value.extend(values)
    return message.SerializeToString()


def assert_same(clip: Clip, expected: Clip) -> None:
    assert clip.id == expected.id
    for ours, theirs in zip(clip[1:], expected[1:], strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(scope="module")
def clip(make_clips: Callable[..., list[Clip]]) -> Clip:
    return make_clips(1, seed=0)[0]


@pytest.mark.parametrize("example", [PACKED, UNPACKED], ids=["packed", "unpacked"])
@pytest.mark.parametrize("key", ["id", "video_id"])
def test_what_protobuf_writes_is_read(clip: Clip, example: Any, key: str) -> None:
    features = features_of(clip)
    features[key] = features.pop(ID)
    assert_same(parse_example(serialise(features, example)), clip)


@given(
    labels=st.lists(st.integers(0, 2**31 - 1), unique=True, max_size=20).map(sorted),
    seed=st.integers(0, 99),
)
def test_what_is_written_protobuf_reads(
    make_clips: Callable[..., list[Clip]], labels: list[int], seed: int
) -> None:
    clip = make_clips(1, seed)[0]._replace(labels=np.array(labels, np.int32))
    payload = encode_example(clip)
    message = PACKED.FromString(payload)
    read = {
        key: (feature.WhichOneof("kind"), list(getattr(feature, feature.WhichOneof("kind")).value))
        for key, feature in message.features.feature.items()
    }
    assert read == features_of(clip)
    assert_same(parse_example(payload), clip)


def test_packed_and_single_values_may_mix_and_features_be_spread(clip: Clip) -> None:
    head, tail = features_of(clip), features_of(clip)
    del head[AUDIO], tail[ID], tail[LABELS], tail[VISUAL]
    # Concatenated messages merge (protobuf encoding guide).
    assert_same(parse_example(serialise(head) + serialise(tail, UNPACKED)), clip)


def test_of_two_entries_with_one_key_the_last_stands(clip: Clip) -> None:
    first = {LABELS: ("int64_list", [5, 6])}
    assert_same(parse_example(serialise(first) + serialise(features_of(clip))), clip)


def test_unknown_keys_and_fields_are_passed_over(clip: Clip) -> None:
    features = features_of(clip)
    features["title"] = ("bytes_list", [b"a film"])
    # Fields 15 (varint 300), 16 (8 bytes) and 17 (4 bytes) are not the message's.
    stray = b"\x78\xac\x02" + b"\x81\x01" + bytes(8) + b"\x8d\x01" + bytes(4)
    assert_same(parse_example(serialise(features) + stray), clip)


def test_labels_come_ascending_and_once(clip: Clip) -> None:
    features = features_of(clip)
    features[LABELS] = ("int64_list", [6, 2, 6, 3861])
    assert parse_example(serialise(features)).labels.tolist() == [2, 6, 3861]


def test_clips_own_their_memory(tmp_path: Path, make_clips: Callable[..., list[Clip]]) -> None:
    clips = make_clips(3, seed=1)
    write_records(tmp_path / "a.tfrecord", map(encode_example, clips))
    first, second, third = read_shard(tmp_path / "a.tfrecord")
    second.visual[:] = second.audio[:] = 0
    assert_same(first, clips[0])
    assert_same(third, clips[2])


@given(data=st.data())
@settings(max_examples=300)
def test_a_changed_payload_is_refused_or_read_as_protobuf_reads_it(
    clip: Clip, data: st.DataObject
) -> None:
    payload = bytearray(encode_example(clip))
    # The first 60 bytes and the ends of the entries hold the structure; the rest is numbers.
    audio, visual = payload.find(b"mean_audio"), payload.find(b"mean_rgb")
    places = [*range(60), *range(audio - 8, audio + 24), *range(visual - 8, visual + 24)]
    for position in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=3)):
        payload[position] = data.draw(st.integers(0, 255))
    changed = bytes(payload)
    try:
        ours = parse_example(changed)
    except InputError:
        return
    try:
        feature = PACKED.FromString(changed).features.feature
    except DecodeError:
        return  # protobuf also reads what we pass over, such as the text of other keys
    theirs = Clip(
        feature["id" if "id" in feature else "video_id"].bytes_list.value[0].decode(),
        np.unique(np.array(feature[LABELS].int64_list.value, np.int32)),
        np.array(feature[VISUAL].float_list.value, np.float32),
        np.array(feature[AUDIO].float_list.value, np.float32),
    )
    assert_same(ours, theirs)


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
FAULTS: dict[str, tuple[str, tuple[str, list[Any]] | None, str]] = {
    "no id": (ID, None, "`id` (or `video_id`) is missing (found: labels, mean_audio, mean_rgb)"),
    "no labels": (LABELS, None, "`labels` is missing"),
    "no visual": (VISUAL, None, "`mean_rgb` is missing"),
    "no audio": (AUDIO, None, "`mean_audio` is missing"),
    "short visual": (VISUAL, ("float_list", [0.0] * 1023), "`mean_rgb` holds 1023 values where"),
    "long audio": (AUDIO, ("float_list", [0.0] * 129), "`mean_audio` holds 129 values where 128"),
    "empty audio": (AUDIO, ("float_list", []), "`mean_audio` holds 0 values where 128"),
    "bytes for floats": (VISUAL, ("bytes_list", [b"x"]), "holds bytes values where float values"),
    "floats for labels": (LABELS, ("float_list", [1.0]), "holds float values where int64 values"),
    "number for id": (ID, ("int64_list", [1]), "`id` holds int64 values where bytes values"),
    "two ids": (ID, ("bytes_list", [b"a", b"b"]), "`id` must be one printable ASCII text"),
    "empty id": (ID, ("bytes_list", [b""]), "`id` must be one printable ASCII text"),
    "unprintable id": (ID, ("bytes_list", [b"a\0"]), "`id` must be one printable ASCII text"),
    "not a number": (VISUAL, ("float_list", NAN_AT_5), "`mean_rgb` holds nan at position 5"),
    "infinite": (AUDIO, ("float_list", [float("-inf")] * AUDIO_DIM), "holds -inf at position 0"),
    "negative label": (LABELS, ("int64_list", [3, -1]), "label -1 is not a class index"),
    "huge label": (LABELS, ("int64_list", [2**40]), "label 1099511627776 is not a class index"),
    "unknown label": (LABELS, ("int64_list", [1, 7]), "label 7 is outside the vocabulary of 7"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_clip_is_refused_with_its_place(clip: Clip, tmp_path: Path, fault: str) -> None:
    key, replacement, message = FAULTS[fault]
    features = features_of(clip)
    del features[key]
    if replacement:
        features[key] = replacement
    path = tmp_path / "bad.tfrecord"
    good = serialise(features_of(clip))
    write_records(path, [good, serialise(features)])
    place = f"{path}: record 1 at byte {len(good) + 16}: "
    with pytest.raises(InputError, match="^" + re.escape(place) + ".*" + re.escape(message)):
        list(read_shard(path, num_classes=7))


def test_a_payload_that_is_no_example_is_refused(tmp_path: Path) -> None:
    write_records(tmp_path / "bad.tfrecord", [b"hello, world"])
    with pytest.raises(InputError, match="record 0 at byte 0: the payload is not a tf"):
        list(read_shard(tmp_path / "bad.tfrecord"))


def test_any_label_goes_without_a_vocabulary(clip: Clip, tmp_path: Path) -> None:
    expected = clip._replace(labels=np.array([10**6], np.int32))
    write_records(tmp_path / "a.tfrecord", [encode_example(expected)])
    [read] = read_shard(tmp_path / "a.tfrecord")
    assert_same(read, expected)


# --- vocabulary ----------------------------------------------------------------------------------

HEADER = "Index,TrainVideoCount,KnowledgeGraphId,Name,WikiUrl,Vertical1,Vertical2,Vertical3,Wiki"


@given(names=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_names_survive_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.csv"
    write_vocabulary(path, names, range(len(names)))
    assert read_vocabulary(path) == names


def test_rows_may_be_unordered_quoted_and_nameless(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.csv"
    rows = [
        '1,20,/m/b,"Nike, Inc.",,,,,"A company,\nin ""two"" lines"',
        '0,30,/m/a,"Toys ""R"" Us",,,,,',
        "2,10,/m/c,,,,,,",
    ]
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    assert read_vocabulary(path) == ['Toys "R" Us', "Nike, Inc.", "/m/c"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column Index or Name"),
        (b"Index,Title\n0,Game\n", "no column Name"),
        (b"Index,Name\n", "0 classes are not numbered"),
        (b"Index,Name\n0,Game\n2,Car\n", "2 classes are not numbered"),
        (b"Index,Name\n0,Game\n0,Car\n", "line 3 repeats class 0"),
        (b"Index,Name\n0,Game\nx,Car\n", "line 3 is not a vocabulary row"),
        (b"Index,Name\n-1,Game\n", "line 2 is not a vocabulary row"),
        (b"Index,Name\n0\n", "line 2 is not a vocabulary row"),
        (b"Index,Name\n0,Nike, Inc.\n", "line 2 is not a vocabulary row"),
        (b'Index,Name\n0,"Game\n', "not a UTF-8 CSV file"),
        (b"Index,Name\n0,\xff\xfe\n", "not a UTF-8 CSV file"),
    ],
)
def test_a_bad_vocabulary_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "vocabulary.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match="^" + re.escape(str(path)) + ".*" + message):
        read_vocabulary(path)


def test_a_missing_vocabulary_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.csv: the vocabulary cannot be read"):
        read_vocabulary(tmp_path / "absent.csv")


def test_a_count_for_each_name_or_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        write_vocabulary(tmp_path / "vocabulary.csv", ["a", "b"], [1])
    assert not list(tmp_path.iterdir())


# --- real shards ---------------------------------------------------------------------------------


def test_real_shards_read_as_protobuf_reads_them(real_shards: Path) -> None:
    names = read_vocabulary(real_shards / "vocabulary.csv")
    assert len(names) == 3862
    assert all(names)
    paths = sorted((real_shards / "validate").glob("*.tfrecord"))[:2]
    for path in paths:
        clips = list(read_shard(path, len(names)))
        assert 200 < len(clips) < 400
        assert len({clip.id for clip in clips}) == len(clips)
        for record, clip in zip(read_records(path), clips, strict=True):
            feature = PACKED.FromString(record.payload).features.feature
            assert [clip.id.encode()] == feature[ID].bytes_list.value
            assert clip.labels.tolist() == feature[LABELS].int64_list.value
            np.testing.assert_array_equal(
                clip.visual, np.array(feature[VISUAL].float_list.value, np.float32)
            )
            np.testing.assert_array_equal(
                clip.audio, np.array(feature[AUDIO].float_list.value, np.float32)
            )
            for values in (clip.visual, clip.audio):
                assert FEATURE_RANGE[0] <= values.min() <= values.max() <= FEATURE_RANGE[1]
