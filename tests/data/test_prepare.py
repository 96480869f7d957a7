"""Preparing shards: the split against a plain reading of its rule, and faults against the set."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xmodal.config import InputError
from xmodal.data import prepare as prepared
from xmodal.data.features import SPLITS, FeatureSet, open_features
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.data.schema import Clip, _Example, encode_example, read_shard
from xmodal.data.tfrecord import read_records, shards_below, write_records
from xmodal.data.vocabulary import write_vocabulary

MakeClips = Callable[..., list[Clip]]
one_folder = settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])


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


def changed(config: PrepareConfig, **choices: Any) -> PrepareConfig:
    return config.model_copy(update=choices)


def times(folder: Path) -> dict[str, int]:
    """When every file below a folder was last written."""
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*.*")}


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def assert_holds(features: FeatureSet, clips: list[Clip]) -> None:
    assert features.ids.tolist() == [clip.id for clip in clips]
    np.testing.assert_array_equal(features.visual, [clip.visual for clip in clips])
    np.testing.assert_array_equal(features.audio, [clip.audio for clip in clips])
    labels = np.split(features.labels.indices, features.labels.indptr[1:-1])
    assert [some.tolist() for some in labels] == [clip.labels.tolist() for clip in clips]


def with_first(shard: Path, **values: Any) -> None:
    """Change the first clip of a shard."""
    first, *rest = read_shard(shard)
    write_records(shard, map(encode_example, [first._replace(**values), *rest]))


# --- what is prepared ----------------------------------------------------------------------------


def test_fingerprints_are_those_of_earlier_versions(
    config: PrepareConfig, make_clips: MakeClips
) -> None:
    """They name the features in every result, so they stay as version 0.2.0 made them."""
    manifest = prepare(config)
    assert manifest["format"] == "xmodal features 2"
    assert manifest["fingerprint"].startswith("996f7cd907b04d95189489e2100cf1e5")
    half = prepare(changed(config, storage="float16", split_seed=3))
    assert half["fingerprint"].startswith("f138d725ea8ee0b2db96f6005a214c39")
    known = [*make_clips(4, 0), *make_clips(8, 4), *make_clips(11, 7)]
    again = [clip._replace(id=f"again{row}") for row, clip in enumerate(known)]
    write_records(config.shards / "again.tfrecord", map(encode_example, again))
    fewer = prepare(changed(config, split_seed=3))
    assert fewer["fingerprint"].startswith("8fecc8569ad9ebaeb62de42f2cc44ef6")
    assert [fewer["splits"][name]["dropped"] for name in SPLITS] == [4, 2, 11]


def test_every_row_is_the_clip_its_shard_holds(
    config: PrepareConfig, make_clips: MakeClips
) -> None:
    clips = [clip._replace(labels=np.zeros(0, np.int32)) for clip in make_clips(25, 99)]
    write_records(config.shards / "test.tfrecord", map(encode_example, clips))
    manifest = prepare(config)
    assert manifest == json.loads((config.out / "manifest.json").read_text())
    for name in SPLITS:
        split, features = manifest["splits"][name], open_features(config.out, name)
        read = [clip for s in split["shards"] for clip in read_shard(config.shards / s["name"])]
        assert len(features) == split["clips"] == len(read) - split["dropped"]
        assert_holds(features, read[: len(features)])
        assert features.visual.dtype == features.audio.dtype == np.float32
        assert split["labels"] == sum(len(clip.labels) for clip in read[: len(features)])
        assert (features.source, features.split) == ("tiny", name)
        assert features.labels_of(1) == [f"class {c}" for c in read[1].labels]


@given(evaluation=st.integers(1, 30), validation=st.integers(1, 15), seed=st.integers(0, 50))
@one_folder
def test_the_split_goes_by_shard(
    config: PrepareConfig, evaluation: int, validation: int, seed: int
) -> None:
    choices = {"evaluation_clips": evaluation, "validation_clips": validation, "split_seed": seed}
    splits = prepare(changed(config, **choices))["splits"]
    dealt = [shard["name"] for split in splits.values() for shard in split["shards"]]
    assert sorted(dealt) == sorted(shards_below(config.shards))
    records = {name: [s["records"] for s in splits[name]["shards"]] for name in splits}
    for name, clips in (("evaluation", evaluation), ("validation", validation)):
        *before, last = records[name]
        assert splits[name]["clips"] == clips
        assert sum(before) < clips <= sum(before) + last  # no shard more than it takes
        assert splits[name]["dropped"] == sum(before) + last - clips
    assert splits["train"]["clips"] == sum(records["train"]) > 0
    assert splits["train"]["dropped"] == 0


@given(seed=st.integers(0, 20), chance=st.integers(0, 10**6))
@one_folder
def test_a_video_with_a_second_id_is_in_one_split_only(
    config: PrepareConfig, make_clips: MakeClips, seed: int, chance: int
) -> None:
    seen = [clip for k in range(8) for clip in make_clips(4 + k, k)]
    rows = np.random.default_rng(chance).choice(len(seen), 12, replace=False)
    again = [seen[row]._replace(id=f"again{row}") for row in rows]
    write_records(config.shards / "again.tfrecord", map(encode_example, again))
    splits = prepare(changed(config, split_seed=seed))["splits"]
    owner: dict[bytes, str] = {}
    by_id = {clip.id: clip for clip in [*seen, *again]}
    for name in SPLITS:
        features = open_features(config.out, name)
        records = sum(shard["records"] for shard in splits[name]["shards"])
        assert splits[name]["clips"] == len(features) == records - splits[name]["dropped"]
        assert_holds(features, [by_id[clip] for clip in features.ids])
        assert {owner.setdefault(row.tobytes(), name) for row in features.visual} == {name}
    assert splits["evaluation"]["clips"] == 20  # what is dropped is never of these


def test_clips_of_another_release_are_trained_on_without_their_labels(
    config: PrepareConfig, make_clips: MakeClips
) -> None:
    write_vocabulary(config.vocabulary, ["x"] * 3862, [1] * 3862)  # type: ignore[arg-type]
    twin = make_clips(6, 2)[0]._replace(id="twin")
    clips = [clip._replace(labels=np.array([4000])) for clip in [*make_clips(9, 99), twin]]
    shard = config.shards / "a_first.tfrecord"
    write_records(shard, map(encode_example, clips))
    of_release_1(shard)
    named = {"evaluation_shards": "*part7*", "validation_shards": "*part5*"}
    named |= {"evaluation_clips": 11, "validation_clips": 9}
    with pytest.raises(InputError, match="release 1"):
        prepare(changed(config, **named))
    chosen = changed(config, **named, other_labels="leave out", leave_out=["s99c3", "s6c0"])
    split, train = prepare(chosen)["splits"]["train"], open_features(config.out, "train")
    kept = [f"s99c{row}" for row in (0, 1, 2, 4, 5, 6, 7, 8)]
    assert train.ids[-8:].tolist() == kept  # behind all that have labels; the twin is not there
    assert not np.diff(train.labels.indptr)[-8:].any() and np.diff(train.labels.indptr)[:-8].all()
    assert "s2c0" in train.ids and "s6c0" not in train.ids
    last = {"name": shard.name, "records": 10, "release": 1, "clips": 8}
    assert split["shards"][-1] == last
    assert split["dropped"] == 3


def test_the_same_input_gives_the_same_bytes_anywhere(config: PrepareConfig) -> None:
    moved = config.shards.parent / "elsewhere"
    shutil.copytree(config.shards, moved / "shards")
    there = changed(config, shards=moved / "shards", out=moved / "features")
    assert prepare(config) == prepare(there)
    assert content(config.out) == content(there.out)
    assert str(config.shards.parent) not in (config.out / "manifest.json").read_text()


# --- choices -------------------------------------------------------------------------------------


def test_shards_that_are_named_are_taken_in_that_order(config: PrepareConfig) -> None:
    """By hand: part{k} holds 4 + k clips, so 20 are parts 6 and 7, and 8 are part 4 alone."""
    named = {"evaluation_shards": ["*part7*", "part6*", "*"], "validation_shards": "part4*"}
    splits = prepare(changed(config, validation_clips=8, **named))["splits"]
    taken = {name: [s["name"] for s in splits[name]["shards"]] for name in splits}
    assert taken["evaluation"] == ["more/part7.tfrecord", "part6.tfrecord"]
    assert taken["validation"] == ["part4.tfrecord"]
    assert len(taken["train"]) == 5
    with pytest.raises(InputError, match="5 clips.* evaluation"):
        prepare(changed(config, evaluation_shards="more/part1*"))


def test_float16_holds_the_rounded_features_or_is_refused(config: PrepareConfig) -> None:
    half = changed(config, storage="float16", out=config.out.parent / "half")
    prepare(config)
    prepare(half)
    full, rounded = (open_features(out, "train") for out in (config.out, half.out))
    for name in ("visual", "audio"):
        assert getattr(rounded, name).dtype == np.float16
        values = getattr(full, name).astype(np.float16)
        np.testing.assert_array_equal(getattr(rounded, name), values)
    assert rounded.fingerprint != full.fingerprint
    with_first(config.shards / "part2.tfrecord", audio=np.full(128, 1e5))
    prepare(config)
    with pytest.raises(InputError, match=r"part2\.tfrecord: .*float16"):
        prepare(half)


# --- doing it again ------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["seed", "vocabulary", "shard", "lost array", "layout"])
def test_only_a_change_prepares_anew(
    config: PrepareConfig, make_clips: MakeClips, change: str
) -> None:
    manifest = prepare(config)
    before = times(config.out)
    assert prepare(config) == manifest
    assert times(config.out) == before  # nothing was written
    if change == "vocabulary":
        text = config.vocabulary.read_text()
        config.vocabulary.write_text(text.replace("class 3", "class three"))
    elif change == "shard":
        write_records(config.shards / "part0.tfrecord", map(encode_example, make_clips(4, 77)))
    elif change == "lost array":
        (config.out / "train" / "audio.npy").unlink()
    elif change == "layout":  # of an earlier version
        earlier = {**manifest, "format": "xmodal features 1", "inputs": ""}
        (config.out / "manifest.json").write_text(json.dumps(earlier))
    again = prepare(changed(config, **({"split_seed": 9} if change == "seed" else {})))
    assert (again == manifest) == (change in ("lost array", "layout"))
    after = times(config.out)
    assert after.keys() == before.keys()
    assert all(after[name] != before[name] for name in before)


# --- faults --------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[99] ^= 0x40
    path.write_bytes(content)


def remove(*paths: Path) -> None:
    for path in paths:
        path.unlink()


def of_release_1(path: Path) -> None:
    """Move the ids to the key of release 1."""
    payloads = []
    for payload in read_records(path):
        example = _Example.FromString(payload)
        example.features.feature["video_id"].CopyFrom(example.features.feature["id"])
        del example.features.feature["id"]
        payloads.append(example.SerializeToString(deterministic=True))
    write_records(path, payloads)


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "flipped payload": (flip, "part2.tfrecord: record 0 .*checksum"),
    "unknown label": (lambda p: with_first(p, labels=np.array([7])), "part2.tfrecord: record 0:"),
    "repeated id": (lambda p: with_first(p, id="s6c9"), "(part[26].tfrecord.*){2}s6c9"),
    "no vocabulary": (lambda p: remove(p.with_name("vocabulary.csv")), "vocabulary.csv: "),
    "too few clips": (lambda p: remove(*p.parent.glob("part[046]*")), r"\d clips.* few"),
    "no shards": (lambda p: remove(*p.parent.rglob("*.tfrecord")), "tfrecord"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_and_leaves_everything_as_it_was(
    config: PrepareConfig, fault: str
) -> None:
    prepare(config)
    before = content(config.out)
    spoil, message = FAULTS[fault]
    spoil(config.shards / "part2.tfrecord")
    with pytest.raises(InputError, match=message):
        prepare(changed(config, evaluation_clips=30, split_seed=1))
    assert content(config.out) == before
    assert sorted(p.name for p in config.out.parent.iterdir()) == ["features", "source"]


def test_what_is_no_feature_set_is_never_replaced(config: PrepareConfig) -> None:
    config.out.mkdir()
    (config.out / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=f"^{config.out} .*feature set"):
        prepare(config)
    assert content(config.out) == {"thesis.txt": b"mine"}


@pytest.mark.parametrize("kind", ["shards", "arrays"])
def test_input_that_changes_while_it_is_read_makes_no_set(
    config: PrepareConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    prepare(config)
    before, changing = content(config.out), config.shards / "more/part3.tfrecord"
    if kind == "arrays":
        config = config.model_copy(update={"shards": tmp_path / "arrays", "vocabulary": None})
        config.shards.mkdir()
        for name in ("visual", "audio"):
            np.save(config.shards / f"{name}.npy", np.random.default_rng(0).normal(size=(60, 7)))
        changing = config.shards / "audio.npy"
    write = prepared._write

    def write_and_change(*given: Any) -> Any:
        shutil.copy(changing, tmp_path / "again")
        shutil.move(tmp_path / "again", changing)
        return write(*given)

    monkeypatch.setattr(prepared, "_write", write_and_change)
    with pytest.raises(InputError, match=f"^{changing} changed"):
        prepare(config.model_copy(update={"split_seed": 5}))
    assert content(config.out) == before
