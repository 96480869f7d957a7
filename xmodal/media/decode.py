"""Pictures and sound of a file, streamed: memory does not grow with its length.

Only the first five minutes count, as in YouTube-8M. A file is opened by its content, never by its
name, and only as one of the formats below: none of them leads to other files or to the network.
Packets that cannot be decoded are left out, as players do; a file that yields nothing is an error.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from xmodal.config import InputError
from xmodal.media import optional

SECONDS = 300
"""How much of a file counts (YouTube-8M: at most 300 frames, one a second)."""
MOST_PIXELS = 2**26
"""A larger picture is refused (our choice: twice an 8K frame; a hostile file may claim more)."""
FORMATS = (
    "mov,matroska,webm,avi,mpeg,mpegts,flv,asf,ogg,gif,wav,w64,mp3,flac,aac,aiff,caf,amr,"
    "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,gif_pipe"
)
"""Names of FFmpeg's demuxers that a file may be read with."""


class NoTrackError(InputError):
    """A sound file was asked for pictures, or a silent video for its sound."""


def pictures(path: Path) -> Iterator[np.ndarray]:
    """Yield the pictures of a video at one a second, or the one of a picture file.

    The first picture counts, then each time the first that comes a second or more after the last
    one that counted, as in YouTube-8M's published extractor. Pictures are upright, and transparent
    ones lie on white. High dynamic range is converted to 8 bits without tone mapping. They are RGB,
    uint8, (height, width, 3). NoTrackError if there are none, InputError if not one can be read.
    """
    begin = due = None
    for frame in _frames(path, "video"):
        time = (frame.pts or 0) * frame.time_base
        if begin is None:
            begin = due = time
        if time >= begin + SECONDS:
            return
        if time >= due:
            due = time + 1
            yield _upright_rgb(frame)
    if begin is None:
        raise InputError(f"{path}: not one picture can be decoded; the file is damaged.")


def film(path: Path, rate: int, seconds: int) -> Iterator[np.ndarray]:
    """Yield ``rate`` pictures a second of a file's first seconds, to be shown; the last one stays.

    RGB, uint8, (height, width, 3). NoTrackError if there are none, InputError if none can be read.
    """
    begin, shown, left = None, np.zeros(0), list(range(rate * seconds))
    for frame in _frames(path, "video"):
        time = (frame.pts or 0) * frame.time_base
        begin = time if begin is None else begin
        while shown.size and left and left[0] < (time - begin) * rate - 0.1:
            yield shown
            left.pop(0)
        if not left:
            return
        shown = _upright_rgb(frame)
    if begin is None:
        raise InputError(f"{path}: not one picture can be decoded; the file is damaged.")
    yield from [shown] * len(left)


def sound(path: Path, rate: int) -> Iterator[np.ndarray]:
    """Yield the sound of a file in blocks, the mean of its channels, at ``rate`` samples a second.

    Blocks are float32, (samples,), full scale at ±1. NoTrackError if there is no sound, InputError
    if none can be read.
    """
    left = SECONDS * rate
    resampler = None
    for frame in chain(_frames(path, "audio"), [None]):
        if resampler is None and frame:
            resampler = optional("av").AudioResampler(format="fltp", rate=rate)
        for converted in resampler.resample(frame) if resampler else ():
            block = converted.to_ndarray().mean(axis=0)[:left]
            left -= len(block)
            if len(block):
                yield block
        if not left:
            return
    if left == SECONDS * rate:
        raise InputError(f"{path}: no sound can be decoded; the file is damaged or empty.")


class _Unnamed(NamedTuple):
    """What is read of an open file; by a name, FFmpeg would guess the format."""

    read: Callable[..., bytes]
    seek: Callable[..., int]
    tell: Callable[[], int]


def _frames(path: Path, kind: Literal["video", "audio"]) -> Iterator[Any]:
    """Yield the decoded frames of a file's main track of a kind."""
    av, options = optional("av"), {"format_whitelist": FORMATS}
    try:
        with (
            path.open("rb") as file,
            av.open(_Unnamed(file.read, file.seek, file.tell), options=options) as media,
        ):
            track = media.streams.best(kind)
            if track is None:
                what = {"video": "pictures", "audio": "sound"}[kind]
                raise NoTrackError(f"{path}: holds no {what}.")
            if track.codec_context is None:
                raise InputError(f"{path}: the {kind} in it is in no format that is known.")
            if kind == "video" and track.width * track.height > MOST_PIXELS:
                raise InputError(f"{path}: {track.width} × {track.height} pixels are too many.")
            track.thread_type = "AUTO"
            track.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
            for packet in media.demux(track):
                try:
                    yield from packet.decode()
                except av.error.InvalidDataError:
                    continue
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, av.error.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: is no media file that can be read ({reason}).") from error


def _upright_rgb(frame: Any) -> np.ndarray:
    """Return a frame as RGB on white, turned as its metadata say."""
    rgba = frame.to_ndarray(format="rgba")
    rgb, alpha = rgba[..., :3], rgba[..., 3:]
    if alpha.min() < 255:
        opacity = alpha.astype(np.float32) / 255
        rgb = np.rint(rgb * opacity + 255 * (1 - opacity)).astype(np.uint8)
    return np.rot90(rgb, round(frame.rotation / 90))
