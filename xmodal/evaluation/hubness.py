"""Hubs, corrected: an item that is near to every query is a match of none (beyond the paper)."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from xmodal.model import Embeddings

SHARPNESS = (7.0, 14.0, 28.0)
WEIGHT = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)


class Correction(NamedTuple):
    """What was chosen, see `attraction` and `corrected`; a weight of 0 leaves all as it is."""

    sharpness: float
    weight: float


def attraction(embedded: Embeddings, bank: Embeddings, sharpness: float) -> list[Tensor]:
    """Say how near each clip's video, and its audio, is to queries in general.

    It is log(mean(exp(sharpness · cosine))) / sharpness over a bank of queries that are not those
    asked: the mean for small sharpness, the nearest one's for large.

    Parameters
    ----------
    embedded : Embeddings
        Clips to retrieve from, unit vectors.
    bank : Embeddings
        Of training clips, by the same model.
    sharpness : float
        Inverse of a temperature.

    Returns
    -------
    visual, audio : Tensor, float32, (clips, 1)
        As a cosine.
    """
    return [
        torch.cat(
            [
                torch.logsumexp(sharpness * piece @ queries.T, dim=1, keepdim=True)
                for piece in items.split(2048)
            ]
        ).sub(math.log(len(queries)))
        / sharpness
        for items, queries in ((embedded.visual, bank.audio), (embedded.audio, bank.visual))
    ]


def corrected(embedded: Embeddings, attractions: Sequence[Tensor], weight: float) -> Embeddings:
    """Take from each similarity the attraction of the item, so that hubs lose their lead.

    The inverted softmax (Smith et al., 2017) with a bank of training queries, as in querybank
    normalisation (Bogolin et al., 2022): neither the other queries asked nor the other items of the
    gallery are looked at, so each query is answered alone.

    Parameters
    ----------
    embedded : Embeddings
        Clips to retrieve from.
    attractions : sequence of Tensor
        Theirs, see `attraction`.
    weight : float
        How much of it is taken.

    Returns
    -------
    Embeddings
        With two more coordinates, no unit vectors: their dot product is the cosine less the
        attractions of both sides. The query's own is the same for all items and changes no rank.
    """
    visual, audio = (weight * values for values in attractions)
    one = torch.ones_like(visual)
    return Embeddings(
        torch.cat([embedded.visual, -visual, one], dim=1),
        torch.cat([embedded.audio, one, -audio], dim=1),
    )


def choose(
    validation: Embeddings, bank: Embeddings, score: Callable[[Embeddings], float]
) -> Correction:
    """Return the correction with the best score on validation clips, of a small grid.

    Parameters
    ----------
    validation, bank : Embeddings
        As for `attraction`.
    score : callable
        Such as recall of corrected embeddings; more is better.
    """
    scores = {}
    for sharpness in SHARPNESS:
        attractions = attraction(validation, bank, sharpness)
        for weight in WEIGHT:
            found = corrected(validation, attractions, weight)
            scores[Correction(sharpness, weight)] = score(found)
    return max(scores, key=scores.__getitem__)
