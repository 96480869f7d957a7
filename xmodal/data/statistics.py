"""What a feature set looks like: the numbers behind the pictures of notebook 01 (our choice)."""

import numpy as np
import pandas as pd

from xmodal.data.arrays import pieces
from xmodal.data.cca import fit_cca
from xmodal.data.features import FeatureSet
from xmodal.data.moments import Moments


def overview(splits: dict[str, FeatureSet]) -> pd.DataFrame:
    """Return one row a split: clips, silent clips, labels, lengths and range of the features."""
    rows = []
    for name, features in splits.items():
        row: dict[str, object] = {"split": name, "clips": len(features)}
        row["silent clips"] = int(features.silent.sum())
        row["labels per clip"] = len(features.label_indices) / len(features)
        for modality, values in (("visual", features.visual), ("audio", features.audio)):
            seen = [
                (np.linalg.norm(x, axis=1), x.min(), x.max()) for (x,) in pieces(values)
            ]  # read once
            lengths, lows, highs = zip(*seen, strict=True)
            norm, low, high = np.concatenate(lengths), min(lows), max(highs)
            row[f"{modality} norm"] = f"{norm.mean():.1f} ± {norm.std():.1f}"
            row[f"{modality} range"] = f"{low:.2f} to {high:.2f}"
        rows.append(row)
    return pd.DataFrame(rows)


def label_counts(features: FeatureSet) -> np.ndarray:
    """Return how many clips carry each label: int64, (classes,)."""
    return np.bincount(features.label_indices, minlength=len(features.label_names))


def norms(values: np.ndarray) -> np.ndarray:
    """Return the length of each clip's feature: float32, (clips,)."""
    return np.concatenate([np.linalg.norm(piece, axis=1) for (piece,) in pieces(values)])


def spectrum(covariance: np.ndarray) -> np.ndarray:
    """Return the variances of the principal components, largest first: float64, (dimensions,)."""
    return np.linalg.eigvalsh(covariance)[::-1]


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
