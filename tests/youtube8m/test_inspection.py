"""Inspection: counts against hand-made shards, every fault found where it was put."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from by_hand import delimited, entry, varint
from hypothesis import given, settings
from hypothesis import strategies as st

from xmodal.config import InputError
from xmodal.data.features import FeatureSet
from xmodal.data.framing import write_records
from xmodal.data.schema import AUDIO_DIM, VISUAL_DIM, Clip, encode_example, read_shard
from xmodal.pipeline.cli import main
from xmodal.youtube8m.inspect import find_shards, inspect_shards

Make = Callable[..., list[Clip]]
# of the faults of `damage_folder`
COUNTS = {"length checksum": 1, "payload checksum": 2, "truncated": 1, "empty": 1, "no TFRecord": 1}
COUNTS |= {"unreadable": 1, "not an example": 1, "unknown label": 1, "repeated id": 1}


def example(id_key: str = "id", **changes: object) -> bytes:
    """An example with one label, whose features are 0.5; ``changes`` replace, None leaves out."""
    values = {"id": b"x", "labels": [3], "mean_rgb": [0.5] * VISUAL_DIM}
    values |= {"mean_audio": [0.5] * AUDIO_DIM, **changes}
    parts = {
        "id": lambda v: entry(id_key, 1, v),
        "labels": lambda v: entry("labels", 3, b"".join(map(varint, v))),
        "mean_rgb": lambda v: entry("mean_rgb", 2, np.array(v, "<f4").tobytes()),
        "mean_audio": lambda v: entry("mean_audio", 2, np.array(v, "<f4").tobytes()),
    }
    return delimited(1, b"".join(parts[k](v) for k, v in values.items() if v is not None))


def inspect(*paths: Path, **options: object):
    return inspect_shards(find_shards(paths), jobs=1, **options)  # type: ignore[arg-type]


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
            example(id_key="video_id", id=b"c", labels=[5, 6, 900], mean_audio=quiet),
        ],
    )
    write_records(
        tmp_path / "b.tfrecord",
        [
            example(id=b"d", mean_audio=quiet),
            example(id=b"e", mean_audio=[2.5] * AUDIO_DIM),
        ],
    )
    found = inspect(tmp_path)
    assert (found.problems, found.repeated) == ({}, {})
    a, b, all_ = (*(shard.contents for shard in found.shards), found.totals)
    assert [(c.records, c.clips, c.release_1, c.release_2) for c in (a, b, all_)] == [
        (3, 3, 1, 2),
        (2, 2, 0, 2),
        (5, 5, 1, 4),
    ]
    assert [c.bytes for c in (a, b)] == [
        (tmp_path / name).stat().st_size for name in ("a.tfrecord", "b.tfrecord")
    ]
    assert all_.bytes == a.bytes + b.bytes
    assert a.visual and all_.visual and all_.audio
    assert vars(a.visual) == {"dimension": 1024, "minimum": -1.5, "maximum": 1.25, "outside": 0}
    assert vars(all_.visual) == vars(a.visual)
    assert vars(all_.audio) == {"dimension": 128, "minimum": 0.0, "maximum": 2.5, "outside": 1}
    labels = [(c.labels.total, c.labels.maximum, c.labels.classes) for c in (a, b, all_)]
    assert labels == [(5, 3, 4), (2, 1, 1), (7, 3, 5)]
    assert [c.labels.mean for c in (a, b, all_)] == [5 / 3, 1.0, 7 / 5]
    assert [(c.labels.without, c.labels.outside) for c in (a, b, all_)] == [
        (1, None),
        (0, None),
        (1, None),
    ]
    assert [c.silent for c in (a, b, all_)] == [2, 1, 3]


def test_a_clip_with_both_keys_is_of_release_2(tmp_path: Path) -> None:
    both = example(id=b"a") + delimited(1, entry("video_id", 1, b"other"))
    write_records(tmp_path / "a.tfrecord", [both])
    found = inspect(tmp_path)
    assert (found.totals.release_1, found.totals.release_2) == (0, 1)


def test_silent_clips_are_those_of_a_feature_set(tmp_path: Path, make_clips: Make) -> None:
    clips = make_clips(9, seed=1)
    clips[1] = clips[1]._replace(audio=clips[7].audio)
    clips[2] = clips[2]._replace(audio=np.zeros(AUDIO_DIM, np.float32))
    clips[3] = clips[3]._replace(audio=-np.zeros(AUDIO_DIM, np.float32))  # equal, but not the bits
    write_records(tmp_path / "a.tfrecord", map(encode_example, clips[:5]))
    write_records(tmp_path / "b.tfrecord", map(encode_example, clips[5:]))
    audio = np.stack([clip.audio for clip in clips])
    none = np.zeros(0)
    features = FeatureSet(none, audio, none, none, [], "", "", "")
    found = inspect(tmp_path)
    silent = [found.totals.silent, *(shard.contents.silent for shard in found.shards)]
    assert silent == [features.silent.sum(), features.silent[:5].sum(), features.silent[5:].sum()]
    assert silent == [2, 1, 1]


def test_a_clip_that_is_there_twice_is_not_silent_for_that(
    tmp_path: Path, make_clips: Make
) -> None:
    for name in "ab":
        write_records(tmp_path / f"{name}.tfrecord", map(encode_example, make_clips(3, seed=1)))
    assert inspect(tmp_path).totals.silent == 0


# --- what is wrong with them ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": None}, "`id` (or `video_id`) is missing"),
        ({"mean_audio": None}, "`mean_audio` is missing"),
        ({"mean_rgb": [0.0] * 1000}, "`mean_rgb` holds 1000 values where 1024 are expected"),
        ({"mean_audio": [float("nan")] * AUDIO_DIM}, "`mean_audio` holds nan at position 0"),
        ({"mean_rgb": [float("inf")] * VISUAL_DIM}, "`mean_rgb` holds inf at position 0"),
    ],
)
def test_what_is_no_example_is_told_with_its_reason(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    good, bad = example(id=b"good"), example(**{"id": b"bad", **changes})  # type: ignore[arg-type]
    write_records(tmp_path / "a.tfrecord", [good, bad, example(id=b"also")])
    found = inspect(tmp_path)
    [problem] = found.shards[0].problems
    assert (problem.record, problem.offset) == (1, len(good) + 16)
    assert (problem.bytes, problem.kind) == (len(bad) + 16, "not an example")
    assert problem.reason.startswith(reason)
    assert (found.totals.records, found.totals.clips) == (3, 2)


def test_noise_in_a_right_frame_is_no_example(tmp_path: Path) -> None:
    write_records(tmp_path / "a.tfrecord", [b"hello, world"])
    found = inspect(tmp_path)
    assert found.problems == {"not an example": 1}
    assert (found.totals.clips, found.totals.visual, found.totals.labels.mean) == (0, None, None)
    assert "the payload is not a tf.train.Example" in found.as_text()


def test_labels_outside_the_vocabulary_are_counted_where_there_is_one(tmp_path: Path) -> None:
    write_records(
        tmp_path / "a.tfrecord",
        [example(id=b"a", labels=[6, 7, 8]), example(id=b"b", labels=[6]), example(id=b"c")],
    )
    assert inspect(tmp_path).problems == {}
    found = inspect(tmp_path, num_classes=7)
    [problem] = found.shards[0].problems
    assert (problem.record, problem.kind) == (0, "unknown label")
    assert problem.reason == "label 8 is outside the vocabulary of 7 classes"
    assert found.totals.labels.outside == 2
    assert "2 outside the vocabulary" in found.as_text()


def test_ids_that_repeat_are_placed(tmp_path: Path) -> None:
    sizes = {name: len(example(id=name)) + 16 for name in (b"a", b"bb")}
    write_records(tmp_path / "1.tfrecord", [example(id=b"a"), example(id=b"bb")])
    write_records(tmp_path / "2.tfrecord", [example(id=b"c"), example(id=b"a"), example(id=b"a")])
    write_records(tmp_path / "3.tfrecord", [example(id=b"bb")])
    found = inspect(tmp_path)
    first, second, third = (str(tmp_path / f"{n}.tfrecord") for n in (1, 2, 3))
    a, b = sizes[b"a"], sizes[b"bb"]
    assert {
        name: [(place.file, place.record, place.offset) for place in places]
        for name, places in found.repeated.items()
    } == {
        "a": [(first, 0, 0), (second, 1, a), (second, 2, 2 * a)],
        "bb": [(first, 1, a), (third, 0, 0)],
    }
    told = [[(p.record, p.offset, p.bytes) for p in s.problems] for s in found.shards]
    assert told == [[], [(1, a, a), (2, 2 * a, a)], [(0, 0, b)]]
    reason = found.shards[2].problems[0].reason
    assert reason == f"the id 'bb' is that of record 1 of {first}"


def test_ids_whose_digests_agree_are_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xmodal.youtube8m.examine._digest", lambda data: len(data))
    write_records(tmp_path / "a.tfrecord", [example(id=b"a"), example(id=b"b"), example(id=b"a")])
    found = inspect(tmp_path)
    assert list(found.repeated) == ["a"]
    assert [problem.record for problem in found.shards[0].problems] == [2]


def test_a_bad_record_is_no_first_occurrence(tmp_path: Path) -> None:
    bad = example(id=b"a", labels=[9])
    write_records(tmp_path / "a.tfrecord", [bad, example(id=b"a")])
    assert inspect(tmp_path, num_classes=7).problems == {"unknown label": 1}


def damage_folder(folder: Path, clips: list[Clip]) -> Path:
    """Write eleven files, all but ``a`` with one fault."""
    folder.mkdir()
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


@pytest.fixture
def damaged(tmp_path: Path, make_clips: Make) -> Path:
    clips = [  # of one size, and in the vocabulary
        clip._replace(id=f"c{number:02d}", labels=np.array([number % 7], np.int32))
        for number, clip in enumerate(make_clips(22, seed=3))
    ]
    return damage_folder(tmp_path / "damaged", clips)


def test_every_fault_is_found(damaged: Path) -> None:
    found = inspect(damaged, num_classes=7)
    told = {
        shard.name: [(problem.record, problem.kind) for problem in shard.problems]
        for shard in found.shards
    }
    assert told == {
        "a.tfrecord": [],
        "b.tfrecord": [(1, "length checksum")],
        "c.tfrecord": [(1, "payload checksum")],
        "d.tfrecord": [(0, "payload checksum")],
        "e.tfrecord": [(2, "truncated")],
        "f.tfrecord": [(0, "unknown label")],
        "g.tfrecord": [(2, "not an example")],
        "h.tfrecord": [(0, "empty")],
        "i.tfrecord": [(0, "no TFRecord")],
        "j.tfrecord": [(0, "unreadable")],
        "sub/z.tfrecord": [(0, "repeated id")],
    }
    assert found.problems == COUNTS


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
    assert found.totals.clips == len(good)
    assert found.totals.labels.total == sum(len(clips[k].labels) for k in good)
    assert sum(problem.bytes for problem in found.shards[0].problems) == cut - sum(
        size_of(clips[k]) for k in good
    )


# --- which files ---------------------------------------------------------------------------------


def test_files_come_once_in_the_order_of_their_paths(shard_folder: Path) -> None:
    part = shard_folder / "part4.tfrecord"
    found = find_shards([part, shard_folder, shard_folder / "more" / ".." / "part2.tfrecord"])
    below = [f"more/part{k}.tfrecord" for k in (1, 3, 5, 7)]
    names = [*below, *(f"part{k}.tfrecord" for k in (0, 2, 4, 6))]
    assert [name for _, name in found] == names
    assert [shard.name for shard in inspect_shards(found, jobs=2).shards] == names


def test_ordinary_shards_are_described_as_any_other(
    monkeypatch: pytest.MonkeyPatch, shard_folder: Path
) -> None:
    quick = [inspect(shard_folder, num_classes=classes) for classes in (None, 7)]
    monkeypatch.setattr("xmodal.youtube8m.examine.read_ordinary", lambda path: None)
    assert [inspect(shard_folder, num_classes=classes) for classes in (None, 7)] == quick
    assert quick[0].totals.clips == 60


def test_what_cannot_be_inspected_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: there is no such file or folder"):
        find_shards([tmp_path / "nowhere"])
    with pytest.raises(InputError, match=r"holds no \*.tfrecord file"):
        find_shards([tmp_path])


# --- what is printed -----------------------------------------------------------------------------


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Give ``call(*words)``: exit status of ``xmodal inspect``, its stdout and its stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["xmodal", "inspect", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return ended.value.code or 0, told.out, told.err  # type: ignore[return-value]

    return run


def test_good_files_end_with_status_0_and_a_row_each(call: Callable, shard_folder: Path) -> None:
    status, out, err = call(shard_folder, "--vocabulary", shard_folder / "vocabulary.csv")
    assert (status, err) == (0, "")
    assert out.count(".tfrecord") == out.count(" good") == 8
    lines = out.splitlines()
    assert lines[1].split() == ["records", "60,", "60", "of", "them", "clips"]
    assert lines[7].split() == ["problems", "none"]


def test_of_many_files_only_the_bad_ones_are_shown(call: Callable, tmp_path: Path) -> None:
    for number in range(25):
        write_records(tmp_path / f"{number:02d}.tfrecord", [example(id=b"%d" % number)])
    status, out, _ = call(tmp_path)
    assert status == 0 and ".tfrecord" not in out
    (tmp_path / "07.tfrecord").write_bytes(b"")
    status, out, _ = call(tmp_path)
    [row] = [line for line in out.splitlines() if ".tfrecord" in line]
    assert status == 1
    assert "07.tfrecord" in row and "1 problem " in row and row.endswith("is empty (0 bytes)")
    assert "1 in 1 file: 1 empty" in out


def test_json_holds_everything(call: Callable, damaged: Path, shard_folder: Path) -> None:
    status, out, err = call(
        damaged, "--json", "--jobs", 1, "--vocabulary", shard_folder / "vocabulary.csv"
    )
    told = json.loads(out)
    assert (status, err) == (1, "")
    assert list(told) == ["shards", "totals", "problems", "repeated", "repair"]
    assert told["repair"] is None
    assert told["problems"] == COUNTS
    size = 0
    for shard in told["shards"]:
        if shard["name"] == "c.tfrecord":
            size = shard["contents"]["bytes"] // 3
            assert shard["problems"] == [
                {
                    "record": 1,
                    "offset": size,
                    "bytes": size,
                    "kind": "payload checksum",
                    "reason": "the checksum of the payload is wrong",
                }
            ]
    assert size > 4608
    # a 3, b 2, c 2, d 2, e 2, f 4, g 2, z 2 clips; b to e lost one each; g and i have no clip more
    totals = told["totals"]
    assert (totals["clips"], totals["records"]) == (19, 25)
    assert totals["labels"]["outside"] == 1
    assert told["repeated"] == {
        "c00": [
            {"file": str(damaged / "a.tfrecord"), "record": 0, "offset": 0},
            {"file": str(damaged / "sub" / "z.tfrecord"), "record": 0, "offset": 0},
        ]
    }


def test_input_that_cannot_be_used_ends_with_status_2(call: Callable, shard_folder: Path) -> None:
    for words in (["nowhere"], [shard_folder, "--vocabulary", "nowhere"]):
        status, out, err = call(*words)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("xmodal: nowhere: ")


# --- real shards ---------------------------------------------------------------------------------


def test_real_shards_are_good(real_shards: Path) -> None:
    found = inspect(real_shards, num_classes=3862)
    assert (found.problems, found.repeated) == ({}, {})
    assert (found.totals.release_1, found.totals.release_2) == (0, found.totals.records)
    assert found.totals.visual and found.totals.visual.outside == 0
    first = found.shards[0]
    clips = list(read_shard(first.file))
    assert first.contents.clips == len(clips)
    assert first.contents.labels.total == sum(len(clip.labels) for clip in clips)
