"""What a feature set looks like, in numbers: lengths, labels, means and covariances.

All functions read features chunk by chunk, so that a set may be larger than memory.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from xmodal.data.features import FeatureSet, read_chunks, row_hashes


def overview(splits: dict[str, FeatureSet]) -> pd.DataFrame:
    """Return one row a split: clips, labels, lengths and range of the features.

    Repeated clips have the same visual features as another clip of any split, bit for bit.
    """
    hashes = pd.concat({name: pd.Series(row_hashes(some.visual)) for name, some in splits.items()})
    repeated = hashes.duplicated(keep=False)
    rows: list[dict[str, Any]] = []
    for name, some in splits.items():
        labelled = np.count_nonzero(np.diff(some.labels.indptr))
        rows.append({"split": name, "clips": len(some), "silent clips": some.silent.sum()})
        rows[-1]["repeated clips"] = repeated[name].sum()
        rows[-1]["labels per clip"] = some.labels.nnz / max(1, labelled)  # of those that have any
        for modality, values in (("visual", some.visual), ("audio", some.audio)):
            length = norms(values)
            rows[-1] |= {
                f"{modality} norm": length.mean(),
                f"{modality} norm deviation": length.std(),
            }
            rows[-1][f"{modality} lowest"] = min(x.min() for (x,) in read_chunks(values))
            rows[-1][f"{modality} highest"] = max(x.max() for (x,) in read_chunks(values))
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


def moments(
    features: FeatureSet, clips: int | None = None, lift: Callable[..., Any] = lambda *both: both
) -> Moments:
    """Measure the moments of a split, or of its first so many clips.

    ``lift`` turns the features of some clips, visual and audio, into those that are measured.
    Products are in float32, sums in float64.
    """
    count = len(features.visual[:clips])
    blocks = ((0, 0), (1, 1), (0, 1))  # within the two modalities, and between them
    shift: list[np.ndarray] = []
    for chunk in read_chunks(features.visual[:clips], features.audio[:clips]):
        both = lift(*chunk)
        if not shift:  # nearly centred, no digits are lost in the squares
            shift = [x.mean(axis=0) for x in both]
            total = [np.zeros(len(x)) for x in shift]
            squares = [np.zeros((len(shift[i]), len(shift[j]))) for i, j in blocks]
        both = [x - mean for x, mean in zip(both, shift, strict=True)]
        for sums, x in zip(total, both, strict=True):
            sums += x.sum(axis=0, dtype=np.float64)
        for products, (i, j) in zip(squares, blocks, strict=True):
            products += both[i].T @ both[j]
    mean = [sums / count for sums in total]
    for products, (i, j) in zip(squares, blocks, strict=True):
        products /= count
        products -= np.outer(mean[i], mean[j])
    return Moments(mean[0] + shift[0], mean[1] + shift[1], *squares)


def whitener(covariance: np.ndarray, ridge: float) -> np.ndarray:
    """Return the matrix that turns centred features into uncorrelated ones of variance 1.

    ``ridge``, as a share of the mean variance, is added to all variances first. Without it, a
    direction that has no variance becomes 0.
    """
    scale = ridge * np.trace(covariance) / len(covariance)
    ridged = covariance + scale * np.eye(len(covariance))
    if scale > 0:
        return np.linalg.inv(np.linalg.cholesky(ridged)).T
    variance, directions = np.linalg.eigh(ridged)
    deviation = np.sqrt(variance.clip(min=0))
    return np.divide(directions, deviation, np.zeros_like(directions), where=deviation > 0)


def spectrum(covariance: np.ndarray) -> np.ndarray:
    """Return the variances of the principal components, largest first: float64, (dimensions,)."""
    return np.linalg.eigvalsh(covariance)[::-1]
