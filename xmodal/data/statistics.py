"""What a feature set looks like: the numbers behind the pictures of notebook 01 (our choice)."""

import numpy as np
import pandas as pd

from xmodal.data.features import FeatureSet


def overview(splits: dict[str, FeatureSet]) -> pd.DataFrame:
    """Return one row a split: clips, silent clips, labels, lengths and range of the features."""
    rows = []
    for name, features in splits.items():
        row: dict[str, object] = {"split": name, "clips": len(features)}
        row["silent clips"] = int(features.silent.sum())
        row["labels per clip"] = len(features.label_indices) / len(features)
        for modality, values in (("visual", features.visual), ("audio", features.audio)):
            norm = np.linalg.norm(values, axis=1)
            row[f"{modality} norm"] = f"{norm.mean():.1f} ± {norm.std():.1f}"
            row[f"{modality} range"] = f"{values.min():.2f} to {values.max():.2f}"
        rows.append(row)
    return pd.DataFrame(rows)


def label_counts(features: FeatureSet) -> np.ndarray:
    """Return how many clips carry each label: int64, (classes,)."""
    return np.bincount(features.label_indices, minlength=len(features.label_names))


def spectrum(values: np.ndarray) -> np.ndarray:
    """Return the variances of the principal components, largest first: float64, (dimensions,)."""
    return np.linalg.eigvalsh(np.cov(values, rowvar=False, dtype=np.float64))[::-1]


def canonical_correlations(
    train: FeatureSet, held_out: FeatureSet, ridge: float = 1e-2
) -> np.ndarray:
    """Return how strongly the two modalities correlate along each pair of canonical directions.

    The directions come from one split and the correlations from another: on the clips that the
    directions were fitted to, even unrelated features correlate.

    Parameters
    ----------
    train, held_out : FeatureSet
        Where the directions are fitted, and where the correlations are measured.
    ridge : float
        Added to the variances, as a share of their mean, before whitening.

    Returns
    -------
    array, float64, (smaller of the two dimensions,)
        In the order of the fitted correlations.
    """
    visual_mean, audio_mean = train.visual.mean(axis=0), train.audio.mean(axis=0)
    visual, audio = train.visual - visual_mean, train.audio - audio_mean
    whiten_visual, whiten_audio = whitener(visual, ridge), whitener(audio, ridge)
    cross = whiten_visual.T @ (visual.T @ audio / len(train)) @ whiten_audio
    left, _, right = np.linalg.svd(cross, full_matrices=False)
    projected = (
        (held_out.visual - visual_mean) @ (whiten_visual @ left),
        (held_out.audio - audio_mean) @ (whiten_audio @ right.T),
    )
    v, a = ((p - p.mean(axis=0)) / p.std(axis=0) for p in projected)
    return (v * a).mean(axis=0)


def whitener(centred: np.ndarray, ridge: float) -> np.ndarray:
    """Return the matrix that turns features into uncorrelated ones of variance 1."""
    covariance = centred.T @ centred / len(centred)
    scale = ridge * np.trace(covariance) / len(covariance)
    variance, directions = np.linalg.eigh(covariance + scale * np.eye(len(covariance)))
    return directions / np.sqrt(variance)
