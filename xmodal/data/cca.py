"""Linear canonical correlation analysis, in closed form from streamed moments."""

from typing import NamedTuple

import numpy as np

from xmodal.data.moments import Moments, whitener


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
