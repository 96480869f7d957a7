"""Which clips make up each batch, as a function of the seed and the step alone."""

from functools import lru_cache

import numpy as np

from xmodal.data.features import FeatureSet


@lru_cache(maxsize=1)
def epoch_order(seed: int, epoch: int, clips: int) -> np.ndarray:
    """Return the order of the clips in an epoch: int64, (clips,)."""
    return np.random.default_rng([seed, epoch]).permutation(clips)


def batch_rows(seed: int, step: int, batch_size: int, clips: int) -> np.ndarray:
    """Return the clips of a step's batch: int64, (batch_size,), each clip at most once an epoch.

    Nothing is remembered between steps, so an interrupted training goes on in the same order. What
    an epoch has beyond its last whole batch is left out of that epoch.
    """
    epoch, position = divmod(step, clips // batch_size)
    return epoch_order(seed, epoch, clips)[position * batch_size :][:batch_size]


def batch_labels(features: FeatureSet, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of some clips as compressed sparse rows.

    Returns
    -------
    indptr, indices : array, int64, (rows + 1,) and (labels,)
    """
    starts = features.label_indptr[rows]
    indptr = np.concatenate([[0], (features.label_indptr[rows + 1] - starts).cumsum()])
    flat = np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], indptr[1:] - indptr[:-1])
    return indptr, features.label_indices[flat].astype(np.int64)
