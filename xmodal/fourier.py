"""What is made of features before they are embedded, of which nothing is in the paper.

They are standardised, or become random Fourier features, so many that the inner product of two
clips approaches a kernel (Rahimi and Recht, 2007): those kernel CCA embeds beside a network.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from xmodal.config import InputError


class Standardise(nn.Module):
    """Shift and scale features: mean 0, standard deviation 1 on average."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.zeros(features))
        self.scale = nn.Buffer(torch.ones(()))  # one for all, so that proportions stay

    def fit(self, values: np.ndarray) -> None:
        """Take mean and scale from features; InputError if they are the same in all clips."""
        self.mean.copy_(torch.from_numpy(values.mean(axis=0, dtype=np.float64)))
        self.scale.fill_(float(values.std(axis=0, dtype=np.float64).mean()))
        if not 0 < self.scale < math.inf:
            raise InputError("features do not vary, or are not finite: do not standardise them")

    def forward(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.scale


class FourierFeatures(Standardise):
    """Append random cosines to the features of one modality: x → [z, √(2d/D) cos(z R + b)] / √d.

    z = (x − μ) / σ, where σ is the root of the mean variance of the d features. The directions R,
    (d, D), come from N(0, γ²/d) and the phases b, (D,), from [0, 2π), so that the inner product of
    two clips approaches z·z'/d + exp(−γ² ‖z − z'‖² / 2d) as their number D grows.
    """

    def __init__(self, features: int, size: int) -> None:
        super().__init__(features)
        self.directions = nn.Buffer(torch.zeros(features, size))
        self.phases = nn.Buffer(torch.zeros(size))

    @classmethod
    def draw(
        cls, mean: np.ndarray, covariance: np.ndarray, width: float, size: int, seed: int
    ) -> "FourierFeatures":
        """Draw ``size`` features for a kernel of ``width`` γ, given the moments of a modality."""
        rng, dim = np.random.default_rng(seed), len(mean)
        made = cls(dim, size)
        made.mean.copy_(torch.from_numpy(mean))
        made.scale.fill_(float(np.sqrt(np.trace(covariance) / dim)) or 1.0)
        directions = rng.standard_normal((dim, size), np.float32)
        made.directions.copy_(torch.from_numpy(directions)).mul_(width / dim**0.5)
        made.phases.copy_(torch.from_numpy(2 * np.pi * rng.random(size)))
        return made

    def forward(self, values: Tensor) -> Tensor:
        """Return the features of some clips, float32: (clips, d) → (clips, d + D)."""
        z = super().forward(values)
        waves = torch.addmm(self.phases, z, self.directions).cos_()
        dim, size = self.directions.shape
        return torch.cat([z * dim**-0.5, waves * (2 / size) ** 0.5], dim=1)


class KernelBranch(nn.Module):
    """Embed one modality by kernel CCA: unit vectors, float32 (clips, directions)."""

    def __init__(self, features: int, size: int, directions: int) -> None:
        super().__init__()
        self.features = FourierFeatures(features, size)
        self.projection = nn.Linear(features + size, directions)

    def forward(self, values: Tensor) -> Tensor:
        return normalize(self.projection(self.features(values)), dim=1)


class KernelCCA(nn.Module):
    """Kernel CCA of both modalities, beside a network: a cosine is the weighted mean of theirs."""

    def __init__(self, visual_dim: int, audio_dim: int, size: int, directions: int) -> None:
        super().__init__()
        self.visual = KernelBranch(visual_dim, size, directions)
        self.audio = KernelBranch(audio_dim, size, directions)
        self.weight = nn.Buffer(torch.zeros(()))  # where the network's is 1

    def forward(self, visual: Tensor, audio: Tensor, *network: Tensor) -> list[Tensor]:
        """Append the embeddings of the features ``visual`` and ``audio`` to the network's two."""
        share = self.weight / (1 + self.weight)
        kernels = self.visual(visual), self.audio(audio)
        both = zip(network, kernels, strict=True)
        return [torch.cat([(1 - share).sqrt() * x, share.sqrt() * y], dim=1) for x, y in both]
