"""Means and covariances of a training set of any size, read once, a piece at a time."""

from typing import NamedTuple

import numpy as np

from xmodal.data.features import FeatureSet
from xmodal.data.storage import pieces


class Moments(NamedTuple):
    """First and second moments of both modalities, float64.

    ``visual`` and ``audio`` are the covariances (V, V) and (A, A), ``cross`` that between the two,
    (V, A); all divided by the number of clips.
    """

    visual_mean: np.ndarray
    audio_mean: np.ndarray
    visual: np.ndarray
    audio: np.ndarray
    cross: np.ndarray


def moments(features: FeatureSet, clips: int | None = None) -> Moments:
    """Measure the moments of a split, or of its first so many clips.

    Products are in float32, sums in float64.
    """
    count = len(features.visual[:clips])
    dim = features.visual.shape[1]
    size = dim + features.audio.shape[1]
    total, squares = np.zeros(size), np.zeros((size, size))
    shift = np.zeros(0, np.float32)
    for both in pieces(features.visual[:clips], features.audio[:clips]):
        piece = np.hstack(both)
        if not len(shift):  # nearly centred, no digits are lost in the squares
            shift = piece.mean(axis=0)
        piece -= shift
        total += piece.sum(axis=0, dtype=np.float64)
        squares += piece.T @ piece
    mean = total / count
    covariance = squares / count - np.outer(mean, mean)
    mean = mean + shift
    return Moments(
        mean[:dim],
        mean[dim:],
        covariance[:dim, :dim],
        covariance[dim:, dim:],
        covariance[:dim, dim:],
    )


def whitener(covariance: np.ndarray, ridge: float) -> np.ndarray:
    """Return the matrix that turns centred features into uncorrelated ones of variance 1.

    ``ridge``, as a share of the mean variance, is added to all variances first.
    """
    scale = ridge * np.trace(covariance) / len(covariance)
    variance, directions = np.linalg.eigh(covariance + scale * np.eye(len(covariance)))
    return directions / np.sqrt(variance)
