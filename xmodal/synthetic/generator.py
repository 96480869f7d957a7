"""The truth behind the sample: its classes, and how the two modalities hang together.

The equations are those of `xmodal.synthetic.sample`; the constants were fitted to statistics of
YouTube-8M.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

from xmodal.data.schema import AUDIO_DIM, VISUAL_DIM
from xmodal.synthetic.labels import compose_labels


class Marginal(NamedTuple):
    """Statistics of one modality, fitted to YouTube-8M validation shards."""

    dim: int
    deviation: tuple[float, float, float]
    """(a, b, c): feature j = 1.. has the standard deviation a (j + b)^−c."""
    spectrum: tuple[float, float]
    """(a, q): eigenvalue at u = k / dim is 1 + a ((1 − u^q) / q − 1 / (1 + q))."""
    scale: float
    """σ: standard deviation of the logarithm of a clip's scale."""
    squash: float
    """The tanh takes deviation d from d (1 + squash d²)."""


VISUAL = Marginal(VISUAL_DIM, (0.89, 1.0, 0.114), (0.45, 0.05), 0.45, 0.42)
AUDIO = Marginal(AUDIO_DIM, (0.988, 0.0, 0.103), (1.3, 1.0), 0.36, 0.40)
CORRELATION = (0.92, 36.0, 0.7)
"""(a, b, c): ρ_k = a exp(−((k − 1) / (b · shared))^c)."""
SCALE_CORRELATION = 0.37
"""Of the two g of a clip: norms of the two modalities correlate by 0.37 in YouTube-8M."""
CLASS_SHARE = 0.9
"""κ: labels explain most of what the modalities share in YouTube-8M."""
TOPIC_DECAY = 10.0
"""Number of shared factors in which class means follow the topic rather than the class."""
SILENT_SHARE = 0.014
"""Share of clips with the silent audio vector."""
LABEL_COUNTS = (0.246, 0.224, 0.188, 0.156, 0.088, 0.045, 0.026, 0.013, 0.007, 0.004, 0.002, 0.001)
"""Share of clips with 1, 2, 3, ... labels."""
CENTRE, REACH = 1 / 128, 2.0
"""Features lie within CENTRE ± REACH, the range of YouTube-8M."""


class _Modality:
    """One modality's map from latent vectors to features, and back."""

    def __init__(self, marginal: Marginal, rng: np.random.Generator) -> None:
        index = np.arange(1, marginal.dim + 1)
        a, b, c = marginal.deviation
        deviation = a * (index + b) ** -c
        deviation *= 1 + marginal.squash * deviation**2
        a, q = marginal.spectrum
        u = (index - 0.5) / marginal.dim
        root = np.sqrt(1 + a * ((1 - u**q) / q - 1 / (1 + q)))
        rotation, _ = np.linalg.qr(rng.standard_normal((marginal.dim, marginal.dim)))
        self.forward = ((rotation * root).T * deviation).astype(np.float32)
        self.backward = ((rotation / root).T / deviation).T.astype(np.float32)
        self.sigma = marginal.scale

    def features(self, scaled: np.ndarray) -> np.ndarray:
        """Turn s x, float32 (clips, dim), into features."""
        return CENTRE + REACH * np.tanh(scaled @ self.forward / REACH)

    def latent(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Undo `features`, and estimate s: return x (clips, dim) and g (clips,)."""
        inside = np.clip((np.asarray(features, np.float32) - CENTRE) / REACH, -0.9999, 0.9999)
        scaled = REACH * np.arctanh(inside) @ self.backward
        scale = np.sqrt(np.square(scaled).mean(axis=1, dtype=np.float64)) + 1e-12
        return scaled / scale[:, None], np.log(scale) / self.sigma + self.sigma

    def scale(self, g: np.ndarray) -> np.ndarray:
        """Return s, of mean square 1, for a standard normal g."""
        return np.exp(self.sigma * g - self.sigma**2)


class World:
    """The truth behind a sample: classes, topics, correlations, the two modalities, silence."""

    def __init__(self, shared: float, seed: int, classes: int) -> None:
        rng = np.random.default_rng([seed, 0])
        self.names, self.topic, self.topic_share, self.weight = compose_labels(classes)
        general = len(self.topic_share)
        total = np.bincount(self.topic[general:], self.weight[general:])
        self.prior = self.topic_share[self.topic] * self.weight / total[self.topic]
        self.prior[:general] = 0
        k = np.arange(AUDIO_DIM)
        a, b, c = CORRELATION
        self.rho = a * np.exp(-((k / (b * shared)) ** c))
        by_topic = np.exp(-k / TOPIC_DECAY)
        means = np.sqrt(by_topic) * rng.standard_normal((general, AUDIO_DIM))[self.topic]
        means += np.sqrt(1 - by_topic) * rng.standard_normal((classes, AUDIO_DIM))
        for _ in range(5):  # classes equally far from the middle, or norms would tell them apart
            means /= np.linalg.norm(means, axis=1, keepdims=True)
            means -= self.prior @ means
            factor = np.linalg.cholesky(means.T @ (self.prior[:, None] * means))
            means = solve_triangular(factor, means.T, lower=True).T
        self.means = means
        self.visual, self.audio = _modalities(seed)
        self.silence = self.audio.features(rng.standard_normal((1, AUDIO_DIM), np.float32))[0]


@lru_cache(maxsize=4)
def _modalities(seed: int) -> tuple[_Modality, _Modality]:
    rng = np.random.default_rng([seed, 3])
    return _Modality(VISUAL, rng), _Modality(AUDIO, rng)


@lru_cache(maxsize=4)
def make_world(shared: float, seed: int, classes: int) -> World:
    """Make the truth of a sample, or give back the one made before; do not change it."""
    return World(shared, seed, classes)
