"""YouTube-8M's own encoders: Inception and VGGish, each with YouTube-8M's PCA; you bring the files.

The arithmetic is that of google/youtube-8m's feature_extractor and of MediaPipe's graph for
YouTube-8M, which their maintainers call approximate: see `compatibility`.
"""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from google.protobuf.message import DecodeError
from pydantic import Field
from torch import nn

from xmodal.config import InputError, StageConfig
from xmodal.data.features import open_features
from xmodal.data.pairs import read_pairs
from xmodal.data.schema import message_class
from xmodal.data.statistics import moments
from xmodal.files import digest
from xmodal.media import optional
from xmodal.media.encoders import Encoders, as_tensor, bands, magnitudes, mean, mel_filters, windows

YT8M = "http://data.yt8m.org"
INCEPTION = "pt_inception-2015-12-05-6726825d.pth"
VGGISH = "vggish-10086976.pth"
CENTRE, VARIANCES, DIRECTIONS = "mean.npy", "eigenvals.npy", "eigenvecs.npy"
MEAN, PROJECTION = "vggish_mean_matrix_data.pb", "vggish_projection_matrix_data.pb"
ADDRESSES = {
    INCEPTION: f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{INCEPTION}",
    VGGISH: f"https://github.com/harritaylor/torchvggish/releases/download/v0.1/{VGGISH}",
    **dict.fromkeys((CENTRE, VARIANCES, DIRECTIONS), f"{YT8M}/yt8m_pca.tgz"),
    MEAN: f"{YT8M}/pca_matrix_data/{MEAN}",
    PROJECTION: f"{YT8M}/pca_matrix_data/{PROJECTION}",
}
"""The files, and where to get them; those from yt8m_pca.tgz are to be unpacked."""
SHA256 = {
    INCEPTION: "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    VGGISH: "10086976245803799d9194e9a73d9b6c1549c71d1b80106f5cade5608a561f4b",
}
"""Of the two networks; for the others none is published."""


class Projection(NamedTuple):
    """A PCA: ``(x - centre) @ matrix``, shapes (d,) and (d, k)."""

    centre: np.ndarray
    matrix: np.ndarray

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        """Project a vector, (d,) to (k,)."""
        return (vector - self.centre) @ self.matrix


def whitening(centre: np.ndarray, variances: np.ndarray, directions: np.ndarray) -> Projection:
    """Return YouTube-8M's PCA of pictures: its first 1,024 rows over √(eigenvalue + 1e-4)."""
    return Projection(centre, directions[:1024].T / np.sqrt(variances[:1024] + 1e-4))


def quantise(features: np.ndarray) -> np.ndarray:
    """Round features to YouTube-8M's 8 bits over [-2, 2], and read them back as its readers do."""
    codes = np.floor((np.clip(features, -2, 2) + 2) * 255 / 4 + 0.5)
    return codes * 4 / 255 + 4 / 512 - 2


def log_mel(samples: np.ndarray) -> np.ndarray:
    """Return VGGish's input from 15,600 samples (0.975 s) at 16 kHz: (96, 64), natural logarithm.

    Windows of 25 ms every 10 ms, 64 mel bands from 125 to 7,500 Hz, 0.01 added to magnitudes.
    """
    filters = mel_filters(16_000, 512, 64, 125, 7500)
    return np.log(bands(magnitudes(samples, 400, 160, 512), filters) + 0.01)


def encoders(
    inception: Callable[[torch.Tensor], torch.Tensor],
    vggish: Callable[[torch.Tensor], torch.Tensor],
    visual: Projection,
    audio: Projection,
) -> Encoders:
    """Put YouTube-8M's encoders together: a network and a PCA of each modality.

    Inception takes uint8 (1, 3, height, width), and gives ``pool_3``, (1, 2048). VGGish takes
    `log_mel`, (1, 1, 96, 64), and gives the last layer before its ReLU, (1, 128).
    """

    def of_picture(picture: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None]
        return quantise(visual(inception(pixels)[0].numpy()))

    def of_window(samples: np.ndarray) -> np.ndarray:
        return quantise(audio(vggish(as_tensor(log_mel(samples))[None, None])[0].numpy()))

    return Encoders(
        *("yt8m", visual.matrix.shape[1], audio.matrix.shape[1], 16_000),
        lambda frames: mean(map(of_picture, frames)),
        # 96 frames; the next window begins a second after the last, not 0.96 s
        lambda sound: mean(map(of_window, windows(sound, 95 * 160 + 400, 16_000))),
    )


def open_yt8m(folder: Path) -> Encoders:
    """Load YouTube-8M's encoders from the files of `ADDRESSES`, each verified.

    InputError names, with their addresses, all that are missing, or those of which one is damaged.
    """
    missing = [name for name in ADDRESSES if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{folder}: {len(missing)} of the {len(ADDRESSES)} files of YouTube-8M's encoders are "
            "missing: " + "; ".join(f"{name} (from {ADDRESSES[name]})" for name in missing)
        )
    for name, sha256 in SHA256.items():
        if digest(folder / name) != sha256:
            raise InputError(f"{folder / name}: has not the SHA-256 {sha256}; fetch it again.")
    try:
        centre, variances = (np.load(folder / name)[:, 0] for name in (CENTRE, VARIANCES))
        directions = np.load(folder / DIRECTIONS)[:1024].reshape(1024, 2048)
        visual = whitening(centre.reshape(2048), variances, directions)
        audio = Projection(
            read_matrix(folder / MEAN, (128, 1))[:, 0],
            read_matrix(folder / PROJECTION, (128, 128)).T,
        )
    except (EOFError, ValueError, IndexError, DecodeError) as error:
        names = ", ".join(name for name in ADDRESSES if name not in SHA256)
        raise InputError(
            f"{folder}: of {names}, one is damaged ({error}); fetch them again."
        ) from None
    needed = "YouTube-8M's encoders need `pip install '.[media,yt8m]'`"
    place = "torch_fidelity.feature_extractor_inceptionv3"
    network = optional(place, needed=needed).FeatureExtractorInceptionV3
    inception = network("inception", ["2048"], str(folder / INCEPTION))
    vggish = vggish_network()
    vggish.load_state_dict(torch.load(folder / VGGISH, weights_only=True, map_location="cpu"))
    return encoders(lambda pixels: inception(pixels)[0], vggish.eval(), visual, audio)


class _ChannelsLast(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Flatten pictures as TensorFlow does: the channels of a place stand together."""
        return x.permute(0, 2, 3, 1).flatten(1)


def vggish_network() -> nn.Sequential:
    """Return VGGish up to its last layer, without the ReLU after it, with torchvggish's names."""
    features: list[nn.Module] = []
    channels = 1
    for width, convolutions in ((64, 1), (128, 1), (256, 2), (512, 2)):
        for _ in range(convolutions):
            features += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        features.append(nn.MaxPool2d(2))
    dense = (nn.Linear(6 * 4 * 512, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU())
    embeddings = nn.Sequential(*dense, nn.Linear(4096, 128))
    parts = {"features": nn.Sequential(*features), "flatten": _ChannelsLast()}
    return nn.Sequential(OrderedDict(parts, embeddings=embeddings))


_MATRIX = """
name: "matrix_data.proto"  syntax: "proto2"
message_type {
  name: "MatrixData"
  field { name: "packed_data" number: 3 label: LABEL_REPEATED type: TYPE_FLOAT
          options { packed: true } }
  field { name: "layout" number: 4 label: LABEL_OPTIONAL type: TYPE_INT32 }
}
"""


def read_matrix(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Read a matrix of MediaPipe (matrix_data.proto): by columns, unless ``layout`` is 1."""
    matrix = message_class(_MATRIX, "MatrixData").FromString(path.read_bytes())
    values = np.array(matrix.packed_data, np.float32)
    return values.reshape(shape, order="C" if matrix.layout else "F")


class CompatibilityConfig(StageConfig):
    """What is compared with what."""

    own: Path = Field(description="Features as `extract` writes them")
    reference: Path = Field(description="Feature set, with whose training clips they are compared")


def compatibility(config: CompatibilityConfig) -> pd.DataFrame:
    """Say how far own features lie from the statistics of a feature set's training clips.

    Rows of NaN are left out. There is a row for each modality and ``quantity``, with its value for
    ``own`` features and for the ``reference``; ``offset of means`` is the root mean square over
    dimensions of the difference of means in deviations of the reference (some 1/√n by chance),
    ``ratio of variances`` an average over dimensions. InputError if the sizes differ, or no clip
    has a modality.
    """
    own, reference = read_pairs(config.own), open_features(config.reference, "train")
    visual_mean, audio_mean, *covariances, _ = moments(reference)
    rows = []
    for modality, centre, covariance in zip(
        ("visual", "audio"), (visual_mean, audio_mean), covariances, strict=True
    ):
        values, other = getattr(own, modality), getattr(reference, modality)
        values = values[np.isfinite(values).all(axis=1)]
        if values.shape[1] != other.shape[1] or not len(values):
            raise InputError(
                f"the {modality} features have shape {values.shape}, which cannot be compared with "
                f"the {other.shape[1]} numbers a clip of {reference.source}."
            )
        variances = np.maximum(np.diag(covariance), 1e-12)
        offset = np.sqrt(((values.mean(0) - centre) ** 2 / variances).mean())
        ratio = (values.var(axis=0) / variances).mean()
        both = values, other
        lengths = [np.linalg.norm(x, axis=1) for x in both]
        rows += [
            (modality, "clips", *map(len, both)),
            (modality, "norm", *map(np.mean, lengths)),
            (modality, "norm deviation", *map(np.std, lengths)),
            (modality, "lowest", *map(np.min, both)),
            (modality, "highest", *map(np.max, both)),
            (modality, "offset of means", offset, 0.0),
            (modality, "ratio of variances", ratio, 1.0),
        ]
    columns = ["modality", "quantity", "own", "reference"]
    return pd.DataFrame(rows, columns=columns).astype({"own": float, "reference": float})
