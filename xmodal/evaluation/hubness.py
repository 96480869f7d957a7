"""Hubness: some items come first for far more queries than they match; measured, and corrected.

None of it is in the paper. The correction is the inverted softmax (Smith et al., 2017) with a bank
of training queries, as in querybank normalisation (Bogolin et al., 2022): no other query and no
other item of the gallery is looked at, so each query is answered alone.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from xmodal.data.features import FeatureSet
from xmodal.evaluation.recall import mean_recall
from xmodal.model import Embeddings

SHARPNESS = (7.0, 10.0, 14.0, 20.0, 28.0)
WEIGHT = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
"""The grid of `correction_grid`, our choice."""


def occurrence(retrieved: np.ndarray, size: int) -> tuple[float, float]:
    """Tell how unevenly ``size`` items are retrieved: int, (queries, k).

    Returns the skewness of how many queries have each item among their first k, 0 being even
    (Radovanović et al., 2010), and the share of items that no query finds.
    """
    counts = np.bincount(retrieved.ravel(), minlength=size)
    skewness = float(stats.skew(counts)) if np.ptp(counts) else 0.0
    return skewness, float((counts == 0).mean())


class Correction(NamedTuple):
    """The sharpness of `attraction` and its weight; a weight of 0 leaves all as it is."""

    sharpness: float
    weight: float


def attraction(embedded: Embeddings, bank: Embeddings, sharpness: float) -> list[Tensor]:
    """Return log(mean(exp(sharpness · cosine))) / sharpness of each video, and sound, to a bank.

    float32, (clips, 1) each; the bank holds embedded training clips, at least one.
    """
    found = []
    for queries, items in ((bank.audio, embedded.visual), (bank.visual, embedded.audio)):
        parts = [
            torch.logsumexp(sharpness * part @ queries.T, dim=1, keepdim=True)
            for part in items.split(2048)
        ]
        found.append(torch.cat(parts).sub(math.log(len(queries))) / sharpness)
    return found


def corrected(embedded: Embeddings, attractions: Sequence[Tensor], weight: float) -> Embeddings:
    """Take from each similarity the attraction of the item, so that hubs lose their lead."""
    visual, audio = (weight * values for values in attractions)
    one = torch.ones_like(visual)
    # a product is the cosine less both attractions; the query's own changes no rank
    return Embeddings(
        torch.cat([embedded.visual, -visual, one], dim=1),
        torch.cat([embedded.audio, one, -audio], dim=1),
    )


def correction_grid(embedded: Embeddings, bank: Embeddings, validation: FeatureSet) -> pd.DataFrame:
    """Measure each correction on embedded validation clips: sharpness, weight, validation R@1 (%).

    A line a correction, the best first; of equal ones, the one tried first.
    """
    rows = []
    for sharpness in SHARPNESS:
        attractions = attraction(embedded, bank, sharpness)
        for weight in WEIGHT:
            found = corrected(embedded, attractions, weight)
            rows.append((sharpness, weight, mean_recall(found, validation, cosine=False)))
    grid = pd.DataFrame(rows, columns=["sharpness", "weight", "validation R@1"])
    return grid.sort_values("validation R@1", ascending=False, kind="stable", ignore_index=True)


def choose_correction(embedded: Embeddings, bank: Embeddings, validation: FeatureSet) -> Correction:
    """Return the correction with which embedded validation clips have the highest Recall@1."""
    best = correction_grid(embedded, bank, validation).iloc[0]
    return Correction(float(best["sharpness"]), float(best["weight"]))
