"""Feature sets as they are opened: mapped, complete or refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from by_hand import by_hand

from xmodal.config import InputError
from xmodal.data import features
from xmodal.data.features import map_clips, open_features, open_splits, read_chunks
from xmodal.data.schema import AUDIO_DIM
from xmodal.files import replace


@pytest.fixture
def folder(related_features: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(related_features, tmp_path / "features"))


def test_a_split_is_mapped_and_rows_of_it_are_taken_into_memory(folder: Path) -> None:
    features, rows = open_features(folder, "evaluation"), np.array([7, 0, 19])
    assert isinstance(features.visual, np.memmap) and not features.visual.flags.writeable
    some = features.take(rows)
    assert len(some) == 3 and not isinstance(some.visual, np.memmap)
    for name in ("visual", "audio", "ids"):
        np.testing.assert_array_equal(getattr(some, name), getattr(features, name)[rows])
    assert [some.labels_of(k) for k in range(3)] == [features.labels_of(row) for row in rows]
    assert some.label_names == features.label_names
    assert (some.fingerprint, some.split) == (features.fingerprint, "evaluation")
    assert len(features.take(rows[:0])) == 0


def test_what_was_cut_or_computed_from_a_mapped_split_is_read_as_it_is(folder: Path) -> None:
    visual = open_features(folder, "evaluation").visual
    for part in (visual[5:], visual[::2], visual.astype(np.float16)):
        (chunk,) = next(iter(read_chunks(part)))
        np.testing.assert_array_equal(chunk, np.array(part, np.float32))


def test_silent_clips_are_those_that_share_their_audio() -> None:
    audio = np.arange(6 * AUDIO_DIM, dtype=np.float32).reshape(6, AUDIO_DIM)
    audio[4] = audio[1]
    audio[5, :-1] = audio[1, :-1]  # all but the last value: not the same
    features = by_hand([[]] * 6, audio=audio)
    assert features.silent.tolist() == [False, True, False, False, True, False]
    assert features.take(np.array([0, 1, 5])).silent.tolist() == [False] * 3


def change(path: Path, place: int, value: int) -> None:
    values = np.load(path)
    values[place] = value
    np.save(path, values)


def edit(folder: Path, **values: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | values))


SPOILT: dict[str, Callable[[Path], object]] = {
    "a label that is none": lambda f: change(f / "train/label_indices.npy", 0, 10**6),
    "a negative label": lambda f: change(f / "train/label_indices.npy", 0, -1),
    "labels that run backwards": lambda f: change(f / "train/label_indptr.npy", 1, 10**6),
    "names that are missing": lambda f: (f / "label_names.json").write_text("[]"),
    "a manifest of lists": lambda f: edit(f, splits=[1]),
    "other sizes": lambda f: edit(f, sizes=[1024, 127]),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_what_is_damaged_is_not_opened(folder: Path, spoil: Callable[[Path], object]) -> None:
    spoil(folder)
    with pytest.raises(InputError, match=f"^{folder}: .*train.* damaged"):
        open_features(folder, "train")


def test_only_a_feature_set_opens_and_only_a_split_of_it(folder: Path, tmp_path: Path) -> None:
    for other in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match=f"^{other}: .*feature set"):
            open_features(other, "train")
    with pytest.raises(InputError, match="test.*train, validation, evaluation"):
        open_features(folder, "test")
    (folder / "manifest.json").write_text("{")
    with pytest.raises(InputError, match=f"^{folder}: .*feature set"):
        open_features(folder, "evaluation")


def test_an_open_set_is_read_as_it_was_when_another_takes_its_place(
    folder: Path, tmp_path: Path
) -> None:
    train, validation = open_splits(folder, "train", "validation")
    before = [[np.array(one.visual), np.array(one.audio)] for one in (train, validation)]
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    for path in (*other.glob("*/visual.npy"), *other.glob("*/audio.npy")):
        np.save(path, 2 * np.load(path)[:9])  # fewer clips, other values
    replace(folder, other)
    for one, (visual, audio) in zip((train, validation), before, strict=True):
        rows = np.arange(len(one))[::-1]
        np.testing.assert_array_equal(one.take(rows).visual, visual[rows])
        np.testing.assert_array_equal(next(read_chunks(one.audio))[0], audio)


def test_splits_of_two_sets_are_not_opened_together(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another set takes the folder's place when one split is mapped and the other is not."""
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    edit(other, fingerprint="another")

    def map_and_replace(place: Path, *given: Any) -> Any:
        found = map_clips(place, *given)
        if other.exists():
            replace(folder, other)
        return found

    monkeypatch.setattr(features, "map_clips", map_and_replace)
    with pytest.raises(InputError, match=f"^{folder}: another"):
        open_splits(folder, "train", "validation")
    open_splits(folder, "train", "validation")  # now they are of one
