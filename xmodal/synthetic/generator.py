"""The model that the clips of the sample are drawn from.

Its equations are those of `xmodal.synthetic.sample`; its constants were fitted to statistics of
YouTube-8M validation shards.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

from xmodal.data.schema import AUDIO_DIM, VISUAL_DIM
from xmodal.synthetic.labels import compose_labels

CENTRE, REACH = 1 / 128, 2.0
"""Features lie within CENTRE ± REACH, the range of YouTube-8M."""


class Marginal(NamedTuple):
    """Statistics of one modality."""

    dim: int
    deviation: tuple[float, float, float]
    """(a, b, c): feature j = 1.. has the standard deviation a (j + b)^−c."""
    spectrum: tuple[float, float]
    """(a, q): eigenvalue at u = k / dim is 1 + a ((1 − u^q) / q − 1 / (1 + q))."""
    scale: float
    """σ: standard deviation of the logarithm of a clip's scale."""
    squash: float
    """The tanh reduces the deviation d (1 + squash d²) to d."""


class Constants(NamedTuple):
    """Everything about the sample that was fitted and is no field of its configuration."""

    visual: Marginal = Marginal(VISUAL_DIM, (0.89, 1.0, 0.114), (0.45, 0.05), 0.45, 0.42)
    audio: Marginal = Marginal(AUDIO_DIM, (0.988, 0.0, 0.103), (1.3, 1.0), 0.36, 0.40)
    correlation: tuple[float, float] = (0.92, 2.0)
    """(a, c): ρ_k = a exp(−((k − 1) / shared)^c)."""
    scale_correlation: float = 0.37
    """Correlation of a clip's two g: so the norms of the two modalities correlate."""
    class_share: float = 0.9
    """κ: the share of what the modalities have in common that the subject explains."""
    topic_decay: float = 10.0
    """Number of shared factors in which class means follow the topic rather than the class."""
    silent_share: float = 0.014
    """Share of the clips that have the silent audio vector."""
    label_counts: tuple[float, ...] = (
        0.246, 0.224, 0.188, 0.156, 0.088, 0.045, 0.026, 0.013, 0.007, 0.004, 0.002, 0.001,
    )  # fmt: skip
    """Share of the clips that have 1, 2, 3, ... labels."""


CONSTANTS = Constants()


class FeatureMap:
    """The map from the latent vectors of one modality to its features, and back."""

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

    def scale(self, g: np.ndarray) -> np.ndarray:
        """Return s, of mean square 1, for a standard normal g."""
        return np.exp(self.sigma * g - self.sigma**2)

    def features(self, scaled: np.ndarray) -> np.ndarray:
        """Turn s x, float32 (clips, dim), into features."""
        return CENTRE + REACH * np.tanh(scaled @ self.forward / REACH)

    def latent(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Undo `features`, and estimate s: return x (clips, dim) and g (clips,)."""
        inside = np.clip((np.asarray(features, np.float32) - CENTRE) / REACH, -0.9999, 0.9999)
        scaled = REACH * np.arctanh(inside) @ self.backward
        scale = np.sqrt(np.square(scaled).mean(axis=1, dtype=np.float64)) + 1e-12
        return scaled / scale[:, None], np.log(scale) / self.sigma + self.sigma


@lru_cache(maxsize=4)
def _feature_maps(seed: int) -> tuple[FeatureMap, FeatureMap]:
    """Make the maps of both modalities, which takes most of the time that a generator takes."""
    rng = np.random.default_rng([seed, 3])
    return FeatureMap(CONSTANTS.visual, rng), FeatureMap(CONSTANTS.audio, rng)


class Generator:
    """The classes, the correlations and the two modalities of a sample; draws its clips."""

    def __init__(self, shared: float, seed: int, classes: int) -> None:
        rng = np.random.default_rng([seed, 0])
        self.names, self.topic, self.topic_share, self.weight = compose_labels(classes)
        general = len(self.topic_share)
        total = np.bincount(self.topic[general:], self.weight[general:])
        self.prior = self.topic_share[self.topic] * self.weight / total[self.topic]
        self.prior[:general] = 0  # a general label is never the subject
        k = np.arange(AUDIO_DIM)
        a, c = CONSTANTS.correlation
        self.rho = a * np.exp(-((k / shared) ** c))
        by_topic = np.exp(-k / CONSTANTS.topic_decay)
        means = np.sqrt(by_topic) * rng.standard_normal((general, AUDIO_DIM))[self.topic]
        means += np.sqrt(1 - by_topic) * rng.standard_normal((classes, AUDIO_DIM))
        for _ in range(5):  # equal lengths, or a clip's norm would say what its subject is
            means /= np.linalg.norm(means, axis=1, keepdims=True)
            means -= self.prior @ means
            factor = np.linalg.cholesky(means.T @ (self.prior[:, None] * means))
            means = solve_triangular(factor, means.T, lower=True).T
        self.means = means
        self.visual, self.audio = _feature_maps(seed)
        self.silence = self.audio.features(rng.standard_normal((1, AUDIO_DIM), np.float32))[0]

    def draw_labels(
        self, clips: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Draw each clip's subject, int64 (clips,), and its labels, int32, ascending.

        Labels are drawn within a topic without replacement, in proportion to their weights (as a
        race: each arrives after an exponential time, and the first to arrive are drawn). The
        subject is the first of them that is not general; a clip with a single label may not name
        its subject.
        """
        topic = rng.choice(len(self.topic_share), clips, p=self.topic_share)
        share = np.array(CONSTANTS.label_counts) / sum(CONSTANTS.label_counts)
        count = 1 + rng.choice(len(share), clips, p=share)
        subject = np.empty(clips, np.int64)
        labels: list[np.ndarray] = [np.empty(0)] * clips
        for general in range(len(self.topic_share)):
            classes = np.flatnonzero(self.topic == general)
            rows = np.flatnonzero(topic == general)
            arrival = rng.standard_exponential((len(rows), len(classes)), np.float32)
            arrival /= self.weight[classes].astype(np.float32)
            most = min(len(share), len(classes))
            first = np.argpartition(arrival, most - 1, axis=1)[:, :most]
            order = np.take_along_axis(arrival, first, axis=1).argsort(axis=1)
            drawn = classes[np.take_along_axis(first, order, axis=1)]
            subject[rows] = np.where(drawn[:, 0] == general, drawn[:, 1], drawn[:, 0])
            for row, found in zip(rows, drawn, strict=True):
                labels[row] = np.sort(found[: count[row]]).astype(np.int32)
        return subject, labels

    def draw_latents(
        self, subject: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw x (clips, 1024), y (clips, 128) and both g (clips, 2), float32."""
        clips, kappa, correlation = len(subject), CONSTANTS.class_share, CONSTANTS.scale_correlation
        x = rng.standard_normal((clips, VISUAL_DIM), np.float32)
        y = rng.standard_normal((clips, AUDIO_DIM), np.float32)
        factor = np.sqrt(1 - kappa) * rng.standard_normal((clips, AUDIO_DIM), np.float32)
        factor += np.sqrt(kappa) * self.means[subject]
        common, own = np.sqrt(self.rho), np.sqrt(1 - self.rho)
        x[:, :AUDIO_DIM] = common * factor + own * x[:, :AUDIO_DIM]
        y = (common * factor + own * y).astype(np.float32)
        g = rng.standard_normal((clips, 2), np.float32)
        g[:, 1] = correlation * g[:, 0] + np.sqrt(1 - correlation**2) * g[:, 1]
        return x, y, g

    def draw_features(
        self, subject: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw visual (clips, 1024) and audio features (clips, 128), float32, of given subjects."""
        x, y, g = self.draw_latents(subject, rng)
        visual = self.visual.features(x * self.visual.scale(g[:, :1]))
        audio = self.audio.features(y * self.audio.scale(g[:, 1:]))
        audio[rng.random(len(subject)) < CONSTANTS.silent_share] = self.silence
        return visual, audio
