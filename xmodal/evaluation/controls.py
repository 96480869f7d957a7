"""What recall is without learning a network: linear CCA, and controls whose recall is known.

Each function returns embeddings of a split, to be ranked like a model's. None is in the paper.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import normalize

from xmodal.data import statistics
from xmodal.data.features import FeatureSet
from xmodal.data.schema import FEATURE_RANGE
from xmodal.model import Embeddings

CHANCE = ("shuffled pairs", "one embedding for all")
"""Controls that must score as chance does."""


def shuffled(embedded: Embeddings, seed: int = 0) -> Embeddings:
    """Give each video another clip's sound: recall must be chance, or the ranking leaks."""
    order = torch.randperm(len(embedded.audio), generator=torch.Generator().manual_seed(seed))
    return Embeddings(embedded.visual, embedded.audio[order])


def constant(clips: int) -> Embeddings:
    """Map every clip to one point: recall must be chance, or ties are counted as found."""
    point = torch.ones(clips, 1)
    return Embeddings(point, point)


def norms(features: FeatureSet) -> Embeddings:
    """Match clips by the lengths of their feature vectors alone.

    The lengths of each modality become quantiles, and these the angles of a quarter circle: the
    nearer two quantiles, the more similar.
    """
    angles = []
    for values in (features.visual, features.audio):
        length = statistics.norms(values)
        quantile = length.argsort(kind="stable").argsort(kind="stable") / len(length)
        angles.append(torch.from_numpy(quantile * np.pi / 2))
    return Embeddings(*(_unit(torch.stack([a.cos(), a.sin()], dim=1)) for a in angles))


def frames(features: FeatureSet) -> Embeddings:
    """Match clips by their number of frames, which the rounding of the features gives away.

    A leak, see `frame_counts`: what a model that learned to read it would score for nothing.
    """
    visual, audio = (frame_counts(values) for values in (features.visual, features.audio))
    width = int(max(visual.max(), audio.max())) + 1
    return Embeddings(
        *(functional.one_hot(torch.from_numpy(x), width).float() for x in (visual, audio))
    )


def labels(features: FeatureSet) -> Embeddings:
    """Embed both modalities of a clip as its true labels, to see how much of recall is class.

    Similarity is the cosine of the two sets. Clips with the same labels cannot be told apart; one
    without labels is similar to none.
    """
    used = np.unique(features.labels.indices)
    sets = torch.from_numpy(features.labels[:, used].toarray())
    return Embeddings(normalize(sets, dim=1), normalize(sets, dim=1))


def controls(features: FeatureSet, embedded: Embeddings) -> dict[str, Embeddings]:
    """Return every control by its name, chance first: what recall is without understanding.

    Parameters
    ----------
    features : FeatureSet
        Clips to embed.
    embedded : Embeddings
        Of the same clips, by any model: its pairs are shuffled.
    """
    return {
        CHANCE[0]: shuffled(embedded),
        CHANCE[1]: constant(len(features)),
        "feature lengths": norms(features),
        "numbers of frames": frames(features),
        "true labels": labels(features),
    }


def similarity(scores: np.ndarray) -> Embeddings:
    """Rank by a matrix of scores: row i scores video i against every sound.

    Such as the likelihood ratios of `xmodal.synthetic.likelihood`, the best that any method can do
    on the synthetic sample. A product with unit vectors gives the scores back.
    """
    return Embeddings(torch.from_numpy(scores).float(), torch.eye(len(scores)))


def _unit(values: Tensor) -> Tensor:
    return normalize(values, dim=1).float()


LOW, HIGH = FEATURE_RANGE
"""What the least and the greatest of the 256 stored values stand for (YouTube-8M's scaling)."""
LOOKED_AT = 48
"""Dimensions that are looked at; chance cannot make so many numbers whole at once."""


def frame_counts(values: np.ndarray, most: int = 400, slack: float = 0.02) -> np.ndarray:
    """Find the smallest number of frames that makes a clip's feature a sum of whole numbers.

    Parameters
    ----------
    values : array, float32, (clips, features)
        As YouTube-8M gives them; float16 has not the digits.
    most : int
        Largest number tried; YouTube-8M keeps at most 360 seconds, a frame each.
    slack : float
        A larger number must be better by so much, as the mean distance from whole numbers: the
        multiples of T fit as well as T.

    Returns
    -------
    array, int64, (clips,)
    """
    levels = (np.asarray(values[:, :LOOKED_AT], np.float64) - LOW) * 255 / (HIGH - LOW)
    best, found = np.full(len(levels), np.inf), np.zeros(len(levels), np.int64)
    for frames in range(1, most + 1):
        sums = levels * frames
        distance = np.abs(sums - sums.round()).mean(axis=1)
        better = distance < best - slack
        best[better], found[better] = distance[better], frames
    return found
