"""YouTube-8M's arithmetic, worked out by hand; stand-ins take the place of the two networks."""

import hashlib
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from xmodal.config import InputError
from xmodal.data.features import open_features
from xmodal.data.schema import FEATURE_RANGE
from xmodal.media import yt8m
from xmodal.media.encoders import Encoders, open_encoders


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
    assert silent.shape == (96, 64)
    assert np.allclose(silent, np.log(0.01))
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


@pytest.mark.parametrize(
    "samples, count", [(800, 1), (15_600, 1), (31_599, 1), (31_600, 2), (48_000, 3)]
)
def test_a_window_begins_every_second(samples: int, count: int):
    """It is 0.96 s of frames: 15,600 samples; the second of two begins at 16,000."""
    encoders, shapes = stand_in()
    silent = encoders.audio(np.array_split(np.zeros(samples, np.float32), 7))
    assert silent == pytest.approx([0.2509498], abs=1e-6)  # log 0.01, less log 0.01 - 0.25
    assert shapes == [(1, 1, 96, 64)] * count
    assert encoders.rate == 16_000


def test_vggish_flattens_as_tensorflow_and_ends_before_its_relu():
    pixels = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # two channels of 1 × 2
    network = yt8m.vggish_network()
    assert network.flatten(pixels).tolist() == [[1, 3, 2, 4]]
    assert sum(weights.numel() for weights in network.parameters()) == 72_141_184
    with torch.inference_mode():
        assert (network(torch.randn(1, 1, 96, 64)) < 0).any()


# --- files ---------------------------------------------------------------------------------------


def matrix(rows: int, columns: int, values: np.ndarray, by_rows: bool = False) -> bytes:
    """Encode a matrix by hand, as protobuf does: rows, columns, packed floats, perhaps layout."""

    def varint(number: int) -> bytes:
        low, high = number & 127, number >> 7
        return bytes([low | 128]) + varint(high) if high else bytes([low])

    body = struct.pack(f"<{rows * columns}f", *np.ravel(values))
    parts = [b"\x08", varint(rows), b"\x10", varint(columns), b"\x1a", varint(len(body)), body]
    return b"".join([*parts, b"\x20\x01" if by_rows else b""])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder of stand-ins: the PCAs are real ones of random numbers."""
    folder, rng = tmp_path_factory.mktemp("yt8m"), np.random.default_rng(0)
    torch.save({"weight": torch.full((128, 96 * 64), 1e-3)}, folder / yt8m.VGGISH)
    (folder / yt8m.INCEPTION).write_bytes(b"a network")
    mirror = rng.normal(size=2048)  # rows of a reflection are orthonormal
    directions = (np.eye(2048) - 2 * np.outer(mirror, mirror) / (mirror @ mirror))[:1024]
    np.save(folder / "mean.npy", rng.normal(size=(2048, 1)).astype(np.float32))
    np.save(folder / "eigenvals.npy", np.linspace(2, 0.1, 2048)[:, None].astype(np.float32))
    np.save(folder / "eigenvecs.npy", directions.astype(np.float32))
    names = ("vggish_mean_matrix_data.pb", "vggish_projection_matrix_data.pb")
    for name, columns in zip(names, (1, 128)):
        values = np.full(128, np.log(0.01) * 6.144) if columns == 1 else np.eye(128)
        (folder / name).write_bytes(matrix(128, columns, values))
    return folder


@pytest.fixture
def known(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stand-ins pass for the networks' files, and a small network for each."""
    digests = {n: hashlib.sha256((whole / n).read_bytes()).hexdigest() for n in yt8m.SHA256}
    monkeypatch.setattr(yt8m, "SHA256", digests)

    class Linear(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(128, 96 * 64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) @ self.weight.T

    def inception(name: str, features: list[str], path: str):
        assert features == ["2048"] and Path(path).read_bytes() == b"a network"
        return lambda pixels: (pixels.float().mean() * torch.ones(1, 2048),)

    monkeypatch.setattr(yt8m, "vggish_network", Linear)
    module = SimpleNamespace(FeatureExtractorInceptionV3=inception)
    monkeypatch.setitem(sys.modules, "torch_fidelity", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", module)


def test_the_files_make_encoders(whole: Path, known: None):
    encoders = open_encoders("yt8m", whole)
    picture = np.full((2, 2, 3), 3, np.uint8)
    centre, vectors = (np.load(whole / f"{n}.npy") for n in ("mean", "eigenvecs"))
    expected = vectors @ (3 - centre[:, 0]) / np.sqrt(np.linspace(2, 0.1, 2048)[:1024] + 1e-4)
    assert encoders.visual([picture]) == pytest.approx(yt8m.quantise(expected), abs=0.02)
    silent = encoders.audio([np.zeros(16_000, np.float32)])  # 6,144 · 0.001 · log 0.01, less itself
    assert silent == pytest.approx(yt8m.quantise(np.zeros(128)), abs=0.02)


def test_all_that_is_missing_is_told_at_once(tmp_path: Path):
    (tmp_path / "mean.npy").write_bytes(b"")
    with pytest.raises(InputError, match="6 of the 7 files") as told:
        open_encoders("yt8m", tmp_path)
    for name, address in yt8m.ADDRESSES.items():
        assert (f"{name} (from {address})" in str(told.value)) == (name != "mean.npy")
    with pytest.raises(InputError, match="files=FOLDER"):
        open_encoders("yt8m")


def test_a_missing_architecture_is_told(whole: Path, known: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(InputError, match="torch-fidelity cannot be imported"):
        open_encoders("yt8m", whole)


def test_another_network_is_refused(whole: Path):
    with pytest.raises(InputError, match=rf"{yt8m.INCEPTION}: has not the SHA-256 6726825d"):
        open_encoders("yt8m", whole)


@pytest.mark.parametrize("name", ["eigenvecs.npy", "vggish_projection_matrix_data.pb"])
@pytest.mark.parametrize("content", [b"", b"\x08\x01", b"\x93NUMPY"])
def test_a_damaged_pca_is_refused(
    whole: Path, known: None, tmp_path: Path, name: str, content: bytes
):
    for file in yt8m.ADDRESSES:
        (tmp_path / file).symlink_to(whole / file)
    (tmp_path / name).unlink()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        open_encoders("yt8m", tmp_path)


def test_eigenvectors_are_checked(whole: Path, known: None, tmp_path: Path):
    for file in yt8m.ADDRESSES:
        (tmp_path / file).symlink_to(whole / file)
    (tmp_path / "eigenvecs.npy").unlink()
    np.save(tmp_path / "eigenvecs.npy", np.load(whole / "eigenvecs.npy") * 1.1)
    with pytest.raises(InputError, match="are no PCA"):
        open_encoders("yt8m", tmp_path)


def test_a_matrix_goes_by_columns_unless_it_says_otherwise(tmp_path: Path):
    path = tmp_path / "vggish_mean_matrix_data.pb"
    path.write_bytes(matrix(2, 3, np.arange(6)))
    assert yt8m._read_matrix(path, (2, 3)).tolist() == [[0, 2, 4], [1, 3, 5]]
    path.write_bytes(matrix(2, 3, np.arange(6), by_rows=True))
    assert yt8m._read_matrix(path, (2, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]


# --- compatibility -------------------------------------------------------------------------------


def test_compatibility_with_a_feature_set(related_features: Path):
    reference = open_features(related_features, "train")
    visual = 2 * reference.visual.astype(np.float64)
    audio = reference.audio + reference.audio.std(axis=0)  # each mean moves by a deviation
    audio = np.vstack([audio, np.full(128, np.nan)])  # and a clip without sound
    found = yt8m.compatibility(visual, audio, reference).set_index(["modality", "quantity"])
    own, known = found["own"], found["reference"]
    norms = np.linalg.norm(reference.visual, axis=1)
    assert known["visual", "norm"] == pytest.approx(norms.mean(), rel=1e-5)
    assert own["visual", "norm"] == pytest.approx(2 * norms.mean(), rel=1e-5)
    assert own["visual", "ratio of variances"] == pytest.approx(4, rel=1e-3)
    assert own["audio", "clips"] == known["audio", "clips"] == len(reference)
    assert own["audio", "offset of means"] == pytest.approx(1, rel=1e-3)
    assert own["audio", "ratio of variances"] == pytest.approx(1, rel=1e-3)
    assert own["visual", "highest"] == pytest.approx(2 * reference.visual.max())


def test_compatibility_needs_the_same_sizes(related_features: Path):
    reference = open_features(related_features, "evaluation")
    with pytest.raises(InputError, match="1024 numbers a clip of related numbers"):
        yt8m.compatibility(np.zeros((2, 512)), reference.audio, reference)
