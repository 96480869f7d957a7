"""Small media files, written by PyAV; whoever imports this is skipped without it."""

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from xmodal.media.decode import pictures
from xmodal.media.encoders import Encoders

av = pytest.importorskip("av", reason="the extra media is not installed")
RED = (200, 30, 40)
CRASH = b"a file that crashes the decoder"


def write_media(
    path: Path,
    times: Sequence[Fraction] = (),
    colours: Sequence[tuple[int, int, int]] = (RED,),
    tone: np.ndarray | None = None,
    rate: int = 16_000,
    pixels: str = "yuv420p",
) -> Path:
    """Write pictures of one colour each (the last goes on), 64 × 48, and a sound (channels, n)."""
    with av.open(str(path), "w") as out:
        picture = track = None
        if times:
            picture = out.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
            picture.width, picture.height, picture.pix_fmt = 64, 48, pixels
            picture.codec_context.time_base = Fraction(1, 1000)
        if tone is not None:
            codec = {".wav": "pcm_s16le", ".ogg": "libopus", ".mp3": "libmp3lame"}.get(
                path.suffix, "aac"
            )
            layout = "mono" if len(tone) == 1 else "stereo"
            track = out.add_stream(codec, rate=rate, layout=layout)
        for number, time in enumerate(times):
            colour = colours[min(number, len(colours) - 1)]
            image = np.full((48, 64, 3), colour, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = int(time * 1000), Fraction(1, 1000)
            out.mux(picture.encode(frame))
        if picture:
            out.mux(picture.encode(None))
        if track:
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(tone, np.float32), format="fltp", layout=layout
            )
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            converter = av.AudioResampler(format=track.format, layout=layout, rate=rate)
            for part in [*converter.resample(frame), None]:
                out.mux(track.encode(part))
    return path


def sine(seconds: float, rate: int = 16_000) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)[None]


def steady(seconds: float, rate: int = 25) -> list[Fraction]:
    return [Fraction(n, rate) for n in range(round(seconds * rate))]


def write_picture(path: Path, image: np.ndarray) -> Path:
    """Write a PNG of RGBA pixels."""
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as out:
        stream = out.add_stream("png", rate=1)
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = "rgba"
        for frame in (av.VideoFrame.from_ndarray(image, format="rgba"), None):
            out.mux(stream.encode(frame))
    return path


def crashing(path: Path) -> Iterator[np.ndarray]:
    """Decode pictures, and end the process at a certain file."""
    if path.read_bytes() == CRASH:
        os.abort()
    yield from pictures(path)


def last_and_number(frames: Iterator[np.ndarray]) -> np.ndarray:
    shown = list(frames)
    return np.array([*shown[-1].mean((0, 1)), len(shown)], np.float32)


def level_and_seconds(heard: np.ndarray) -> np.ndarray:
    return np.array([np.sqrt((heard**2).mean()), len(heard) / 16_000], np.float32)


SIMPLE = Encoders("simple", 4, 2, 16_000, last_and_number, level_and_seconds)
