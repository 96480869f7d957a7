"""From a folder of media files to features: clips, broken files, what is written."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from media_files import RED, SIMPLE, sine, steady, write_media, write_picture

from xmodal.config import InputError
from xmodal.media import extract as module
from xmodal.media.extract import ExtractConfig, Extracted, extract


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder of a video, a silent one, a picture with its sound, and a sound alone."""
    own = tmp_path / "own"
    for name in ("farm", "صوت"):
        (own / name).mkdir(parents=True)
    write_media(own / "farm" / "cow.mp4", steady(2), tone=sine(2))
    write_media(own / "farm" / "hen.mp4", steady(1))
    write_picture(own / "صوت" / "钟.png", np.full((4, 6, 4), (*RED, 255), np.uint8))
    write_media(own / "صوت" / "钟.wav", tone=sine(0.05))
    write_media(own / "wind.wav", tone=sine(1))
    (own / "notes.txt").write_text("not looked at")
    return own


def run(folder: Path, **settings: object) -> tuple[Extracted, dict[str, np.ndarray]]:
    config = ExtractConfig(folder=folder, out=folder.parent / "features.npz", **settings)
    done = extract(config, SIMPLE)
    with np.load(config.out, allow_pickle=False) as arrays:
        return done, dict(arrays)


def test_clips_have_the_modalities_that_their_files_hold(folder: Path):
    done, arrays = run(folder)
    assert arrays["ids"].tolist() == ["farm/cow", "farm/hen", "wind", "صوت/钟"]
    assert np.isnan(arrays["visual"]).any(axis=1).tolist() == [False, False, True, False]
    assert np.isnan(arrays["audio"]).any(axis=1).tolist() == [False, True, False, False]
    assert arrays["visual"].dtype == arrays["audio"].dtype == np.float32
    assert np.abs(arrays["visual"][[0, 1, 3], :3] - RED).max() < 6
    assert arrays["audio"][2:, 1] == pytest.approx([1, 0.05])
    assert arrays["audio"][2, 0] == pytest.approx(0.5 / np.sqrt(2), abs=1e-3)
    assert arrays["group"].tolist() == arrays["labels"].tolist() == ["farm", "farm", "", "صوت"]
    assert str(arrays["encoder"]) == "simple"
    assert done[1:4] == (4, 2, {})
    assert [*done.remarks.values()] == [["notes.txt"]]


def test_pairs_alone_and_names_left_out(folder: Path):
    done, arrays = run(folder, paired=True)
    assert arrays["ids"].tolist() == ["farm/cow", "صوت/钟"] and done[1:4] == (2, 2, {})
    (folder / ".hidden.wav").write_bytes(b"")
    done, arrays = run(folder, skip=("farm/*", "wind*"))
    assert arrays["ids"].tolist() == ["صوت/钟"] and not done.skipped


def test_no_folders_no_groups_and_no_file_without_features(tmp_path: Path):
    (tmp_path / "flat").mkdir()
    write_media(tmp_path / "flat" / "a.wav", tone=sine(1))
    _, arrays = run(tmp_path / "flat")
    assert set(arrays) == {"visual", "audio", "visual_key", "audio_key", "ids", "encoder", "folder"}
    assert np.isnan(arrays["visual"]).all() and arrays["visual"].shape == (1, 4)
    broken = SIMPLE._replace(audio=lambda blocks: np.full(2, np.nan, np.float32))
    config = ExtractConfig(folder=tmp_path / "flat", out=tmp_path / "broken.npz")
    with pytest.raises(InputError, match="finite"):
        extract(config, broken)
    assert not config.out.exists()


def test_broken_files_are_told_and_lose_nothing_of_the_others(folder: Path):
    _, before = run(folder)
    (folder / "farm" / "ape.mp4").write_bytes(b"")
    whole = (folder / "farm" / "cow.mp4").read_bytes()
    (folder / "farm" / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "wind.png").write_bytes(b"no picture")
    (folder / "away.wav").symlink_to(folder / "nowhere.wav")
    write_picture(folder / "deaf.png", np.zeros((4, 6, 4), np.uint8)).rename(folder / "deaf.wav")
    os.mkfifo(folder / "pipe.mp4")
    with open(os.fsencode(folder) + b"/\xff.wav", "wb"):
        pass
    done, after = run(folder)
    names = ["away.wav", "deaf.wav", "farm/ape.mp4", "farm/cut.mp4", "pipe.mp4", "wind.png"]
    assert sorted(done.skipped) == [*names, "\ufffd.wav"]
    assert all(str(folder) not in reason for reason in done.skipped.values())
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])
    assert str(done).count("\n") == len(done.skipped) + len(done.remarks)


def test_a_sound_beside_a_silent_video_is_its_sound(folder: Path):
    write_media(folder / "farm" / "hen.wav", tone=sine(0.5))
    write_picture(folder / "farm" / "cow.png", np.full((4, 6, 4), 255, np.uint8))  # a poster
    _, arrays = run(folder)
    assert arrays["audio"][1, 1] == 0.5
    assert np.abs(arrays["visual"][0, :3] - RED).max() < 6


def test_a_folder_without_media_is_refused(tmp_path: Path):
    for folder in (tmp_path / "gone", tmp_path):
        with pytest.raises(InputError, match=str(folder)):
            run(folder)


def test_the_command(folder: Path, call: Callable, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "open_encoders", lambda name, *_: SIMPLE._replace(name=name))
    out = folder.parent / "made" / "features.npz"
    status, told, _ = call("extract", folder, "--out", out, "--encoders", "packaged")
    assert status == 0 and told.startswith(f"{out}: 4 clips, 2 ") and out.exists()


def test_without_the_extra_the_command_says_what_to_install(
    folder: Path, call: Callable, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "av", None)
    status, out, told = call("extract", folder, "--out", folder.parent / "features.npz")
    assert (status, out, told.count("\n")) == (2, "", 1) and "pip install" in told
