"""Controls: embeddings that have learned nothing, whose recall is known or gives a leak away.

None is in the paper.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import normalize, one_hot

from xmodal.config import InputError
from xmodal.data import statistics
from xmodal.data.features import FeatureSet
from xmodal.data.schema import FEATURE_RANGE
from xmodal.evaluation.recall import KS, recall_frame
from xmodal.model import Embeddings

CHANCE = ("shuffled pairs", "one embedding for all")
"""The controls that must score as chance does."""
INSPECTED = 48
"""Dimensions that `frame_counts` inspects; so many numbers are not whole at once by chance."""


def shuffled(embedded: Embeddings, seed: int = 0) -> Embeddings:
    """Give each video another clip's sound: recall must be chance, or the ranking leaks."""
    order = torch.randperm(len(embedded.audio), generator=torch.Generator().manual_seed(seed))
    return Embeddings(embedded.visual, embedded.audio[order])


def norms(features: FeatureSet) -> Embeddings:
    """Match clips by the lengths of their feature vectors: quantiles, as angles up to 90°."""
    embedded = []
    for values in (features.visual, features.audio):
        length = statistics.norms(values)
        quantile = length.argsort(kind="stable").argsort(kind="stable") / len(length)
        angle = torch.from_numpy(quantile * np.pi / 2)
        embedded.append(normalize(torch.stack([angle.cos(), angle.sin()], dim=1), dim=1).float())
    return Embeddings(*embedded)


def frames(features: FeatureSet) -> Embeddings:
    """Match clips by their number of frames, which the rounding of the features leaks."""
    visual, audio = (frame_counts(values) for values in (features.visual, features.audio))
    width = int(max(visual.max(), audio.max())) + 1
    return Embeddings(*(one_hot(torch.from_numpy(x), width).float() for x in (visual, audio)))


def frame_counts(values: np.ndarray, most: int = 400, slack: float = 0.02) -> np.ndarray:
    """Find the smallest number of frames that makes a clip's float32 feature a sum of integers."""
    low, high = FEATURE_RANGE  # what the least and the greatest of the 256 stored values stand for
    levels = (np.asarray(values[:, :INSPECTED], np.float64) - low) * 255 / (high - low)
    best, found = np.full(len(levels), np.inf), np.zeros(len(levels), np.int64)
    for count in range(1, most + 1):
        sums = levels * count
        distance = np.abs(sums - sums.round()).mean(axis=1)
        better = distance < best - slack  # multiples of the right number fit as well
        best[better], found[better] = distance[better], count
    return found


def labels(features: FeatureSet) -> Embeddings:
    """Embed both modalities of a clip as its true labels: how much of recall is the class alone."""
    used = np.unique(features.labels.indices)
    sets = normalize(torch.from_numpy(features.labels[:, used].toarray()), dim=1)
    return Embeddings(sets, sets)


def controls_frame(
    features: FeatureSet | None, embedded: Embeddings, galleries: Sequence[int], seed: int = 0
) -> pd.DataFrame:
    """Measure what the controls of some clips score, the mean of both directions.

    The pairs of ``embedded``, by any model, are shuffled. Without features there are no other
    controls than those of `CHANCE`. The largest of ``galleries`` that there are clips for is used,
    or else 16, or all. Columns control, gallery, k, recall (percent); chance is the first.

    InputError if a control that must score as chance does not: the ranking then leaks the match.
    """
    clips = len(embedded.visual)
    size = max((n for n in [16, *galleries] if n <= clips), default=clips)
    chance = (100 * np.array(KS) / size).clip(max=100)
    parts = [pd.DataFrame({"control": "chance", "k": KS, "recall": chance})]
    point = torch.ones(clips, 1)  # recall must be chance, or ties are counted as found
    controls = {CHANCE[0]: shuffled(embedded), CHANCE[1]: Embeddings(point, point)}
    if features is not None:
        controls |= {
            "feature lengths": norms(features),
            "numbers of frames": frames(features),
            "true labels": labels(features),
        }
    for name, control in controls.items():
        frame = recall_frame([control], [size], None, seed, resamples=0)
        found, queries = frame.groupby("k")["recall"].mean(), frame["queries"].iloc[0]
        allowed = 4 * (chance * (100 - chance) / queries) ** 0.5 + 0.01  # four standard errors
        if name in CHANCE and (abs(found - chance) > allowed).any():
            raise InputError(
                f"the control {name!r} scores {found.iloc[0]:.2f}% where chance is "
                f"{chance[0]:.2f}%: the ranking leaks, so no recall was written"
            )
        parts.append(found.reset_index().assign(control=name))
    return pd.concat(parts, ignore_index=True).assign(gallery=size)
