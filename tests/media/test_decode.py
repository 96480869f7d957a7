"""Decoding: which pictures and which sound count, and what hostile files are told."""

import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media_files import RED, sine, steady, write_media, write_picture

from xmodal.config import InputError
from xmodal.media import decode
from xmodal.media.decode import NoTrackError, pictures, sound


def heard(path: Path, rate: int = 16_000) -> np.ndarray:
    return np.concatenate(list(sound(path, rate)))


# --- pictures ------------------------------------------------------------------------------------


def test_a_second_of_video_is_a_picture(tmp_path: Path):
    path = write_media(tmp_path / "a.mp4", steady(3), tone=sine(3))
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


def test_ten_bits_a_channel(tmp_path: Path):
    path = write_media(tmp_path / "deep.mkv", steady(1), pixels="yuv420p10le")
    assert np.abs(np.mean(list(pictures(path)), axis=(0, 1, 2)) - RED).max() < 6


def test_what_is_transparent_is_white(tmp_path: Path):
    image = np.zeros((4, 6, 4), np.uint8)
    image[:, :3] = (10, 20, 30, 255)
    image[:, 3:] = (200, 0, 0, 51)  # a fifth of it, on white: 0.2 · 200 + 0.8 · 255 = 244
    path = write_picture(tmp_path / "stamp.png", image)
    (picture,) = pictures(path)
    assert picture[0, 0].tolist() == [10, 20, 30]
    assert picture[0, 5].tolist() == [244, 204, 204]


def test_a_photo_taken_on_its_side_is_turned(tmp_path: Path):
    image = pytest.importorskip("PIL.Image")
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, 16:] = 255  # the right half is white
    photo, tags = image.fromarray(pixels), image.Exif()
    tags[0x0112] = 6  # to be turned clockwise: white is then below
    photo.save(tmp_path / "photo.jpg", exif=tags, quality=95)
    (picture,) = pictures(tmp_path / "photo.jpg")
    assert picture.shape == (32, 16, 3)
    assert picture[:16].mean() < 10 and picture[16:].mean() > 245


# --- sound ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.wav", "a.ogg", "a.mp4"])
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


def test_a_sound_of_50_ms(tmp_path: Path):
    path = write_media(tmp_path / "click.wav", tone=sine(0.05))
    assert len(heard(path)) == 800


def test_what_a_file_does_not_hold(tmp_path: Path):
    silent = write_media(tmp_path / "silent.mp4", steady(1))
    with pytest.raises(NoTrackError, match=r"silent\.mp4: holds no sound"):
        list(sound(silent, 16_000))
    with pytest.raises(NoTrackError, match=r"tone\.wav: holds no pictures"):
        list(pictures(write_media(tmp_path / "tone.wav", tone=sine(1))))


# --- hostile files -------------------------------------------------------------------------------


def truncated(folder: Path) -> bytes:
    whole = write_media(folder / "whole.mp4", steady(2), tone=sine(2)).read_bytes()
    return whole[: len(whole) // 2]


def playlist(folder: Path) -> bytes:
    other = write_media(folder / "other.ts", steady(1))
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n".encode()


def huge(_: Path) -> bytes:
    """A PNG of some bytes that claims 12,000 × 12,000 pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + check

    header = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


HOSTILE: dict[str, Callable[[Path], bytes]] = {
    "truncated.mp4": truncated,
    "empty.mp4": lambda _: b"",
    "text.mp4": lambda _: b"This is a letter, not a video.\n" * 100,
    "noise.mp4": lambda _: np.random.default_rng(0).bytes(5000),
    "playlist.mp4": playlist,
    "huge.png": huge,
    "half.png": lambda _: b"\x89PNG\r\n\x1a\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_broken_file_is_told_in_one_sentence(tmp_path: Path, name: str):
    path = tmp_path / name
    path.write_bytes(HOSTILE[name](tmp_path))
    with pytest.raises(InputError) as told:
        list(pictures(path))
    assert str(told.value).startswith(f"{path}: ")
    assert str(told.value).count("\n") == 0 and not isinstance(told.value, NoTrackError)
    if name == "huge.png":
        assert "12000 × 12000 pixels" in str(told.value)
    if name.endswith(".mp4"):
        with pytest.raises(InputError, match=name):
            list(sound(path, 16_000))


def test_a_missing_file_is_told(tmp_path: Path):
    with pytest.raises(InputError, match="gone.mp4: .*No such file"):
        list(pictures(tmp_path / "gone.mp4"))


def test_damage_in_the_middle_costs_no_more_than_itself(tmp_path: Path):
    path = write_media(tmp_path / "scratched.mkv", steady(5))
    damaged = bytearray(path.read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 60] = bytes(60)
    path.write_bytes(damaged)
    assert 2 <= len(list(pictures(path))) <= 5


@pytest.mark.parametrize("name", ["صوت.mp4", "视频 一.mp4", "concat:a|b%03d.mp4", "-i.mp4"])
def test_a_name_is_only_a_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    write_media(tmp_path / "plain.mp4", steady(1)).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(list(pictures(Path(name)))) == 1
