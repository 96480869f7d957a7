"""Inspection: counts against hand-made shards, every fault found where it was put."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmodal.config import InputError
from xmodal.data.features import FeatureSet
from xmodal.data.framing import write_records
from xmodal.data.schema import AUDIO_DIM, VISUAL_DIM, Clip, encode_example, read_shard
from xmodal.youtube8m.inspect import Inspection, find_shards, inspect_shards

Make = Callable[..., list[Clip]]
# of the faults of `damaged`
KINDS = {"length checksum": 1, "payload checksum": 2, "truncated": 1, "empty": 1, "no TFRecord": 1}
KINDS |= {"unreadable": 1, "not an example": 1, "unknown label": 1, "repeated id": 1}


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a protocol-buffer message."""
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([number << 3 | 2]) + length + content


def feature(key: str, kind: int, values: bytes) -> bytes:
    """An example with one key; examples joined are one with all their keys."""
    return field(1, field(1, field(1, key.encode()) + field(2, field(kind, field(1, values)))))


def example(id_key: str = "id", **changes: object) -> bytes:
    """An example with one label, whose features are 0.5; ``changes`` replace, None leaves out."""
    values = {"id": b"x", "labels": [3], "mean_rgb": [0.5] * VISUAL_DIM}
    values |= {"mean_audio": [0.5] * AUDIO_DIM, **changes}
    parts = {
        "id": lambda v: feature(id_key, 1, v),
        "labels": lambda v: feature("labels", 3, bytes(v)),
        "mean_rgb": lambda v: feature("mean_rgb", 2, np.array(v, "<f4").tobytes()),
        "mean_audio": lambda v: feature("mean_audio", 2, np.array(v, "<f4").tobytes()),
    }
    return b"".join(parts[key](v) for key, v in values.items() if v is not None)


def inspect(*paths: Path, **options: object) -> Inspection:
    return inspect_shards(find_shards(paths), jobs=1, **options)  # type: ignore[arg-type]


def kinds(found: Inspection) -> dict[str, int]:
    return found.to_dict()["kinds"]


def cells(frame: pd.DataFrame, *columns: str) -> list[tuple]:
    """The rows of some columns, files by their names."""
    frame = frame.assign(file=[Path(file).name for file in frame["file"]])
    return list(frame[list(columns)].itertuples(index=False, name=None))


def size_of(clip: Clip) -> int:
    return len(encode_example(clip)) + 16


# --- what is in the files ------------------------------------------------------------------------


def test_contents_are_counted(tmp_path: Path) -> None:
    quiet = [0.0] * AUDIO_DIM
    write_records(
        tmp_path / "a.tfrecord",
        [
            example(id=b"a", labels=[1, 5], mean_audio=quiet),
            example(id=b"b", labels=[], mean_rgb=[-1.5] + [1.25] * (VISUAL_DIM - 1)),
            example(id_key="video_id", id=b"c", labels=[5, 6, 90], mean_audio=quiet),
        ],
    )
    write_records(
        tmp_path / "b.tfrecord",
        [
            example(id=b"d", mean_audio=quiet),
            example(id=b"e", mean_audio=[2.5] * AUDIO_DIM),
            b"hello, world",
        ],
    )
    write_records(tmp_path / "c.tfrecord", [b"hello, world"])
    a, b, c = inspect(tmp_path).to_dict()["shards"]
    sizes = [(tmp_path / f"{name}.tfrecord").stat().st_size for name in "abc"]
    counts = {"bytes": sizes[0], "records": 3, "clips": 3, "good": 3, "problems": 0, "silent": 2}
    counts |= {"release_1": 1, "release_2": 2}
    labels = {"labels": 5, "labels_mean": 5 / 3, "labels_max": 3, "classes": 4, "unlabelled": 1}
    visual = {"visual_min": -1.5, "visual_max": 1.25, "visual_outside": 0}
    audio = {"audio_min": 0.0, "audio_max": 0.5, "audio_outside": 0}
    place = {"file": str(tmp_path / "a.tfrecord"), "name": "a.tfrecord"}
    assert a == place | counts | labels | visual | audio | {"unknown_labels": None}
    assert (b["clips"], b["problems"], b["labels_mean"], b["classes"]) == (2, 1, 1.0, 1)
    assert (c["records"], c["clips"], c["visual_min"], c["labels_mean"]) == (1, 0, None, None)
    total = inspect(tmp_path).totals
    assert total == {
        **{"bytes": sum(sizes), "records": 7, "clips": 5, "good": 5, "problems": 2, "silent": 3},
        **{"release_1": 1, "release_2": 4, "labels": 7, "labels_mean": 7 / 5, "labels_max": 3},
        **{"classes": 5, "unlabelled": 1, "unknown_labels": None, **visual},
        **{"audio_min": 0.0, "audio_max": 2.5, "audio_outside": 1},
    }


def test_a_clip_with_both_keys_is_of_release_2(tmp_path: Path) -> None:
    write_records(tmp_path / "a.tfrecord", [example(id=b"a") + feature("video_id", 1, b"other")])
    assert inspect(tmp_path).records["release"].tolist() == [2]


def test_silent_clips_are_those_of_a_feature_set(tmp_path: Path, make_clips: Make) -> None:
    clips = make_clips(9, seed=1)
    clips[1] = clips[1]._replace(audio=clips[7].audio)
    clips[2] = clips[2]._replace(audio=np.zeros(AUDIO_DIM, np.float32))
    clips[3] = clips[3]._replace(audio=-np.zeros(AUDIO_DIM, np.float32))  # equal, but not the bits
    write_records(tmp_path / "a.tfrecord", map(encode_example, clips[:5]))
    write_records(tmp_path / "b.tfrecord", map(encode_example, clips[5:]))
    features = SimpleNamespace(audio=np.stack([clip.audio for clip in clips]))
    found = inspect(tmp_path)
    assert found.records["silent"].tolist() == FeatureSet.silent.func(features).tolist()
    assert found.shards["silent"].tolist() == [1, 1]


def test_a_clip_that_is_there_twice_is_not_silent_for_that(
    tmp_path: Path, make_clips: Make
) -> None:
    for name in "ab":
        write_records(tmp_path / f"{name}.tfrecord", map(encode_example, make_clips(3, seed=1)))
    assert inspect(tmp_path).totals["silent"] == 0


def test_ordinary_shards_are_described_as_any_other(
    monkeypatch: pytest.MonkeyPatch, shard_folder: Path
) -> None:
    quick = [inspect(shard_folder, num_classes=classes) for classes in (None, 7, 6)]
    monkeypatch.setattr("xmodal.youtube8m.inspect.read_ordinary", lambda path: None)
    slow = [inspect(shard_folder, num_classes=classes) for classes in (None, 7, 6)]
    for one, other in zip(quick, slow):
        pd.testing.assert_frame_equal(one.records, other.records)
        assert one.to_dict() == other.to_dict()
    assert quick[1].totals["good"] == 60 > quick[2].totals["good"]


# --- what is wrong with them ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": None}, "`id` (or `video_id`) is missing"),
        ({"mean_rgb": [0.0] * 1000}, "`mean_rgb` holds 1000 values where 1024 are expected"),
        ({"mean_audio": [float("nan")] * AUDIO_DIM}, "`mean_audio` holds nan at position 0"),
    ],
)
def test_what_is_no_example_is_reported_with_its_reason(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    good, bad = example(id=b"good"), example(**{"id": b"bad", **changes})  # type: ignore[arg-type]
    write_records(tmp_path / "a.tfrecord", [good, bad, example(id=b"also")])
    found = inspect(tmp_path)
    [problem] = found.problems.to_dict("records")
    assert (problem["record"], problem["offset"]) == (1, len(good) + 16)
    assert (problem["bytes"], problem["kind"]) == (len(bad) + 16, "not an example")
    assert problem["reason"].startswith(reason)
    assert (found.totals["records"], found.totals["clips"]) == (3, 2)


def test_labels_outside_the_vocabulary_are_counted_where_there_is_one(tmp_path: Path) -> None:
    write_records(
        tmp_path / "a.tfrecord",
        [example(id=b"a", labels=[6, 7, 8]), example(id=b"b", labels=[6]), example(id=b"c")],
    )
    assert inspect(tmp_path).problems.empty
    found = inspect(tmp_path, num_classes=7)
    reason = "label 8 is outside the vocabulary of 7 classes"
    assert cells(found.problems, "record", "kind", "reason") == [(0, "unknown label", reason)]
    assert (found.totals["unknown_labels"], found.totals["clips"], found.totals["good"]) == (
        *(2, 3, 2),
    )
    assert "2 outside the vocabulary" in found.as_text()


def test_ids_that_repeat_are_placed(tmp_path: Path) -> None:
    a, b = (len(example(id=name)) + 16 for name in (b"a", b"bb"))
    write_records(tmp_path / "1.tfrecord", [example(id=b"a"), example(id=b"bb")])
    write_records(tmp_path / "2.tfrecord", [example(id=b"c"), example(id=b"a"), example(id=b"a")])
    write_records(tmp_path / "3.tfrecord", [example(id=b"bb")])
    found = inspect(tmp_path)
    assert cells(found.repeated, "id", "file", "record", "offset") == [
        ("a", "1.tfrecord", 0, 0),
        ("a", "2.tfrecord", 1, a),
        ("a", "2.tfrecord", 2, 2 * a),
        ("bb", "1.tfrecord", 1, a),
        ("bb", "3.tfrecord", 0, 0),
    ]
    assert cells(found.problems, "file", "record", "offset", "bytes", "kind") == [
        ("2.tfrecord", 1, a, a, "repeated id"),
        ("2.tfrecord", 2, 2 * a, a, "repeated id"),
        ("3.tfrecord", 0, 0, b, "repeated id"),
    ]
    reason = f"the id 'bb' is that of record 1 of {tmp_path / '1.tfrecord'}"
    assert found.problems["reason"].iloc[-1] == reason


def test_ids_whose_hashes_agree_are_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xmodal.youtube8m.inspect._hash", lambda values: np.ones(len(values)))
    write_records(tmp_path / "a.tfrecord", [example(id=b"a"), example(id=b"b"), example(id=b"a")])
    assert cells(inspect(tmp_path).problems, "record", "kind") == [(2, "repeated id")]


def test_a_bad_record_is_no_first_occurrence(tmp_path: Path) -> None:
    write_records(tmp_path / "a.tfrecord", [example(id=b"a", labels=[9]), example(id=b"a")])
    assert kinds(inspect(tmp_path, num_classes=7)) == {"unknown label": 1}


@pytest.fixture
def damaged(tmp_path: Path, make_clips: Make) -> Path:
    """Write eleven files, all but ``a`` with one fault."""
    folder = tmp_path / "damaged"
    folder.mkdir()
    clips = [  # of one size, and in the vocabulary
        clip._replace(id=f"c{number:02d}", labels=np.array([number % 7], np.int32))
        for number, clip in enumerate(make_clips(22, seed=3))
    ]
    size = size_of(clips[0])
    whole = {name: clips[3 * k : 3 * k + 3] for k, name in enumerate("abcdefg")}
    for name, three in whole.items():
        write_records(folder / f"{name}.tfrecord", map(encode_example, three))
    for name, place in {"b": 3, "c": 20, "d": -1}.items():
        content = bytearray((folder / f"{name}.tfrecord").read_bytes())
        content[size + place] ^= 8  # of d, the checksum of the first payload
        (folder / f"{name}.tfrecord").write_bytes(content)
    (folder / "e.tfrecord").write_bytes((folder / "e.tfrecord").read_bytes()[:-5])
    strange = clips[18]._replace(labels=np.array([7], np.int32))
    write_records(folder / "f.tfrecord", map(encode_example, [strange, *whole["f"]]))
    write_records(folder / "g.tfrecord", [*map(encode_example, whole["g"][1:]), b"hello, world"])
    (folder / "h.tfrecord").write_bytes(b"")
    (folder / "i.tfrecord").write_bytes(b"<!DOCTYPE html><title>404</title>")
    (folder / "j.tfrecord").mkdir()
    (folder / "sub").mkdir()
    write_records(folder / "sub" / "z.tfrecord", map(encode_example, [*whole["a"][:1], clips[21]]))
    return folder


def test_every_fault_is_found(damaged: Path) -> None:
    found = inspect(damaged, num_classes=7)
    assert cells(found.problems, "file", "record", "kind") == [
        ("b.tfrecord", 1, "length checksum"),
        ("c.tfrecord", 1, "payload checksum"),
        ("d.tfrecord", 0, "payload checksum"),
        ("e.tfrecord", 2, "truncated"),
        ("f.tfrecord", 0, "unknown label"),
        ("g.tfrecord", 2, "not an example"),
        ("h.tfrecord", 0, "empty"),
        ("i.tfrecord", 0, "no TFRecord"),
        ("j.tfrecord", 0, "unreadable"),
        ("z.tfrecord", 0, "repeated id"),
    ]
    assert kinds(found) == KINDS


@settings(max_examples=25)
@given(data=st.data())
def test_clips_that_are_left_alone_are_counted_whatever_happens_to_others(
    make_clips: Make, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    clips = make_clips(4, seed=5)
    write_records(folder / "a.tfrecord", map(encode_example, clips))
    content = bytearray((folder / "a.tfrecord").read_bytes())
    bounds = np.cumsum([0, *map(size_of, clips)])
    places = data.draw(st.lists(st.integers(0, len(content) - 1), unique=True, max_size=3))
    for place in places:
        content[place] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(1, len(content)))
    (folder / "a.tfrecord").write_bytes(content[:cut])
    hit = set(np.searchsorted(bounds, places, side="right") - 1)
    good = [k for k in range(4) if k not in hit and bounds[k + 1] <= cut]
    found = inspect(folder)
    assert found.totals["clips"] == len(good)
    assert found.totals["labels"] == sum(len(clips[k].labels) for k in good)
    assert found.problems["bytes"].sum() == cut - sum(size_of(clips[k]) for k in good)


# --- which files ---------------------------------------------------------------------------------


def test_files_come_once_in_the_order_of_their_paths(shard_folder: Path) -> None:
    part = shard_folder / "part4.tfrecord"
    found = find_shards([part, shard_folder, shard_folder / "more" / ".." / "part2.tfrecord"])
    below = [f"more/part{k}.tfrecord" for k in (1, 3, 5, 7)]
    names = [*below, *(f"part{k}.tfrecord" for k in (0, 2, 4, 6))]
    assert list(found.values()) == names
    assert inspect_shards(found, jobs=2).shards["name"].tolist() == names


def test_what_cannot_be_inspected_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: there is no such file or folder"):
        find_shards([tmp_path / "nowhere"])
    with pytest.raises(InputError, match=r"holds no \*.tfrecord file"):
        find_shards([tmp_path])


# --- what is printed -----------------------------------------------------------------------------


def test_good_files_end_with_status_0_and_a_row_each(call: Callable, shard_folder: Path) -> None:
    status, out, err = call(
        "inspect", shard_folder, "--vocabulary", shard_folder / "vocabulary.csv"
    )
    assert (status, err) == (0, "")
    assert out.count(".tfrecord") == 8
    lines = [line.split() for line in out.splitlines()]
    assert lines[1][:6] == ["records", "60,", "60", "of", "them", "clips:"]
    assert lines[6] == ["problems", "none"]


def test_of_many_files_only_the_bad_ones_are_shown(call: Callable, tmp_path: Path) -> None:
    for number in range(25):
        write_records(tmp_path / f"{number:02d}.tfrecord", [example(id=b"%d" % number)])
    status, out, _ = call("inspect", tmp_path)
    assert status == 0 and ".tfrecord" not in out
    (tmp_path / "07.tfrecord").write_bytes(b"")
    status, out, _ = call("inspect", tmp_path)
    [row] = [line for line in out.splitlines() if ".tfrecord" in line]
    assert status == 1
    assert row.split()[:6] == [str(tmp_path / "07.tfrecord"), "0", "0", "0", "0", "1"]
    assert row.endswith("record 0 at byte 0: the file is empty (0 bytes)")
    assert "1 in 1 of the files: 1 empty" in out


def test_files_without_a_clip_can_be_printed(call: Callable, tmp_path: Path) -> None:
    write_records(tmp_path / "a.tfrecord", [b"hello, world"])
    status, out, _ = call("inspect", tmp_path)
    assert status == 1
    assert "1, 0 of them clips" in out and "the payload is not a tf.train.Example" in out


def test_json_holds_everything(call: Callable, damaged: Path, shard_folder: Path) -> None:
    status, out, err = call(
        *("inspect", damaged, "--json", "--jobs", 1),
        *("--vocabulary", shard_folder / "vocabulary.csv"),
    )
    found = json.loads(out)
    assert (status, err) == (1, "")
    assert list(found) == ["totals", "kinds", "shards", "problems", "repeated", "repair"]
    assert (found["repair"], found["kinds"]) == (None, KINDS)
    [shard] = [shard for shard in found["shards"] if shard["name"] == "c.tfrecord"]
    size = shard["bytes"] // 3
    assert [problem for problem in found["problems"] if problem["file"] == shard["file"]] == [
        {
            "file": str(damaged / "c.tfrecord"),
            "record": 1,
            "offset": size,
            "bytes": size,
            "kind": "payload checksum",
            "reason": "the checksum of the payload is wrong",
        }
    ]
    # a 3, b 2, c 2, d 2, e 2, f 4, g 2, z 2 clips; b to e lost one each; g and i have no clip more
    totals = found["totals"]
    assert (totals["clips"], totals["records"], totals["unknown_labels"]) == (19, 25, 1)
    first, second = found["repeated"]
    assert first["id"] == second["id"] == "c00"
    assert (first["file"], first["record"], first["offset"]) == (str(damaged / "a.tfrecord"), 0, 0)
    assert second["file"] == str(damaged / "sub" / "z.tfrecord")


def test_input_that_cannot_be_used_ends_with_status_2(call: Callable, shard_folder: Path) -> None:
    for words in (["nowhere"], [shard_folder, "--vocabulary", "nowhere"]):
        status, out, err = call("inspect", *words)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("xmodal: nowhere: ")


# --- real shards ---------------------------------------------------------------------------------


def test_real_shards_are_good(real_shards: Path) -> None:
    found = inspect(real_shards, num_classes=3862)
    assert found.problems.empty and found.repeated.empty
    assert (found.records["release"] == 2).all()
    assert found.totals["visual_outside"] == found.totals["audio_outside"] == 0
    first = found.shards.iloc[0]
    clips = list(read_shard(first["file"]))
    assert first["clips"] == len(clips)
    assert first["labels"] == sum(len(clip.labels) for clip in clips)
    assert found.records.memory_usage().sum() / len(found.records) < 90  # bytes, as documented
