"""Linear canonical correlation analysis (CCA): the closed-form baseline of the networks."""

from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import normalize

from xmodal.data.features import SPLITS, FeatureSet, open_features
from xmodal.data.pairs import Pairs
from xmodal.data.statistics import Moments, moments, whitener
from xmodal.evaluation.recall import mean_recall
from xmodal.model import Embeddings

LINEAR = "linear CCA"
RIDGES, POWERS = (0.01, 0.03, 0.1, 0.3, 1.0), (0.0, 0.5, 1.0)
"""The grid that `choose_cca` searches, our choice."""


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

    def project(self, clips: FeatureSet | Pairs) -> tuple[np.ndarray, np.ndarray]:
        """Return the canonical coordinates of both modalities: float64, (clips, k) each."""
        visual, audio = clips.visual - self.visual_mean, clips.audio - self.audio_mean
        return visual @ self.visual, audio @ self.audio


def fit_cca(train: Moments, ridge: float) -> CCA:
    """Find all canonical directions of a training set (Hotelling, 1936), in closed form."""
    whiten_visual, whiten_audio = whitener(train.visual, ridge), whitener(train.audio, ridge)
    between = whiten_visual.T @ train.cross @ whiten_audio
    left, correlation, right = np.linalg.svd(between, full_matrices=False)
    means = train.visual_mean, train.audio_mean
    return CCA(*means, whiten_visual @ left, whiten_audio @ right.T, correlation)


def embed_cca(fitted: CCA, clips: FeatureSet | Pairs, power: float) -> Embeddings:
    """Embed clips as unit vectors: canonical coordinates, times their correlation to a power."""
    weight = fitted.correlation**power
    both = fitted.project(clips)
    return Embeddings(*(normalize(torch.from_numpy(x * weight), dim=1).float() for x in both))


def canonical_correlations(train: Moments, held_out: FeatureSet, ridge: float = 0.01) -> np.ndarray:
    """Return how strongly the modalities correlate along each pair of canonical directions.

    The directions come from one split and the correlations from another: on the clips that the
    directions were fitted to, even unrelated features correlate. ``ridge``, as a share of the mean
    variance, is added to the variances before whitening; our choice.

    float64, (smaller of the two feature sizes,), in the order of the fitted correlations; 0 where a
    coordinate is the same for all clips.
    """
    projected = fit_cca(train, ridge).project(held_out)
    deviations = [np.where(np.ptp(p, axis=0) > 0, p.std(axis=0), np.inf) for p in projected]
    v, a = ((p - p.mean(axis=0)) / d for p, d in zip(projected, deviations, strict=True))
    return (v * a).mean(axis=0)


def choose_cca(
    features: Path, clips: int | None = None
) -> tuple[dict[str, tuple[CCA, float]], pd.DataFrame]:
    """Fit CCA with the ridge and the power that do best on validation clips.

    It is fitted to the first so many training ``clips``, all if not given. Returns by name plain
    CCA (power 0) and weighted CCA, each with its power; and the grid: ridge, power and validation
    R@1 in percent, the best first.
    """
    train, validation = (open_features(features, split) for split in SPLITS[:2])
    measured = moments(train, clips)
    fitted = {ridge: fit_cca(measured, ridge) for ridge in RIDGES}
    rows = [
        (ridge, power, mean_recall(embed_cca(fitted[ridge], validation, power), validation))
        for ridge, power in product(RIDGES, POWERS)
    ]
    grid = pd.DataFrame(rows, columns=["ridge", "power", "validation R@1"])
    grid = grid.sort_values("validation R@1", ascending=False, ignore_index=True)
    plain, weighted = grid[grid["power"] == 0].iloc[0], grid.iloc[0]
    best = {f"{LINEAR}, plain": plain, LINEAR: weighted}
    return {name: (fitted[row["ridge"]], row["power"]) for name, row in best.items()}, grid
