"""Put a sound under a video."""

from itertools import chain, takewhile
from pathlib import Path
from typing import Any

import av

from xmodal.config import InputError
from xmodal.files import atomic, locked

CONTAINERS = {".mp4": ("mp4", "aac"), ".mov": ("mov", "aac"), ".mkv": ("matroska", "aac")}
CONTAINERS |= {".webm": ("webm", "libopus")}
"""The container that a suffix names, and the codec of its sound."""
RATE = 48_000


def mux(video: Path, sound: Path, out: Path) -> Path:
    """Write the picture of one file, as it is, with the sound of another one under it.

    A sound that is longer than the video is cut, a shorter one ends in silence. Returns ``out``,
    whose suffix names the container. InputError if a file lacks its track, cannot be read, or the
    container cannot hold the picture.
    """
    if out.suffix not in CONTAINERS:
        raise InputError(f"{out} ends in none of {', '.join(CONTAINERS)}: name another file")
    container, codec = CONTAINERS[out.suffix]
    try:
        with (
            locked(out),
            atomic(out) as fresh,
            av.open(str(video)) as seen,
            av.open(str(sound)) as heard,
            av.open(str(fresh), "w", format=container) as written,
        ):
            if not seen.streams.video or not heard.streams.audio:
                lacking = f"{video} has no picture" if heard.streams.audio else f"{sound} no sound"
                raise InputError(f"{lacking}: choose another file")
            picture = written.add_stream_from_template(seen.streams.video[0])
            track: Any = written.add_stream(codec, rate=RATE, layout="stereo")
            end = 0.0
            for packet in seen.demux(video=0):
                if packet.dts is not None and packet.pts is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                    packet.stream = picture
                    written.mux(packet)
            resampler = av.AudioResampler(track.format, "stereo", RATE)
            kept = takewhile(lambda frame: (frame.time or 0) < end, heard.decode(audio=0))
            for frame in chain(kept, [None]):
                for part in resampler.resample(frame):
                    written.mux(track.encode(part))
            written.mux(track.encode(None))
    except InputError:
        raise
    except (av.FFmpegError, ValueError) as error:
        raise InputError(f"{video} and {sound} cannot be put into {out}: {error}") from error
    return out
