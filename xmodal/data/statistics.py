"""What a feature set looks like: the numbers behind the pictures of notebook 01 (our choice)."""

import numpy as np
import pandas as pd

from xmodal.data.features import FeatureSet
from xmodal.data.storage import pieces


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
            row[f"{modality} norm"], row[f"{modality} norm deviation"] = norm.mean(), norm.std()
            row[f"{modality} lowest"], row[f"{modality} highest"] = low, high
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
