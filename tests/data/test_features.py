"""Feature sets: the split against a plain reading of its rule, and faults against the folder."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from xmodal.config import InputError
from xmodal.data.features import SPLITS, FeatureSet, open_features
from xmodal.data.framing import read_records, write_records
from xmodal.data.prepare import PrepareConfig, _write_rows, prepare
from xmodal.data.schema import (
    AUDIO_DIM,
    Clip,
    _Example,
    encode_example,
    read_columns,
    read_shard,
)
from xmodal.data.vocabulary import write_vocabulary
from xmodal.files import locked

MakeClips = Callable[..., list[Clip]]


@pytest.fixture
def config(shard_folder: Path) -> PrepareConfig:
    return PrepareConfig(
        shards=shard_folder,
        out=shard_folder.parent / "features",
        vocabulary=shard_folder / "vocabulary.csv",
        source="tiny",
        evaluation_clips=20,
        validation_clips=10,
    )


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below a folder: its content and when it was last written."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def clips_of(features: FeatureSet) -> Iterator[Clip]:
    for row in range(len(features)):
        labels = features.labels[[row]].indices
        yield Clip(features.ids[row], labels, features.visual[row], features.audio[row])


# --- what is prepared ----------------------------------------------------------------------------


def test_without_a_vocabulary_labels_are_left_out_and_releases_may_be_joined(
    config: PrepareConfig,
) -> None:
    of_release_1(config.shards / "part2.tfrecord")
    labelled = config.model_copy(update={"out": config.out.with_name("labelled")})
    with pytest.raises(InputError, match="not numbered alike"):
        prepare(labelled)
    prepare(config.model_copy(update={"vocabulary": None}))
    for name in SPLITS:
        features = open_features(config.out, name)
        assert features.label_names == [] and features.labels.shape == (len(features), 0)
        assert features.labels_of(0) == []


def test_shards_without_labels_go_beside_those_with_labels(
    config: PrepareConfig, make_clips: MakeClips
) -> None:
    unlabelled = [
        clip._replace(id=f"test{row}", labels=np.zeros(0, np.int32))
        for row, clip in enumerate(make_clips(25, 99))
    ]
    write_records(config.shards / "test.tfrecord", map(encode_example, unlabelled))
    prepare(config)
    counts = {
        identity: count
        for features in (open_features(config.out, name) for name in SPLITS)
        for identity, count in zip(features.ids, np.diff(features.labels.indptr), strict=True)
    }
    ours = [count for identity, count in counts.items() if identity.startswith("test")]
    assert ours and set(ours) == {0}
    assert all(count for identity, count in counts.items() if identity[0] == "s")


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 20), chance=st.integers(0, 10**6))
def test_a_video_with_a_second_id_is_in_one_split_only(
    config: PrepareConfig, make_clips: MakeClips, seed: int, chance: int
) -> None:
    rng = np.random.default_rng(chance)
    seen = [clip for k in range(8) for clip in make_clips(4 + k, k)]
    again = [
        seen[row]._replace(id=f"again{row}") for row in rng.choice(len(seen), 12, replace=False)
    ]
    write_records(config.shards / "again.tfrecord", map(encode_example, again))
    manifest = prepare(config.model_copy(update={"split_seed": seed}))
    splits = {name: open_features(config.out, name) for name in SPLITS}
    owner: dict[bytes, str] = {}
    for name, features in splits.items():
        for visual in features.visual:
            assert owner.setdefault(visual.tobytes(), name) == name
    assert len(splits["evaluation"]) == 20  # what is dropped is never of the evaluation clips
    by_id = {clip.id: clip for clip in [*seen, *again]}
    for name, features in splits.items():
        noted = manifest["splits"][name]
        records = sum(shard["records"] for shard in noted["shards"])
        assert noted["clips"] == len(features) == records - noted["dropped"]
        for clip in clips_of(features):
            for ours, theirs in zip(clip[1:], by_id[clip.id][1:], strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_every_row_is_the_clip_its_shard_holds(config: PrepareConfig) -> None:
    manifest = prepare(config)
    for name in SPLITS:
        split, features = manifest["splits"][name], open_features(config.out, name)
        read = [clip for s in split["shards"] for clip in read_shard(config.shards / s["name"])]
        assert len(features) == split["clips"] == len(read) - split["dropped"]
        for ours, expected in zip(clips_of(features), read[: len(features)], strict=True):
            assert ours.id == expected.id
            for left, right in zip(ours[1:], expected[1:], strict=True):
                np.testing.assert_array_equal(left, right)
        assert features.visual.dtype == features.audio.dtype == np.float32
        assert split["labels"] == sum(len(clip.labels) for clip in read[: len(features)])


@given(evaluation=st.integers(1, 30), validation=st.integers(1, 15), seed=st.integers(0, 50))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_split_goes_by_shard(
    config: PrepareConfig, evaluation: int, validation: int, seed: int
) -> None:
    choices = {"evaluation_clips": evaluation, "validation_clips": validation, "split_seed": seed}
    splits = prepare(config.model_copy(update=choices))["splits"]
    records = {
        name: {s["name"]: s["records"] for s in split["shards"]} for name, split in splits.items()
    }
    together = Counter(shard for shards in records.values() for shard in shards)
    files = {p.relative_to(config.shards).as_posix() for p in config.shards.rglob("*.tfrecord")}
    assert together == Counter(files)
    for name, clips in (("evaluation", evaluation), ("validation", validation)):
        *whole, last = records[name].values()
        assert splits[name]["clips"] == clips
        assert sum(whole) < clips <= sum(whole) + last  # no shard more than it takes
        assert splits[name]["dropped"] == sum(whole) + last - clips
    assert splits["train"]["clips"] == sum(records["train"].values()) > 0
    assert splits["train"]["dropped"] == 0


def test_the_seed_decides_which_shards_are_evaluated(config: PrepareConfig) -> None:
    evaluated = {
        tuple(sorted(s["name"] for s in manifest["splits"]["evaluation"]["shards"]))
        for manifest in (
            prepare(config.model_copy(update={"split_seed": seed})) for seed in range(5)
        )
    }
    assert len(evaluated) > 1


def test_the_same_input_gives_the_same_bytes_anywhere(config: PrepareConfig) -> None:
    moved = config.shards.parent / "elsewhere"
    shutil.copytree(config.shards, moved / "shards")
    there = config.model_copy(update={"shards": moved / "shards", "out": moved / "features"})
    assert prepare(config) == prepare(there)
    here, elsewhere = snapshot(config.out), snapshot(there.out)
    assert {k: v[0] for k, v in here.items()} == {k: v[0] for k, v in elsewhere.items()}
    assert str(config.shards.parent) not in (config.out / "manifest.json").read_text()


def test_names_and_source_come_along(config: PrepareConfig) -> None:
    manifest = prepare(config)
    features = open_features(config.out, "evaluation")
    assert (features.source, features.split) == ("tiny", "evaluation")
    assert features.label_names == [f"class {c}" for c in range(7)]
    assert features.labels_of(3) == [f"class {c}" for c in list(clips_of(features))[3].labels]
    assert manifest["classes"] == 7
    assert manifest == json.loads((config.out / "manifest.json").read_text())


def test_arrays_are_mapped_read_only(config: PrepareConfig) -> None:
    prepare(config)
    features = open_features(config.out, "train")
    assert isinstance(features.visual, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        features.visual[0, 0] = 0


def test_the_fingerprint_changes_with_any_array(config: PrepareConfig) -> None:
    before = prepare(config)
    shard = config.shards / before["splits"]["evaluation"]["shards"][0]["name"]
    first, *others = read_shard(shard)
    first.audio[7] += 1
    write_records(shard, map(encode_example, [first, *others]))
    after = prepare(config)
    assert before["fingerprint"] != after["fingerprint"]
    changed = [
        name
        for name in SPLITS
        if before["splits"][name]["fingerprint"] != after["splits"][name]["fingerprint"]
    ]
    assert changed == ["evaluation"]


def test_silent_clips_are_those_that_share_their_audio() -> None:
    audio = np.arange(6 * AUDIO_DIM, dtype=np.float32).reshape(6, AUDIO_DIM)
    audio[4] = audio[1]
    audio[5, :-1] = audio[1, :-1]  # all but the last value: not the same
    none = np.zeros(0)
    features = FeatureSet(none, audio, none, none, [], "", "", "train")
    assert features.silent.tolist() == [False, True, False, False, True, False]


# --- doing it again ------------------------------------------------------------------------------


def test_preparing_again_writes_nothing(config: PrepareConfig) -> None:
    manifest = prepare(config)
    before = snapshot(config.out)
    assert prepare(config) == manifest
    assert snapshot(config.out) == before


@pytest.mark.parametrize("change", ["seed", "clips", "source", "vocabulary", "shard", "lost array"])
def test_a_change_prepares_anew(config: PrepareConfig, make_clips: MakeClips, change: str) -> None:
    prepare(config)
    before = snapshot(config.out)
    updates: dict[str, dict[str, Any]] = {
        "seed": {"split_seed": 9},
        "clips": {"evaluation_clips": 21},
        "source": {"source": "another"},
    }
    if change == "vocabulary":
        text = config.vocabulary.read_text()
        config.vocabulary.write_text(text.replace("class 3", "class three"))
    elif change == "shard":
        write_records(config.shards / "part0.tfrecord", map(encode_example, make_clips(4, 77)))
    elif change == "lost array":
        (config.out / "train" / "audio.npy").unlink()
    prepare(config.model_copy(update=updates.get(change, {})))
    after = snapshot(config.out)
    assert set(after) >= set(before)
    assert all(after[name][1] != before[name][1] for name in before)
    assert sorted(p.name for p in config.out.parent.iterdir()) == ["features", "source"]


# --- faults --------------------------------------------------------------------------------------


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0x40
    path.write_bytes(content)


def remove(*paths: Path) -> None:
    for path in paths:
        path.unlink()


def into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def with_label(path: Path, label: int) -> None:
    *others, last = read_shard(path)
    bad = last._replace(labels=np.array([label], np.int32))
    write_records(path, map(encode_example, [*others, bad]))


def with_short_feature(path: Path) -> None:
    first, *others = read_shard(path)
    write_records(path, map(encode_example, [first._replace(visual=first.visual[1:]), *others]))


def with_id_of_another_shard(path: Path) -> None:
    _, *others = read_shard(path)
    other = [record.payload for record in read_records(path.with_name("part6.tfrecord"))]
    write_records(path, [other[2], *map(encode_example, others)])


def of_release_1(path: Path) -> None:
    write_records(path, (_renamed(record.payload) for record in read_records(path)))


def _renamed(payload: bytes) -> bytes:
    """The same example, its id under the key of release 1, one length byte after another."""
    example = _Example.FromString(payload)
    example.features.feature["video_id"].CopyFrom(example.features.feature["id"])
    del example.features.feature["id"]
    return example.SerializeToString(deterministic=True)


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "flipped length": (lambda p: flip(p, 0), "part2.tfrecord: record 0 at byte 0: the checksum"),
    "flipped payload": (lambda p: flip(p, 99), "part2.tfrecord: record 0 at byte 0: the checksum"),
    "flipped end": (lambda p: flip(p, -1), r"part2.tfrecord: record 5 at byte \d+: the checksum"),
    "cut short": (lambda p: os.truncate(p, p.stat().st_size - 5), "part2.tfrecord: record 5 .*cut"),
    "nothing in it": (lambda p: os.truncate(p, 0), "part2.tfrecord: the file is empty"),
    "text": (lambda p: p.write_text("no shard " * 9), "part2.tfrecord: .*not a TFRecord file"),
    "folder": (into_folder, "part2.tfrecord: cannot be read"),
    "unknown label": (lambda p: with_label(p, 7), r"part2.tfrecord: record 5 .*label 7 is outside"),
    "short feature": (with_short_feature, "part2.tfrecord: record 0 .*1023 values"),
    "id met twice": (
        with_id_of_another_shard,
        "part2.tfrecord: record 0: the id 's6c2' is that of record 2 of .*part6.tfrecord|"
        "part6.tfrecord: record 2: the id 's6c2' is that of record 0 of .*part2.tfrecord",
    ),
    "another release": (
        of_release_1,
        "more/part1.tfrecord is of release 2 of YouTube-8M and part2.tfrecord of release 1, .*null",
    ),
    "vocabulary of release 1": (
        lambda p: write_vocabulary(p.with_name("vocabulary.csv"), ["x"] * 4716, [1] * 4716),
        "vocabulary.csv: these 4,716 classes are those of release 1 .*with 3,862 classes",
    ),
    "no vocabulary": (
        lambda p: remove(p.with_name("vocabulary.csv")),
        "vocabulary cannot be read",
    ),
    "bad vocabulary": (lambda p: p.with_name("vocabulary.csv").write_text("x"), "has no column"),
    "too few clips": (
        lambda p: remove(*(p.with_name(f"part{k}.tfrecord") for k in (0, 4, 6))),
        "5 shards of 38 clips are too few for 30 evaluation and 10",
    ),
    "no shards": (
        lambda p: remove(*p.parent.rglob("*.tfrecord")),
        "holds no .*tfrecord file",
    ),
}


@pytest.mark.parametrize("earlier", [False, True], ids=["first time", "over an earlier set"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_and_leaves_everything_as_it_was(
    config: PrepareConfig, fault: str, earlier: bool
) -> None:
    if earlier:
        prepare(config)
    before = snapshot(config.out)
    spoil, message = FAULTS[fault]
    spoil(config.shards / "part2.tfrecord")
    with pytest.raises(InputError, match=message):
        prepare(config.model_copy(update={"evaluation_clips": 30}))
    assert snapshot(config.out) == before
    allowed = {"features", "source", ".features.partial"}
    assert {p.name for p in config.out.parent.iterdir()} <= allowed
    assert config.out.exists() == earlier


def test_shards_must_be_a_folder(config: PrepareConfig) -> None:
    for path in (config.shards / "absent", config.shards / "part0.tfrecord"):
        with pytest.raises(InputError, match=f"^{path}: there is no such folder"):
            prepare(config.model_copy(update={"shards": path}))


@pytest.mark.parametrize("place", ["a file", "a folder of other things"])
def test_what_is_no_feature_set_is_never_replaced(config: PrepareConfig, place: str) -> None:
    if place == "a file":
        config.out.write_text("mine")
    else:
        (config.out / "train").mkdir(parents=True)
        (config.out / "train" / "thesis.txt").write_text("mine")
    before = snapshot(config.out.parent)
    with pytest.raises(InputError, match=f"^{config.out}: holds something else than a feature set"):
        prepare(config.model_copy(update={"split_seed": 9}))
    assert snapshot(config.out.parent) == before


def test_what_others_left_in_a_set_stays(config: PrepareConfig) -> None:
    config.out.mkdir()
    (config.out / ".DS_Store").write_bytes(b"icons")  # no reason to refuse a new folder
    prepare(config)
    (config.out / "thesis.txt").write_text("mine")
    (config.out / "train" / "notes").mkdir()
    (config.out / "train" / "notes" / "a.txt").write_text("mine")
    manifest = prepare(config.model_copy(update={"split_seed": 9}))
    assert manifest["config"]["split_seed"] == 9
    fresh = config.model_copy(update={"split_seed": 9, "out": config.out.parent / "fresh"})
    prepare(fresh)
    there, expected = snapshot(config.out), snapshot(fresh.out)
    assert {name: there[name][0] for name in expected} == {n: v[0] for n, v in expected.items()}
    assert there.keys() - expected.keys() == {".DS_Store", "thesis.txt", "train/notes/a.txt"}


def test_a_second_preparation_is_refused(config: PrepareConfig) -> None:
    with locked(config.out), pytest.raises(InputError, match=f"process {os.getpid()} on .* there"):
        prepare(config)
    prepare(config)


def test_a_set_of_an_earlier_layout_is_replaced(config: PrepareConfig) -> None:
    manifest = prepare(config)
    note = config.out / "manifest.json"
    note.write_text(json.dumps({**manifest, "format": "xmodal features 1"}))
    with pytest.raises(InputError, match="holds no feature set; run 01_data"):
        open_features(config.out, "train")
    assert prepare(config) == manifest == json.loads(note.read_text())


def test_an_empty_folder_may_become_the_set(config: PrepareConfig) -> None:
    config.out.mkdir()
    prepare(config)
    assert len(open_features(config.out, "evaluation")) == 20


def test_where_nothing_can_be_written_is_named(config: PrepareConfig) -> None:
    out = config.vocabulary / "features"
    with pytest.raises(InputError, match=f"^{out}: cannot be written"):
        prepare(config.model_copy(update={"out": out}))


def test_a_disk_too_small_is_told_beforehand(
    config: PrepareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 1000))
    with pytest.raises(InputError, match=r"needs 0\.[1-9]. MB and the disk has 0\.00 MB left"):
        prepare(config)
    assert not config.out.exists()


def fail_after(function: Callable[..., Any], calls: int, error: BaseException) -> Callable:
    """Let a function work a few times, then fail."""
    left = iter(range(calls))

    def failing(*args: Any, **keywords: Any) -> Any:
        if next(left, None) is None:
            raise error
        return function(*args, **keywords)

    return failing


@pytest.mark.parametrize(
    ("target", "calls", "error"),
    [
        (_write_rows, 5, OSError(28, "No space left on device")),
        (_write_rows, 5, KeyboardInterrupt()),
        (read_columns, 3, KeyboardInterrupt()),
        (np.savez, 3, OSError(28, "No space left on device")),
    ],
    ids=["disk full", "interrupted writing", "interrupted reading", "disk full of labels"],
)
def test_an_interruption_leaves_the_earlier_set_and_goes_on(
    config: PrepareConfig,
    monkeypatch: pytest.MonkeyPatch,
    target: Callable[..., Any],
    calls: int,
    error: BaseException,
) -> None:
    prepare(config)
    before = snapshot(config.out)
    later = config.model_copy(update={"split_seed": 9})
    where = "numpy" if target is np.savez else "xmodal.data.prepare"
    with monkeypatch.context() as patch:
        patch.setattr(f"{where}.{target.__name__}", fail_after(target, calls, error))
        with pytest.raises((InputError, KeyboardInterrupt)):
            prepare(later)
    assert snapshot(config.out) == before
    read = []
    with monkeypatch.context() as patch:
        patch.setattr(
            "xmodal.data.prepare.read_columns",
            lambda path, classes: read.append(path) or read_columns(path, classes),
        )
        manifest = prepare(later)
    assert 0 < len(read) < 8  # of 8 shards
    assert sorted(p.name for p in config.out.parent.iterdir()) == ["features", "source"]
    again = later.model_copy(update={"out": config.out.parent / "again"})
    assert prepare(again) == manifest
    contents = [{k: v[0] for k, v in snapshot(c.out).items()} for c in (later, again)]
    assert contents[0] == contents[1]


def test_what_an_interrupted_call_left_is_not_trusted_blindly(
    config: PrepareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows may be lost with the power although what was written after them is there."""
    with monkeypatch.context() as patch:
        patch.setattr(
            "xmodal.data.prepare._refuse_repeated_ids", fail_after(len, 0, KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            prepare(config)
    visual = config.out.with_name(".features.partial") / "new" / "train" / "visual.npy"
    flip(visual, 5000)
    manifest = prepare(config)
    again = config.model_copy(update={"out": config.out.parent / "again"})
    assert prepare(again) == manifest
    assert snapshot(config.out)["train/visual.npy"][0] == snapshot(again.out)["train/visual.npy"][0]


def test_another_preparation_does_not_go_on_with_it(
    config: PrepareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            "xmodal.data.prepare.read_columns", fail_after(read_columns, 3, OSError(5, "x"))
        )
        with pytest.raises(InputError, match=r"cannot be written \(x\).* the same command goes on"):
            prepare(config)
    prepare(config.model_copy(update={"split_seed": 9}))
    fresh = config.model_copy(update={"split_seed": 9, "out": config.out.parent / "fresh"})
    prepare(fresh)
    contents = [{k: v[0] for k, v in snapshot(c.out).items()} for c in (config, fresh)]
    assert contents[0] == contents[1]


def test_a_killed_preparation_goes_on(config: PrepareConfig) -> None:
    options = [
        f"--{k}={v}" for k, v in json.loads(config.model_dump_json()).items() if v is not None
    ]
    words = [sys.executable, "-m", "xmodal", "prepare", *options]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    parts = config.out.with_name(".features.partial") / "parts"
    while not (list(parts.glob("[0-9].npz")) or config.out.exists()):
        assert process.poll() in (None, 0)
        time.sleep(0.001)
    process.kill()
    process.wait()
    subprocess.run(words, check=True, capture_output=True)
    again = config.model_copy(update={"out": config.out.parent / "again"})
    prepare(again)
    contents = [{k: v[0] for k, v in snapshot(c.out).items()} for c in (config, again)]
    assert contents[0] == contents[1]


def test_a_set_that_cannot_be_moved_into_place_brings_the_earlier_one_back(
    config: PrepareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(config)
    before = snapshot(config.out)
    replace = Path.replace

    def broken(path: Path, target: Path) -> Path:
        if target == config.out:
            raise OSError(5, "Input/output error")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(InputError, match="cannot be written \\(Input/output error\\)"):
        prepare(config.model_copy(update={"split_seed": 9}))
    assert snapshot(config.out) == before
    assert sorted(p.name for p in config.out.parent.iterdir()) == [
        ".features.partial",
        "features",
        "source",
    ]


def test_a_shard_that_changes_meanwhile_is_refused(
    config: PrepareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xmodal.data.prepare.scan_records", lambda path: (12, "an older look"))
    with pytest.raises(InputError, match="the file changed while it was read"):
        prepare(config)
    assert not config.out.exists()


# --- opening -------------------------------------------------------------------------------------


SPOILT = {
    "an empty array": lambda f: (f / "train/ids.npy").write_bytes(b""),
    "a header cut off": lambda f: (f / "train/audio.npy").write_bytes(
        (f / "train/audio.npy").read_bytes().replace(b"}", b"(", 1)
    ),
    "a label that is none": lambda f: change(f / "train/label_indices.npy", 0, 10**6),
    "a negative label": lambda f: change(f / "train/label_indices.npy", 0, -1),
    "labels that run backwards": lambda f: change(f / "train/label_indptr.npy", 1, 10**6),
    "names that are no text": lambda f: (f / "label_names.json").write_text("[1,2,3,4,5,6,7]"),
    "a manifest of lists": lambda f: edit(f, splits=[1]),
    "sizes that are none": lambda f: edit(f, sizes=7),
    "a source that is none": lambda f: edit(f, source=None),
    "ids that are numbers": lambda f: np.save(f / "train/ids.npy", np.arange(len(ids_of(f)))),
    "features that are texts": lambda f: np.save(
        f / "train/audio.npy", np.full((len(ids_of(f)), AUDIO_DIM), "x")
    ),
}


def change(path: Path, place: int, value: int) -> None:
    values = np.load(path)
    values[place] = value
    np.save(path, values)


def edit(folder: Path, **values: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | values))


def ids_of(folder: Path) -> np.ndarray:
    return np.load(folder / "train/ids.npy")


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_what_is_damaged_is_not_opened(
    config: PrepareConfig, spoil: Callable[[Path], object]
) -> None:
    prepare(config)
    spoil(config.out)
    with pytest.raises(InputError, match="the train split is damaged; prepare it again"):
        open_features(config.out, "train")


def test_only_a_whole_set_opens(config: PrepareConfig) -> None:
    with pytest.raises(InputError, match="holds no feature set"):
        open_features(config.out, "train")
    prepare(config)
    with pytest.raises(InputError, match="'test' is no split; choose one of train, validation"):
        open_features(config.out, "test")
    audio = config.out / "train" / "audio.npy"
    os.truncate(audio, audio.stat().st_size - 4)
    with pytest.raises(InputError, match="the train split is damaged"):
        open_features(config.out, "train")
    np.save(config.out / "validation" / "ids.npy", np.array(["one"]))
    with pytest.raises(InputError, match="the validation split is damaged"):
        open_features(config.out, "validation")
    (config.out / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="holds no feature set"):
        open_features(config.out, "evaluation")


# --- choices -------------------------------------------------------------------------------------


def test_several_processes_give_the_same_bytes(config: PrepareConfig) -> None:
    prepare(config.model_copy(update={"jobs": 1}))
    several = config.model_copy(update={"jobs": 2, "out": config.out.parent / "several"})
    prepare(several)
    assert {k: v[0] for k, v in snapshot(config.out).items()} == {
        k: v[0] for k, v in snapshot(several.out).items()
    }


def test_a_fault_in_another_process_is_named(config: PrepareConfig) -> None:
    flip(config.shards / "part2.tfrecord", 99)
    with pytest.raises(InputError, match=r"part2.tfrecord: record 0 at byte 0: the checksum"):
        prepare(config.model_copy(update={"jobs": 2}))


def test_evaluation_clips_come_from_the_shards_asked_for(config: PrepareConfig) -> None:
    splits = prepare(config.model_copy(update={"evaluation_shards": "more/*"}))["splits"]
    assert all(shard["name"].startswith("more/") for shard in splits["evaluation"]["shards"])
    names = [s["name"] for split in splits.values() for s in split["shards"]]
    assert len(set(names)) == len(names) == 8
    few = {"evaluation_shards": "more/part1*"}
    with pytest.raises(InputError, match=r"shards named more/part1\* hold 5 clips, too few for 20"):
        prepare(config.model_copy(update=few))


def test_shards_that_are_named_are_taken_in_that_order(config: PrepareConfig) -> None:
    """By hand: part{k} holds 4 + k clips, so 20 are parts 6 and 7, and 8 are part 4 alone."""
    named = {
        "evaluation_clips": 20,
        "evaluation_shards": ["*part7*", "part6*", "*"],
        "validation_clips": 8,
        "validation_shards": "part4*",
    }
    splits = prepare(config.model_copy(update=named))["splits"]
    taken = {name: [s["name"] for s in splits[name]["shards"]] for name in splits}
    assert taken["evaluation"] == ["more/part7.tfrecord", "part6.tfrecord"]
    assert taken["validation"] == ["part4.tfrecord"]
    assert len(taken["train"]) == 5


def test_float16_holds_the_rounded_features(config: PrepareConfig) -> None:
    prepare(config)
    half = config.model_copy(update={"storage": "float16", "out": config.out.parent / "half"})
    prepare(half)
    for name in SPLITS:
        full, rounded = open_features(config.out, name), open_features(half.out, name)
        assert rounded.visual.dtype == rounded.audio.dtype == np.float16
        np.testing.assert_array_equal(rounded.visual, full.visual.astype(np.float16))
        np.testing.assert_array_equal(rounded.audio, full.audio.astype(np.float16))
        np.testing.assert_array_equal(rounded.ids, full.ids)
        assert rounded.fingerprint != full.fingerprint


def test_a_value_beyond_float16_is_refused(config: PrepareConfig) -> None:
    shard = config.shards / "part2.tfrecord"
    first, *others = read_shard(shard)
    first.audio[7] = 1e5
    write_records(shard, map(encode_example, [first, *others]))
    prepare(config)
    with pytest.raises(InputError, match=r"part2.tfrecord: holds values too large for float16"):
        prepare(config.model_copy(update={"storage": "float16"}))


@pytest.mark.parametrize(
    ("change", "storage", "told"),
    [
        (lambda row, clip: clip.audio.fill(0.5), "float32", "evaluation clips have the same audio"),
        (lambda row, clip: clip.visual.fill(0), "float32", "evaluation clips have the same visual"),
        (lambda row, clip: clip.audio.__imul__(1e-20), "float32", "same audio features, to 1e-15"),
        (lambda row, clip: clip.audio.__imul__(1e-9), "float16", "evaluation clips .* same audio"),
        (lambda row, clip: clip.audio.fill(row % 2), "float32", "clips has the audio .* another"),
        (lambda row, clip: clip.visual.__imul__(1e20), "float32", "holds values beyond 1e.15"),
        (lambda row, clip: clip.visual.fill(row % 4), "float32", "all clips left for .* as second"),
    ],
)  # fmt: skip
def test_features_that_nothing_can_be_learned_from_are_refused(
    config: PrepareConfig, change: Callable[[int, Clip], Any], storage: Any, told: str
) -> None:
    """Before anything is made from them, and what is there already stays."""
    prepare(config)
    before = snapshot(config.out)
    for shard in config.shards.rglob("*.tfrecord"):
        clips = list(read_shard(shard))
        for row, clip in enumerate(clips):
            change(row, clip)
        write_records(shard, map(encode_example, clips))
    with pytest.raises(InputError, match=told):
        prepare(config.model_copy(update={"storage": storage}))
    assert snapshot(config.out) == before


@pytest.mark.parametrize("wrong", [{"evaluation_clips": 0}, {"split_seed": -1}, {"shard": "x"}])
def test_wrong_choices_are_refused(config: PrepareConfig, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        PrepareConfig(**{**config.model_dump(), **wrong})


# --- real shards ---------------------------------------------------------------------------------


def test_real_shards_prepare(real_shards: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    for path in sorted((real_shards / "validate").glob("*.tfrecord"))[:6]:
        (shards / path.name).symlink_to(path)
    config = PrepareConfig(
        shards=shards,
        out=tmp_path / "features",
        vocabulary=real_shards / "vocabulary.csv",
        evaluation_clips=600,
        validation_clips=100,
    )
    manifest = prepare(config)
    features = open_features(config.out, "evaluation")
    assert manifest["classes"] == 3862
    assert len(features) == 600
    assert 2 < features.labels.nnz / 600 < 4  # labels a clip
    silent = features.audio[features.silent]
    assert (silent == silent[:1]).all()  # every repeated vector is that of silence
    assert 0 < len(silent) < 60
