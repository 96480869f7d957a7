"""A sound under a video: the picture as it was, the sound cut or ended where it ends."""

from pathlib import Path

import pytest
from media_files import av, sine, steady, write_media

from xmodal.config import InputError
from xmodal.media.mux import mux


def read(path: Path) -> tuple[int, float]:
    """Return the number of frames of a video, and the seconds of its sound."""
    with av.open(str(path)) as video:
        frames = sum(1 for _ in video.decode(video=0))
    with av.open(str(path)) as video:
        samples = sum(frame.samples for frame in video.decode(audio=0))
        return frames, samples / video.streams.audio[0].rate


@pytest.mark.parametrize("seconds", [1.0, 5.0])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_picture_stays_and_the_sound_ends_with_it(tmp_path: Path, seconds: float, suffix: str):
    video = write_media(tmp_path / "silent.mp4", steady(2))
    sound = write_media(tmp_path / "tone.wav", tone=sine(seconds))
    frames, heard = read(mux(video, sound, tmp_path / f"both{suffix}"))
    assert frames == 50 and heard == pytest.approx(min(seconds, 2.0), abs=0.1)


def test_what_cannot_be_put_together_is_told_and_loses_nothing(tmp_path: Path):
    video = write_media(tmp_path / "silent.mp4", steady(1))
    sound = write_media(tmp_path / "tone.wav", tone=sine(1))
    (tmp_path / "both.mp4").write_text("precious")
    for wrong in (
        (sound, sound, "both.mp4"),
        (video, video, "both.mp4"),
        (tmp_path / "none.mp4", sound, "both.mp4"),
        (video, sound, "both.txt"),
        (video, sound, "both.webm"),  # which does not hold H.264
    ):
        with pytest.raises(InputError):
            mux(*wrong[:2], tmp_path / wrong[2])
    assert (tmp_path / "both.mp4").read_text() == "precious"
    assert {path.name for path in tmp_path.iterdir()} == {"silent.mp4", "tone.wav", "both.mp4"}
