"""What a feature set looks like, in numbers: lengths, labels, means and covariances.

All functions read features chunk by chunk, so that a set may be larger than memory.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from xmodal.data.features import FeatureSet, read_chunks, row_hashes


def overview(splits: dict[str, FeatureSet]) -> pd.DataFrame:
    """Return one row a split: clips, labels, lengths and range of the features.

    Repeated clips have the same visual features as another clip of any split, bit for bit.
    """
    hashes = pd.concat({name: pd.Series(row_hashes(some.visual)) for name, some in splits.items()})
    repeated = hashes.duplicated(keep=False)
    rows = []
    for name, features in splits.items():
        row: dict[str, object] = {"split": name, "clips": len(features)}
        row["silent clips"] = int(features.silent.sum())
        row["repeated clips"] = int(repeated[name].sum())
        labelled = np.count_nonzero(np.diff(features.labels.indptr))
        row["labels per clip"] = features.labels.nnz / max(1, labelled)  # of those that have any
        for modality, values in (("visual", features.visual), ("audio", features.audio)):
            length = norms(values)
            row[f"{modality} norm"] = length.mean()
            row[f"{modality} norm deviation"] = length.std()
            row[f"{modality} lowest"] = min(x.min() for (x,) in read_chunks(values))
            row[f"{modality} highest"] = max(x.max() for (x,) in read_chunks(values))
        rows.append(row)
    return pd.DataFrame(rows)


def label_counts(features: FeatureSet) -> np.ndarray:
    """Return the number of clips of each label: int64, (classes,)."""
    return np.bincount(features.labels.indices, minlength=features.labels.shape[1])


def norms(values: np.ndarray) -> np.ndarray:
    """Return the length of each clip's feature: float32, (clips,)."""
    return np.concatenate([np.linalg.norm(chunk, axis=1) for (chunk,) in read_chunks(values)])


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
    for both in read_chunks(features.visual[:clips], features.audio[:clips]):
        chunk = np.hstack(both)
        if not len(shift):  # nearly centred, no digits are lost in the squares
            shift = chunk.mean(axis=0)
        chunk -= shift
        total += chunk.sum(axis=0, dtype=np.float64)
        squares += chunk.T @ chunk
    mean = total / count
    covariance = squares / count - np.outer(mean, mean)
    mean = mean + shift
    within = covariance[:dim, :dim], covariance[dim:, dim:]
    return Moments(mean[:dim], mean[dim:], *within, covariance[:dim, dim:])


def whitener(covariance: np.ndarray, ridge: float) -> np.ndarray:
    """Return the matrix that turns centred features into uncorrelated ones of variance 1.

    ``ridge``, as a share of the mean variance, is added to all variances first. A direction without
    variance becomes 0.
    """
    scale = ridge * np.trace(covariance) / len(covariance)
    variance, directions = np.linalg.eigh(covariance + scale * np.eye(len(covariance)))
    deviation = np.sqrt(variance.clip(min=0))
    return np.divide(directions, deviation, np.zeros_like(directions), where=deviation > 0)


def spectrum(covariance: np.ndarray) -> np.ndarray:
    """Return the variances of the principal components, largest first: float64, (dimensions,)."""
    return np.linalg.eigvalsh(covariance)[::-1]
