"""Random Fourier features, and the branch of an embedding that kernel CCA fits to them.

So many numbers of a clip are made that their inner product approaches a kernel of two clips (Rahimi
and Recht, 2007). Nothing of it is in the paper.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


class FourierFeatures(nn.Module):
    """Append random cosines to the features of one modality: x → [z, √(2d/D) cos(z R + b)] / √d.

    z = (x − μ) / σ, where σ is the root of the mean variance of the d features. The directions R,
    (d, D), come from N(0, γ²/d) and the phases b, (D,), from [0, 2π), so that the inner product of
    two clips approaches z·z'/d + exp(−γ² ‖z − z'‖² / 2d) as their number D grows.
    """

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        self.mean, self.scale = nn.Buffer(torch.zeros(features)), nn.Buffer(torch.ones(()))
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
        z = (values - self.mean) / self.scale
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
