"""Canonical correlation analysis (CCA), linear and with a kernel: baselines in closed form.

Kernel CCA is linear CCA of random Fourier features, so that the closed form stays the same
(Lopez-Paz et al., 2014).
"""

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.linalg
import torch
from torch.nn.functional import normalize

from xmodal.data.features import SPLITS, FeatureSet, open_splits, read_chunks
from xmodal.data.pairs import Pairs
from xmodal.data.statistics import Moments, moments, whitener
from xmodal.evaluation.recall import mean_recall
from xmodal.fourier import FourierFeatures, KernelCCA
from xmodal.model import Embeddings

LINEAR, KERNEL = "linear CCA", "kernel CCA"
RIDGES, POWERS = (0.01, 0.03, 0.1, 0.3, 1.0), (0.0, 0.5, 1.0)
"""The grid that `choose_cca` searches, our choice."""
WIDTHS = tuple(product((0.4, 0.6, 0.8), (0.7, 1.0, 1.4)))
KERNEL_RIDGES, DIRECTIONS = (0.1, 0.03, 0.3), (128, 256, 512)
"""The grid that `choose_kernel_cca` searches with `POWERS`, visual widths first; our choice."""
FEW = 1024
"""Random features, at most, with which the widths are chosen."""


class CCA(NamedTuple):
    """Pairs of directions, one for each modality, that correlate most; float64.

    ``visual`` (V, k) and ``audio`` (A, k) project centred features to variance 1;
    ``correlation`` (k,) is that of each pair on the clips it was fitted to, largest first. The
    features are ``random`` ones of the clips' if there is a kernel.
    """

    visual_mean: np.ndarray
    audio_mean: np.ndarray
    visual: np.ndarray
    audio: np.ndarray
    correlation: np.ndarray
    random: tuple[FourierFeatures, FourierFeatures] | None = None

    def project(self, clips: FeatureSet | Pairs) -> tuple[np.ndarray, np.ndarray]:
        """Return the canonical coordinates of both modalities: float64, (clips, k) each."""
        parts = []
        for both in read_chunks(clips.visual, clips.audio):
            visual, audio = lift(self.random, *both)
            visual, audio = visual - self.visual_mean, audio - self.audio_mean
            parts.append((visual @ self.visual, audio @ self.audio))
        visual, audio = map(np.concatenate, zip(*parts, strict=True))
        return visual, audio

    def first(self, directions: int) -> "CCA":
        """Return the same with the first so many directions alone."""
        visual, audio = self.visual[:, :directions], self.audio[:, :directions]
        return self._replace(visual=visual, audio=audio, correlation=self.correlation[:directions])


def lift(
    random: tuple[FourierFeatures, FourierFeatures] | None, *both: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Return the random features of both modalities, or the features themselves."""
    if not random:
        return both
    return tuple(f(torch.from_numpy(x)).numpy() for f, x in zip(random, both, strict=True))


def fit_cca(train: Moments, ridge: float, directions: int | None = None) -> CCA:
    """Find the canonical directions of a training set (Hotelling, 1936), in closed form.

    ``ridge`` is a share of the mean variance of each modality. All directions are found, or, in
    less time, the first so many.
    """
    whiten_visual, whiten_audio = whitener(train.visual, ridge), whitener(train.audio, ridge)
    between = whiten_visual.T @ train.cross @ whiten_audio
    if directions is None or directions >= min(between.shape):
        left, correlation, right = np.linalg.svd(between, full_matrices=False)
        right = right.T
    else:  # singular vectors are the eigenvectors of the product with itself
        last = between.shape[1] - 1
        squares, right = scipy.linalg.eigh(
            between.T @ between, subset_by_index=(last - directions + 1, last)
        )
        correlation, right = np.sqrt(squares[::-1]), right[:, ::-1]
        left = between @ right / correlation
    means = train.visual_mean, train.audio_mean
    return CCA(*means, whiten_visual @ left, whiten_audio @ right, correlation)


def embed_cca(fitted: CCA, clips: FeatureSet | Pairs, power: float) -> Embeddings:
    """Embed clips as unit vectors: canonical coordinates, times their correlation to a power."""
    return _weighted(fitted.project(clips), fitted.correlation**power)


def _weighted(both: Iterable[np.ndarray], weight: np.ndarray) -> Embeddings:
    """Scale the first coordinates, and each clip to length 1."""
    scaled = (torch.from_numpy(x[:, : len(weight)] * weight) for x in both)
    return Embeddings(*(normalize(x, dim=1).float() for x in scaled))


def kernel_module(fitted: CCA, power: float, weight: float) -> KernelCCA:
    """Return kernel CCA as it stands beside a network, with a weight where the network's is 1."""
    assert fitted.random
    scale, (visual, audio) = fitted.correlation**power, fitted.random
    module = KernelCCA(len(visual.mean), len(audio.mean), len(visual.phases), len(scale))
    module.weight.fill_(weight)
    means, sides = (fitted.visual_mean, fitted.audio_mean), (fitted.visual, fitted.audio)
    branches = module.visual, module.audio
    for branch, random, mean, side in zip(branches, fitted.random, means, sides, strict=True):
        branch.features = random
        branch.projection.weight.data.copy_(torch.from_numpy((side * scale).T))
        branch.projection.bias.data.copy_(torch.from_numpy(-mean @ (side * scale)))
    return module


def canonical_correlations(train: Moments, held_out: FeatureSet, ridge: float = 0.01) -> np.ndarray:
    """Return how strongly the modalities correlate along each pair of canonical directions.

    The directions come from one split and the correlations from another: on the clips that the
    directions were fitted to, even unrelated features correlate. float64, (smaller of the two
    feature sizes,), in the order of `fit_cca`; 0 where a coordinate is the same for all clips.
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
    train, validation = open_splits(features, *SPLITS[:2])
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


def kernel_moments(
    train: FeatureSet,
    plain: Moments,
    widths: tuple[float, float],
    size: int,
    clips: int | None = None,
    seed: int = 0,
) -> tuple[tuple[FourierFeatures, FourierFeatures], Moments]:
    """Draw ``size`` random features a modality for kernels of two ``widths``; measure them.

    Those of a training set with ``plain`` moments, or of its first so many ``clips``; memory does
    not grow with them.
    """
    random = (
        FourierFeatures.draw(plain.visual_mean, plain.visual, widths[0], size, 2 * seed),
        FourierFeatures.draw(plain.audio_mean, plain.audio, widths[1], size, 2 * seed + 1),
    )
    return random, moments(train, clips, lambda *both: lift(random, *both))


def choose_kernel_cca(
    features: Path, size: int = 3072, clips: int | None = None, seed: int = 0
) -> tuple[tuple[CCA, float], pd.DataFrame]:
    """Fit kernel CCA with the widths, ridge, power and directions that do best on validation clips.

    The widths are chosen with `FEW` random features and the first ridge, the rest with ``size``.
    Returns the CCA, with its power, and the grid: visual width, audio width, random features,
    ridge, directions, power and validation R@1 in percent, the best first.
    """
    train, validation = open_splits(features, *SPLITS[:2])
    names = ["visual width", "audio width", "random features", "ridge", "directions", "power"]
    plain, rows = moments(train, clips), list[tuple[float, ...]]()

    def tried(
        widths: tuple[float, float], size: int, ridges: Sequence[float]
    ) -> tuple[float, CCA, float]:
        """Measure all of the grid but the widths; return the best recall, its CCA and power."""
        random, measured = kernel_moments(train, plain, widths, size, clips, seed)
        found = []
        for ridge in ridges:
            fitted = fit_cca(measured, ridge, DIRECTIONS[-1])._replace(random=random)
            both = fitted.project(validation)
            for directions, power in product(DIRECTIONS, POWERS):
                weight = fitted.correlation[:directions] ** power
                recall = mean_recall(_weighted(both, weight), validation)
                rows.append((*widths, size, ridge, directions, power, recall))
                found.append((recall, fitted.first(directions), power))
        return max(found, key=lambda one: one[0])

    widths = max(WIDTHS, key=lambda one: tried(one, min(size, FEW), KERNEL_RIDGES[:1])[0])
    _, fitted, power = tried(widths, size, KERNEL_RIDGES)
    grid = pd.DataFrame(rows, columns=[*names, "validation R@1"])
    return (fitted, power), grid.sort_values("validation R@1", ascending=False, ignore_index=True)
