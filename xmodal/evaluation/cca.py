"""Linear canonical correlation analysis, in closed form from streamed moments."""

from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import normalize

from xmodal.data.features import FeatureSet
from xmodal.data.statistics import Moments, whitener
from xmodal.model import Embeddings


class CCA(NamedTuple):
    """Pairs of directions, one for each modality, that correlate most; float64.

    ``visual`` (V, k) and ``audio`` (A, k) project centred features to variance 1;
    ``correlation`` (k,) is that of each pair on the clips it was fitted to, largest first.
    """

    visual_mean: np.ndarray
    audio_mean: np.ndarray
    visual: np.ndarray
    audio: np.ndarray
    correlation: np.ndarray

    def project(self, visual: np.ndarray, audio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the canonical coordinates of some clips: float64, (clips, k) each."""
        return (visual - self.visual_mean) @ self.visual, (audio - self.audio_mean) @ self.audio


def fit_cca(train: Moments, ridge: float = 1e-2) -> CCA:
    """Find all canonical directions of a training set (Hotelling, 1936).

    Parameters
    ----------
    train : Moments
        Of the clips to fit to.
    ridge : float
        Added to the variances, as a share of their mean, before whitening; our choice.
    """
    whiten_visual, whiten_audio = whitener(train.visual, ridge), whitener(train.audio, ridge)
    between = whiten_visual.T @ train.cross @ whiten_audio
    left, correlation, right = np.linalg.svd(between, full_matrices=False)
    return CCA(
        train.visual_mean,
        train.audio_mean,
        whiten_visual @ left,
        whiten_audio @ right.T,
        correlation,
    )


def embed_cca(fitted: CCA, features: FeatureSet, power: float = 1.0) -> Embeddings:
    """Embed clips in canonical coordinates.

    Parameters
    ----------
    fitted : CCA
        Fitted to training clips.
    features : FeatureSet
        Clips to embed.
    power : float
        Each coordinate is weighted by its correlation to this power: 0 is plain CCA, 1 trusts
        directions as far as they correlate.

    Returns
    -------
    Embeddings
        Unit vectors, float32, (clips, smaller of the two feature sizes).
    """
    weight = fitted.correlation**power
    both = fitted.project(features.visual, features.audio)
    return Embeddings(*(normalize(torch.from_numpy(x * weight), dim=1).float() for x in both))


def canonical_correlations(train: Moments, held_out: FeatureSet, ridge: float = 1e-2) -> np.ndarray:
    """Return how strongly the two modalities correlate along each pair of canonical directions.

    The directions come from one split and the correlations from another: on the clips that the
    directions were fitted to, even unrelated features correlate.

    Parameters
    ----------
    train : Moments
        Of the split where the directions are fitted.
    held_out : FeatureSet
        Where the correlations are measured.
    ridge : float
        Added to the variances, as a share of their mean, before whitening.

    Returns
    -------
    array, float64, (smaller of the two dimensions,)
        In the order of the fitted correlations.
    """
    projected = fit_cca(train, ridge).project(held_out.visual, held_out.audio)
    v, a = ((p - p.mean(axis=0)) / p.std(axis=0) for p in projected)
    return (v * a).mean(axis=0)
