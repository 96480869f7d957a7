"""All clips of an ordinary shard at once: quick, as numpy converts all values of a kind together.

What is not ordinary is not judged here: `xmodal.data.schema.read_shard` then reads clip by clip,
and says what is wrong and where.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from xmodal.config import InputError
from xmodal.data.example import entry
from xmodal.data.framing import read_records

VISUAL_DIM = 1024
"""Length of ``mean_rgb`` (Surís et al., section 3; YouTube-8M)."""
AUDIO_DIM = 128
"""Length of ``mean_audio`` (Surís et al., section 3; YouTube-8M)."""

_ENTRIES = [
    (place, entry(key, kind, bytes(size)), size)
    for place, (key, kind, sizes) in enumerate(
        [
            ("id", 1, range(1, 100)),
            ("labels", 3, range(1, 100)),
            ("mean_rgb", 2, [4 * VISUAL_DIM]),
            ("mean_audio", 2, [4 * AUDIO_DIM]),
        ]
    )
    for size in sizes
]
_HEADS = {whole[:8]: (whole[:-size], len(whole), place) for place, whole, size in _ENTRIES}
"""By its first 8 bytes, which hold length and key: all before the values, length, and column."""

_TAILS = (b"", b"\x12\x00")
"""After the features comes nothing, or the empty ``feature_lists`` of a SequenceExample."""


class Columns(NamedTuple):
    """The clips of a shard, in file order.

    ``ids`` are n texts; clip i has the next ``counts[i]`` of ``labels`` (int32, ascending, each
    once); ``visual`` and ``audio`` are float32, shapes (n, 1024) and (n, 128).
    """

    ids: list[str]
    counts: np.ndarray
    labels: np.ndarray
    visual: np.ndarray
    audio: np.ndarray


def read_ordinary(path: Path) -> Columns | None:
    """Read a shard, every checksum verified, if all its clips are as encoders write them.

    That is: the four keys of release 2 in any order, each list of values one packed run, labels
    ascending and below 2**28, features finite. Whatever else is met, ``None`` is returned.
    """
    try:
        rows = [_values(payload) for _, _, payload in read_records(path)]
        ids, labels, visual, audio = zip(*rows, strict=True)
        return Columns(_texts(ids), *_integers(labels), *map(_floats, (visual, audio)))
    except (InputError, LookupError, TypeError, ValueError):
        return None


def _values(payload: bytes) -> list[bytes]:
    """Take an example apart: the bytes of the id, the labels, the visual and the audio feature."""
    tag, low, high = payload[:3]
    end = 3 + (low & 127 | high << 7)
    if tag != 10 or low < 128 or high > 127 or payload[end:] not in _TAILS:
        raise ValueError
    values = [b""] * 4
    position = 3
    while position < end:
        head, length, place = _HEADS[payload[position : position + 8]]
        if not payload.startswith(head, position):
            raise ValueError
        values[place] = payload[position + len(head) : position + length]
        position += length
    if position != end or end > len(payload) or not all(values):
        raise ValueError
    return values


def _texts(runs: tuple[bytes, ...]) -> list[str]:
    texts = b"\n".join(runs).decode("ascii").split("\n")
    if len(texts) != len(runs) or not "".join(texts).isprintable():
        raise ValueError
    return texts


def _integers(runs: tuple[bytes, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Decode varints: seven bits a byte, the least significant first; the last byte is < 128."""
    data = np.frombuffer(b"".join(runs), np.uint8)
    is_last = data < 128
    bounds = np.cumsum([0, *map(len, runs)])
    last = np.flatnonzero(is_last)
    sizes = np.diff(last, prepend=-1)
    if not is_last[bounds[1:] - 1].all() or sizes.max() > 4:
        raise ValueError
    starts = last + 1 - sizes
    bits = 7 * (np.arange(len(data)) - starts.repeat(sizes))
    numbers = np.add.reduceat((data & 127).astype(np.int32) << bits, starts, dtype=np.int32)
    counts = np.add.reduceat(is_last, bounds[:-1], dtype=np.int64)
    clip = np.arange(len(runs)).repeat(counts)
    if (np.diff(clip << 28 | numbers) <= 0).any():
        raise ValueError
    return counts, numbers


def _floats(runs: tuple[bytes, ...]) -> np.ndarray:
    values = np.frombuffer(bytearray().join(runs), "<f4").reshape(len(runs), -1)
    if not np.isfinite(values).all():
        raise ValueError
    return values
