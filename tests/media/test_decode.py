"""Decoding: which pictures and which sound count, and what hostile files are told."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media_files import RED, sine, steady, write_media, write_picture

from xmodal.config import InputError
from xmodal.media import decode
from xmodal.media.decode import NoTrackError, pictures, sound
from xmodal.media.worker import elsewhere


def heard(path: Path, rate: int = 16_000) -> np.ndarray:
    return np.concatenate(list(sound(path, rate)))


@pytest.mark.parametrize("name, pixels", [("a.mp4", "yuv420p"), ("deep.mkv", "yuv420p10le")])
def test_a_second_of_video_is_a_picture(tmp_path: Path, name: str, pixels: str):
    path = write_media(tmp_path / name, steady(3), tone=sine(3), pixels=pixels)
    shown = list(pictures(path))
    assert [picture.shape for picture in shown] == [(48, 64, 3)] * 3
    assert shown[0].dtype == np.uint8
    assert np.abs(np.mean(shown, axis=(0, 1, 2)) - RED).max() < 6  # compressed


def test_a_picture_counts_a_second_after_the_last_that_did(tmp_path: Path):
    """Of pictures at 0, 0.4, 1.2, 1.9, 2.1, 2.2, 9 s count: 0; 1.2; 2.2 (2.1 is too early); 9."""
    times = [Fraction(n, 10) for n in (0, 4, 12, 19, 21, 22, 90)]
    colours = [(30 * n, 250 - 30 * n, 100) for n in range(7)]
    path = write_media(tmp_path / "varying.mp4", times, colours)
    reds = [picture[..., 0].mean() for picture in pictures(path)]
    assert np.abs(np.array(reds) - [0, 60, 150, 180]).max() < 8


def test_five_minutes_count_of_a_long_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert decode.SECONDS == 300
    monkeypatch.setattr(decode, "SECONDS", 5)  # a longer one takes long to write
    path = write_media(tmp_path / "long.mp4", steady(8, 2), tone=sine(8, 8000), rate=8000)
    assert len(list(pictures(path))) == 5
    assert len(heard(path, 8000)) == 5 * 8000


def test_what_is_transparent_is_white(tmp_path: Path):
    image = np.zeros((4, 6, 4), np.uint8)
    image[:, :3] = (10, 20, 30, 255)
    image[:, 3:] = (200, 0, 0, 51)  # a fifth of it, on white: 0.2 · 200 + 0.8 · 255 = 244
    path = write_picture(tmp_path / "stamp.png", image)
    (picture,) = pictures(path)
    assert picture[0, 0].tolist() == [10, 20, 30]
    assert picture[0, 5].tolist() == [244, 204, 204]


@pytest.mark.parametrize("name", ["a.wav", "a.mp4"])
def test_a_tone_keeps_its_pitch_and_loudness(tmp_path: Path, name: str):
    path = write_media(tmp_path / name, tone=sine(1, 8000), rate=8000)  # 8 kHz, mono
    samples = heard(path, 16_000)
    assert abs(len(samples) - 16_000) < 2500  # what the codec adds
    middle = samples[4000:12_000]
    assert samples.dtype == np.float32
    assert np.abs(np.fft.rfft(middle)).argmax() == 440 * len(middle) // 16_000
    assert middle.max() == pytest.approx(0.5, abs=0.05)


def test_channels_are_averaged(tmp_path: Path):
    left = np.full((1, 8000), 0.6)
    path = write_media(tmp_path / "two.wav", tone=np.concatenate([left, -left / 3]))
    assert heard(path).mean() == pytest.approx((0.6 - 0.2) / 2, abs=1e-3)


def test_what_a_file_does_not_hold(tmp_path: Path):
    silent = write_media(tmp_path / "silent.mp4", steady(1))
    with pytest.raises(NoTrackError, match="sound"):
        list(sound(silent, 16_000))
    with pytest.raises(NoTrackError, match="pictures"):
        list(pictures(write_media(tmp_path / "tone.wav", tone=sine(1))))


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize("content", [b"a letter\n" * 100, PLAYLIST, b"\x89PNG\r\n\x1a\n", None])
def test_a_broken_file_is_told_in_one_sentence(tmp_path: Path, content: bytes | None):
    write_media(tmp_path / "other.ts", steady(1))
    path = tmp_path / "a.mp4"
    if content:  # else the file is missing
        path.write_bytes(content)
    for decoded in (elsewhere(pictures, path), elsewhere(sound, path, 16_000)):
        with pytest.raises(InputError, match=r"a\.mp4"):
            list(decoded)


def test_a_picture_of_too_many_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decode, "MOST_PIXELS", 23)
    with pytest.raises(InputError, match="pixels"):
        list(pictures(write_picture(tmp_path / "huge.png", np.zeros((4, 6, 4), np.uint8))))


def test_damage_in_the_middle_costs_no_more_than_itself(tmp_path: Path):
    path = write_media(tmp_path / "scratched.mkv", steady(5))
    damaged = bytearray(path.read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 60] = bytes(60)
    path.write_bytes(damaged)
    assert 2 <= len(list(pictures(path))) <= 5


@pytest.mark.parametrize("name", ["视频 一.mp4", "concat:a|b%03d.mp4", "-i.mp4"])
def test_a_name_is_only_a_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    write_media(tmp_path / "plain.mp4", steady(1)).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(list(pictures(Path(name)))) == 1
