"""From a folder of media files to features: clips, broken files, going on, what is written."""

import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from media_files import RED, sine, steady, write_media, write_picture

from xmodal.config import InputError
from xmodal.media import extract as module
from xmodal.media.encoders import Encoders
from xmodal.media.extract import ExtractConfig, Extracted, extract

#: A clip's mean colour, and the level and the length of its sound.
SIMPLE = Encoders(
    *("simple", 3, 2, 16_000),
    lambda frames: np.mean([f.mean((0, 1)) for f in frames], axis=0).astype(np.float32),
    lambda blocks: (lambda sound: np.array([np.sqrt((sound**2).mean()), len(sound)], np.float32))(
        np.concatenate(list(blocks))
    ),
)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the list of names of the files that are decoded, for either modality."""
    names: list[str] = []
    for name in ("pictures", "sound"):
        function = getattr(module, name)

        def counted(path: Path, *rest: int, function: Callable = function):
            names.append(path.name)
            return function(path, *rest)

        monkeypatch.setattr(module, name, counted)
    return names


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
    assert np.abs(arrays["visual"][[0, 1, 3]] - RED).max() < 6
    assert arrays["audio"][2:, 1].tolist() == [16_000, 800]
    assert arrays["audio"][2, 0] == pytest.approx(0.5 / np.sqrt(2), abs=1e-3)
    assert arrays["group"].tolist() == arrays["labels"].tolist() == ["farm", "farm", "", "صوت"]
    assert str(arrays["encoder"]) == "simple"
    assert (done.clips, done.pairs, len(done.passed_over)) == (4, 2, 0)


def test_pairs_alone(folder: Path, decoded: list[str]):
    done, arrays = run(folder, paired=True)
    assert arrays["ids"].tolist() == ["farm/cow", "صوت/钟"]
    assert (done.clips, done.pairs) == (2, 2)
    assert "wind.wav" not in decoded


def test_no_folders_no_groups(tmp_path: Path):
    (tmp_path / "flat").mkdir()
    write_media(tmp_path / "flat" / "a.wav", tone=sine(1))
    _, arrays = run(tmp_path / "flat")
    assert set(arrays) == {"visual", "audio", "ids", "encoder"}
    assert np.isnan(arrays["visual"]).all() and arrays["visual"].shape == (1, 3)


def test_broken_files_are_told_and_lose_nothing_of_the_others(folder: Path):
    _, before = run(folder)
    (folder / "farm" / "ape.mp4").write_bytes(b"")
    (folder / "farm" / "bat.mp4").write_text("a text\n" * 50)
    whole = (folder / "farm" / "cow.mp4").read_bytes()
    (folder / "farm" / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "wind.png").write_bytes(b"no picture")
    (folder / "away.wav").symlink_to(folder / "nowhere.wav")
    os.mkfifo(folder / "pipe.mp4")
    with open(os.fsencode(folder) + b"/\xff.wav", "wb"):
        pass
    done, after = run(folder)
    told = dict(done.passed_over.values)
    names = ["away.wav", "farm/ape.mp4", "farm/bat.mp4", "farm/cut.mp4", "pipe.mp4", "wind.png"]
    assert sorted(told) == [*names, "\ufffd.wav"]
    assert all(reason.count(".") <= 1 and str(folder) not in reason for reason in told.values())
    assert (told["pipe.mp4"], told["\ufffd.wav"]) == (
        "is no regular file.",
        "its name is no UTF-8.",
    )
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])
    assert "passed over: farm/bat.mp4: is no media file" in str(done)


def test_a_sound_beside_a_silent_video_is_its_sound(folder: Path):
    write_media(folder / "farm" / "hen.wav", tone=sine(0.5))
    write_picture(folder / "farm" / "cow.png", np.full((4, 6, 4), 255, np.uint8))  # a poster
    _, arrays = run(folder)
    assert arrays["audio"][1, 1] == 8000
    assert np.abs(arrays["visual"][0] - RED).max() < 6


def test_names_can_be_left_out(folder: Path):
    assert run(folder, skip="*.wav")[1]["ids"].tolist() == ["farm/cow", "farm/hen", "صوت/钟"]
    assert run(folder, skip=["farm/*", "wind*"])[1]["ids"].tolist() == ["صوت/钟"]
    (folder / ".hidden.wav").write_bytes(b"")
    assert run(folder)[0].passed_over.empty


def test_what_is_done_is_not_done_again(folder: Path, decoded: list[str]):
    first, before = run(folder)
    assert (first.embedded, first.kept) == (6, 0)
    assert len(decoded) == 7  # one more: the silent video was asked for its sound
    decoded.clear()
    second, after = run(folder)
    assert decoded == []
    assert (second.embedded, second.kept) == (0, first.embedded)
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


def test_a_broken_file_is_tried_again(folder: Path, decoded: list[str]):
    (folder / "farm" / "ape.mp4").write_bytes(b"")
    first, _ = run(folder)
    decoded.clear()
    second, _ = run(folder)
    assert decoded == ["ape.mp4"] * 2  # for its pictures, and for its sound
    assert second.passed_over.equals(first.passed_over)


def test_a_file_that_changed_is_done_again(folder: Path, decoded: list[str]):
    run(folder)
    decoded.clear()
    write_media(folder / "wind.wav", tone=sine(2))
    write_media(folder / "rain.wav", tone=sine(1))
    done, arrays = run(folder)
    assert decoded == ["rain.wav", "wind.wav"]
    assert arrays["audio"][arrays["ids"] == "wind", 1] == 32_000
    assert done.clips == 5


def test_an_interrupted_call_goes_on(
    folder: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
):
    def stopped(*_: object) -> np.ndarray:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        real = module.embed_file
        patched.setattr(
            module, "embed_file", lambda p, *a: stopped() if p.name == "wind.wav" else real(p, *a)
        )
        run(folder)
    assert not (folder.parent / "features.npz").exists()
    decoded.clear()
    assert run(folder)[0].clips == 4
    assert decoded == ["wind.wav", "钟.png", "钟.wav"]


def test_another_encoder_does_everything_again(folder: Path, decoded: list[str]):
    run(folder)
    first = len(decoded)
    config = ExtractConfig(folder=folder, out=folder.parent / "features.npz")
    extract(config, SIMPLE._replace(name="other"))
    assert len(decoded) == 2 * first


def test_features_that_are_not_finite_are_told(tmp_path: Path):
    write_media(tmp_path / "a.wav", tone=sine(1))
    broken = SIMPLE._replace(audio=lambda blocks: np.full(2, np.nan, np.float32))
    config = ExtractConfig(folder=tmp_path, out=tmp_path / "features.npz")
    with pytest.raises(InputError, match=r"not one of 1 clips can be used \(a\.wav: .*not finite"):
        extract(config, broken)
    assert not config.out.exists()


def test_bad_input_is_told(tmp_path: Path, call: Callable):
    assert call("extract", tmp_path / "gone")[2] == f"xmodal: {tmp_path}/gone: is no folder.\n"
    status, _, told = call("extract", tmp_path)
    assert status == 2 and "holds no media file" in told
    assert "is to end in .npz" in call("extract", tmp_path, "--out=features.csv")[2]
    (tmp_path / ".features.npz.done").write_text("no data base" * 100)
    write_media(tmp_path / "a.wav", tone=sine(1))
    with pytest.raises(InputError, match=r"\.features\.npz\.done: cannot be used .* delete it"):
        extract(ExtractConfig(folder=tmp_path, out=tmp_path / "features.npz"), SIMPLE)


def test_the_command(folder: Path, call: Callable, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "open_encoders", lambda name, files: SIMPLE._replace(name=name))
    out = folder.parent / "made" / "features.npz"
    status, told, _ = call("extract", folder, f"--out={out}", "--encoders=packaged")
    assert (status, told) == (
        0,
        f"{out}: 4 clips, 2 with both pictures and sound; 6 vectors embedded, 0 kept from before\n",
    )
    with sqlite3.connect(out.with_name(".features.npz.done")) as notes:
        assert notes.execute("SELECT count(*) FROM done").fetchone() == (7,)


@pytest.mark.parametrize("missing", ["av", "aisfx"])
def test_without_the_extra_the_command_says_what_to_install(
    folder: Path, call: Callable, monkeypatch: pytest.MonkeyPatch, missing: str
):
    monkeypatch.setitem(sys.modules, missing, None)
    status, out, told = call("extract", folder, f"--out={folder.parent}/features.npz")
    assert (status, out, told.count("\n")) == (2, "", 1)
    assert "pip install '.[media]'" in told
