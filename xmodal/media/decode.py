"""Pictures and sound of a file, streamed: memory does not grow with its length.

Only the first five minutes count, as in YouTube-8M. A file is opened by its content, never by its
name, and only as one of the formats below: none of them leads to other files or to the network.
Packets that cannot be decoded are left out, as players do; a file that yields nothing is an error.
What is guessed or repaired goes to the log ``xmodal.media``. Damaged files raise, or crash,
whatever the libraries do: `xmodal.media.worker` lets that be an InputError.
"""

import logging
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, groupby
from math import inf
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from xmodal.config import InputError
from xmodal.media import optional

LOG = logging.getLogger("xmodal.media")
SECONDS = 300
"""How much of a file counts (YouTube-8M: at most 300 frames, one a second)."""
MOST_PIXELS = 2**26
"""A larger picture is refused (our choice: twice an 8K frame; a hostile file may claim more)."""
PICTURES = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
"""Names of Pillow's formats that a file may be read with, before FFmpeg's."""
FORMATS = "mov,matroska,webm,avi,mpeg,mpegts,flv,asf,mxf,ogg,wav,w64,mp3,flac,aac,aiff,caf,amr"
"""Names of FFmpeg's demuxers that a file may be read with."""
HELD = {"video": "pictures", "audio": "sound"}


class NoTrackError(InputError):
    """A sound file was asked for pictures, or a silent video for its sound."""


def _tell(path: Path, what: str) -> None:
    LOG.warning("%s: %s", path, what)


def pictures(path: Path) -> Iterator[np.ndarray]:
    """Yield the pictures of a video or an animation at one a second, or the one of a picture file.

    The first picture counts, then each time the first that comes a second or more after the last
    one that counted, as in YouTube-8M's published extractor. Pictures are upright, and transparent
    ones lie on white. High dynamic range is converted to 8 bits without tone mapping. They are RGB,
    uint8, (height, width, 3). NoTrackError if there are none, InputError if not one can be read.
    """
    begin: Fraction | None = None
    for time, picture in timed_pictures(path, 1):
        begin = time if begin is None else begin
        if time >= begin + SECONDS:
            return
        yield picture


def timed_pictures(path: Path, every: float = -inf) -> Iterator[tuple[Fraction, np.ndarray]]:
    """Yield times in seconds and pictures as `pictures` does, all or one ``every`` so often."""
    pillow, time, due = optional("PIL.Image"), Fraction(0), -inf
    try:
        file = pillow.open(path, formats=PICTURES)
    except pillow.UnidentifiedImageError:
        for time, frame in _frames(path, "video", every):
            rgba = frame.to_ndarray(format="rgba")
            yield time, _on_white(np.rot90(rgba, round(frame.rotation / 90)))
        return
    with file:
        _require_pixels(path, *file.size)
        for picture in optional("PIL.ImageSequence").Iterator(file):
            picture.load()
            if time >= due:
                due = time + every
                if picture.mode in ("I", "F"):  # Pillow would clip these, and 16 bits
                    raise InputError(f"{path}: 32 bits a channel are not read; convert it to 8.")
                if picture.mode.startswith("I;16"):
                    picture = picture.point(lambda value: value / 256).convert("L")
                upright = optional("PIL.ImageOps").exif_transpose(picture)
                yield time, _on_white(np.asarray(upright.convert("RGBA")))
            if "duration" not in file.info:  # it has pages, and is no animation
                return
            time += Fraction(file.info["duration"] or 100) / 1000  # 0 is 100, as in browsers


def _require_pixels(path: Path, width: int, height: int) -> None:
    """Refuse a picture of too many pixels."""
    if width * height > MOST_PIXELS:
        raise InputError(f"{path}: {width} × {height} pixels are too many.")


def _on_white(rgba: np.ndarray) -> np.ndarray:
    """Return a picture as RGB, on white."""
    rgb, alpha = np.ascontiguousarray(rgba[..., :3]), rgba[..., 3:]
    if alpha.min() < 255:
        opacity = alpha.astype(np.float32) / 255
        rgb = np.rint(rgb * opacity + 255 * (1 - opacity)).astype(np.uint8)
    return rgb


def sound(path: Path, rate: int) -> Iterator[np.ndarray]:
    """Yield the sound of a file in blocks, the mean of its channels, at ``rate`` samples a second.

    Where channels cancel, so that their mean has less than a hundredth of their power (our choice),
    the one that is the loudest at first counts alone. Blocks are float32, (samples,), full scale at
    ±1. NoTrackError if there is no sound, InputError if none can be read.
    """
    left, loudest = SECONDS * rate, None
    for channels in _resampled(path, rate):
        block, power = channels.mean(axis=0), (channels**2).mean(axis=1)
        if (block**2).mean() < 0.01 * power.mean():
            _tell(path, "channels cancel, so the loudest counts.")
            loudest = power.argmax() if loudest is None else loudest
            block = channels[min(loudest, len(channels) - 1)]
        yield block[:left]
        left -= len(block)
        if left <= 0:
            return


def _resampled(path: Path, rate: int) -> Iterator[np.ndarray]:
    """Yield sound as floats, (channels, samples); the number of channels may change on the way."""
    frames = (frame for _, frame in _frames(path, "audio"))
    setup = attrgetter("format.name", "layout.name", "sample_rate")
    for changed, (_, some) in enumerate(groupby(frames, setup)):
        if changed:
            _tell(path, "the sound changes its format on the way.")
        resampler = optional("av").AudioResampler("fltp", rate=rate, frame_size=rate)
        for frame in chain(some, [None]):
            yield from (block.to_ndarray() for block in resampler.resample(frame) if block.samples)


def _frames(
    path: Path, kind: Literal["video", "audio"], every: float = -inf
) -> Iterator[tuple[Fraction, Any]]:
    """Yield the times in seconds and the frames of a file's main track, one ``every`` so often.

    Where a key picture is no later than what is due, none before it is decoded.
    """
    av, options = optional("av"), {"format_whitelist": FORMATS}
    time: Fraction | None = None
    due, held = -inf, list[Any]()
    with path.open("rb") as file:
        # By a name, FFmpeg would guess the format.
        unnamed = SimpleNamespace(read=file.read, seek=file.seek, tell=file.tell)
        with av.open(unnamed, options=options) as media:
            track = _main_track(path, media, kind)
            step = 1 / (track.guessed_rate or Fraction(25)) if kind == "video" else Fraction(0)
            track.thread_type = "AUTO"
            track.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
            for packet in media.demux(track):
                begins = due if packet.pts is None else packet.pts * packet.time_base
                if packet.is_keyframe and begins <= due:
                    held.clear()
                held.append(packet)
                if begins < due and len(held) <= 1000:
                    continue
                for one in held:
                    track.codec_context.skip_frame = "DEFAULT" if one is packet else "NONREF"
                    try:
                        frames = one.decode()
                    except av.error.InvalidDataError:
                        _tell(path, "damaged parts are left out.")
                        continue
                    for frame in frames:
                        if frame.pts is None and step:
                            _tell(path, f"pictures lack times, and count as {1 / step} a second.")
                        guess = Fraction(0) if time is None else time + step
                        time = guess if frame.pts is None else frame.pts * frame.time_base
                        if time >= due:
                            due = time + every
                            yield time, frame
                held.clear()
    if time is None:
        raise InputError(f"{path}: no {HELD[kind]} can be decoded; the file is damaged or empty.")


def _main_track(path: Path, media: Any, kind: Literal["video", "audio"]) -> Any:
    """Return FFmpeg's choice among the tracks of a kind, of which covers are none."""
    if media.metadata.get("major_brand") in ("heic", "heix", "mif1"):  # FFmpeg sees tiles
        raise InputError(f"{path}: HEIC pictures are not read; convert it to JPEG.")
    cover = optional("av").stream.Disposition.attached_pic
    tracks = [one for one in getattr(media.streams, kind) if not one.disposition & cover]
    if not tracks:
        raise NoTrackError(f"{path}: holds no {HELD[kind]}.")
    best = media.streams.best(kind)
    track = best if best in tracks else tracks[0]
    if len(tracks) > 1:
        number = f"{tracks.index(track) + 1} of {len(tracks)}"
        _tell(path, f"track {number} tracks of {HELD[kind]} is taken.")
    if track.codec_context is None:
        raise InputError(f"{path}: the {kind} in it is in no format that is known.")
    if kind == "video":
        _require_pixels(path, track.width, track.height)
    return track
