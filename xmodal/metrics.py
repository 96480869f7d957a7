"""Ranks, Recall@K, galleries and intervals (paper, section 4.1).

The match of query i is item i of the gallery: video → audio is ``ranks(visual, audio)``.
"""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Ranks(NamedTuple):
    """Where the true match of each query stands; int64, (queries,) each.

    ``better`` counts the items more similar than the match, ``tied`` those as similar, with itself.
    """

    better: Tensor
    tied: Tensor

    def average(self) -> Tensor:
        """Return the rank, 1 being best, averaged over all orders of the ties: float64."""
        return self.better + (self.tied + 1) / 2

    def hits(self, k: int) -> Tensor:
        """Return the chance that the match is among the first k, ties in random order: float64."""
        return ((k - self.better) / self.tied).clamp(0, 1)


TOLERANCE = 1e-6
"""Similarities closer than this are ties (our choice: float32 resolves no finer difference)."""


def compare(similarity: Tensor, own: Tensor) -> Ranks:
    """Compare the similarities of each query, a row, with ``own``, that of its match.

    The paper says nothing of ties. In the authors' code earlier items win, and a model that maps
    everything to one point looks perfect; averaged over the orders of ties it scores chance.
    """
    lead = similarity - own[:, None]
    return Ranks((lead > TOLERANCE).sum(dim=1), (lead.abs() <= TOLERANCE).sum(dim=1))


def ranks(query: Tensor, gallery: Tensor, chunk: int = 1024, cosine: bool = True) -> Ranks:
    """Rank the true match of each query: the first of `both_ranks`."""
    return both_ranks(query, gallery, chunk, cosine)[0]


@torch.no_grad()
def both_ranks(
    query: Tensor, gallery: Tensor, chunk: int = 1024, cosine: bool = True
) -> tuple[Ranks, Ranks]:
    """Rank the true match of each query by cosine similarity, and the query of each match.

    It takes little longer than the product of all queries and items, of which it is made.

    Parameters
    ----------
    query, gallery : Tensor, float32, (clips, embedding_dim)
        Finite, of one shape, and of length 1, or 0 where a ReLU silenced a clip; row i of both is
        one clip's.
    chunk : int
        Clips compared at a time: memory is chunk × chunk, or chunk × clips where the device is no
        CPU.
    cosine : bool
        Whether to insist on the length; if not, vectors of any length are ranked by their products.

    Returns
    -------
    Ranks, Ranks
        Of the queries, and of the gallery's items as queries: one product serves both.

    Raises
    ------
    ValueError
        If the vectors are not as described.
    """
    _require(query, gallery, cosine)
    if len(query) > chunk and query.device.type == "cpu" and query.dtype == torch.float32:
        return _counted(query, gallery, chunk)  # by compiled code, as there is much to count
    return _plain(query, gallery, chunk), _plain(gallery, query, chunk)


def _require(query: Tensor, gallery: Tensor, cosine: bool) -> None:
    """Refuse what cannot be ranked."""
    if query.shape != gallery.shape:
        shapes = f"query {tuple(query.shape)} and gallery {tuple(gallery.shape)}"
        raise ValueError(f"{shapes} differ in shape")
    if not len(query):
        raise ValueError("there is no clip to rank")
    for name, vectors in (("query", query), ("gallery", gallery)):
        length = vectors.norm(dim=1)
        if not length.isfinite().all():
            raise ValueError("embeddings hold a value that is not finite; was the training stable?")
        odd = (length > 1e-3) & ((length - 1).abs() > 1e-3)  # 0, or next to it: silenced
        if cosine and odd.any():
            row = int(odd.nonzero()[0, 0])
            raise ValueError(
                f"row {row} of {name} has length {length[row]:.4g}, not 1: normalise the rows, or "
                "rank by products as they are with cosine=False"
            )


def _plain(query: Tensor, gallery: Tensor, chunk: int) -> Ranks:
    """Return `ranks`, ``chunk`` queries at a time."""
    parts = []
    for start in range(0, len(query), chunk):
        similarity = query[start : start + chunk] @ gallery.T
        parts.append(compare(similarity, similarity.diagonal(start)))
    return _joined(parts)


def _counted(query: Tensor, gallery: Tensor, chunk: int) -> tuple[Ranks, Ranks]:
    """Return what `_plain` does both ways: a part of the product is counted while it is in cache.

    The diagonal is needed first, so it comes from small products of its own.
    """
    pairs = zip(query.split(64), gallery.split(64), strict=True)
    own = torch.cat([(q @ g.T).diagonal() for q, g in pairs])
    found = torch.zeros(4, len(query), dtype=torch.int32)
    count, tolerance = _compiled(), np.float32(TOLERANCE)
    spans = [slice(start, start + chunk) for start in range(0, len(query), chunk)]
    for rows, columns in product(spans, spans):
        similarity = query[rows] @ gallery[columns].T
        if rows == columns:
            similarity.diagonal().copy_(own[rows])
        counts = *found[:2, rows], *found[2:, columns]
        count(*(x.numpy() for x in (similarity, own[rows], own[columns], *counts)), tolerance)
    better, tied, *back = found.long()
    return Ranks(better, tied), Ranks(*back)


def _count(similarity, own, own_back, better, tied, better_back, tied_back, tolerance):  # type: ignore
    """Add what `compare` finds in a part of the similarities, by rows and back by columns."""
    for i in range(similarity.shape[0]):
        ahead = level = np.int32(0)  # the loop is as fast as its widest numbers
        for j in range(similarity.shape[1]):
            lead = similarity[i, j] - own[i]
            ahead += np.int32(lead > tolerance)
            level += np.int32(abs(lead) <= tolerance)
            lead = similarity[i, j] - own_back[j]
            better_back[j] += np.int32(lead > tolerance)
            tied_back[j] += np.int32(abs(lead) <= tolerance)
        better[i] += ahead
        tied[i] += level


@cache
def _compiled() -> Callable[..., None]:
    """Return `_count` compiled; the machine code is kept beside this file, or where numba can."""
    from numba import njit  # slow to import: only where there is much to count

    types = f"void(f4[:, ::1], {2 * 'f4[::1], '}{4 * 'i4[::1], '}f4)"
    try:
        return njit(types, cache=True)(_count)  # type: ignore[call-arg]
    except (RuntimeError, OSError):  # nowhere to keep it
        return njit(types)(_count)  # type: ignore[call-arg]


def galleries(clips: int, size: int, seed: int = 0) -> Tensor:
    """Draw disjoint galleries of ``size`` clips at random: rows, int64, (galleries, size).

    Clips beyond the last whole gallery are left out. ValueError if there is not one.
    """
    if not 1 <= size <= clips:
        raise ValueError(f"a gallery of {size} cannot be drawn from {clips} clips")
    order = torch.randperm(clips, generator=torch.Generator().manual_seed(seed))
    return order[: clips // size * size].reshape(-1, size)


def gallery_ranks(
    query: Tensor, gallery: Tensor, size: int, seed: int = 0, cosine: bool = True
) -> tuple[Ranks, Ranks]:
    """Return `both_ranks` within `galleries`, one after the other."""
    members = galleries(len(query), size, seed).to(query.device)
    _require(query, gallery, cosine)
    parts = [both_ranks(query[rows], gallery[rows], cosine=False) for rows in members]
    first, second = zip(*parts, strict=True)
    return _joined(first), _joined(second)


def _joined(parts: Sequence[Ranks]) -> Ranks:
    return Ranks(torch.cat([p.better for p in parts]), torch.cat([p.tied for p in parts]))


def bootstrap(
    values: Tensor, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return percentile bootstrap bounds of the mean over queries: float64, (measures,) each.

    ``values`` are float64, (queries, measures), such as the hits at each K; ``level`` of the means
    of queries drawn with replacement lie between the bounds.
    """
    generator, n = torch.Generator().manual_seed(seed), len(values)
    drawn = (torch.randint(n, (n,), generator=generator) for _ in range(resamples))
    means = torch.stack([values[rows].mean(dim=0) for rows in drawn])
    bounds = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=values.dtype)
    low, high = means.quantile(bounds, dim=0)
    return low, high


class Recall(NamedTuple):
    """Retrieval in one direction at one gallery size; recalls and bounds are fractions."""

    ks: tuple[int, ...]
    recall: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    median_rank: float
    mean_rank: float
    queries: int


def recall(*found: Ranks, ks: Sequence[int] = (1, 5, 10), resamples: int = 1000) -> Recall:
    """Summarise ranks as Recall@K with 95 % bootstrap intervals, and median and mean rank.

    Parameters
    ----------
    *found : Ranks
        Of one model, or of several seeds of it: each query's score is averaged over them first.
    ks : sequence of int
        Values of K.
    resamples : int
        Of the bootstrap over queries; with 0 the bounds are the recall itself.

    ValueError if there is no query.
    """
    if not found or not len(found[0].better):
        raise ValueError("there is no query to summarise: rank at least one clip")
    hits = torch.stack([torch.stack([r.hits(k) for k in ks], dim=1) for r in found]).mean(dim=0)
    low, high = bootstrap(hits, resamples) if resamples else (hits.mean(dim=0),) * 2
    average = torch.stack([r.average() for r in found])
    mean, lower, upper = (tuple(values.tolist()) for values in (hits.mean(dim=0), low, high))
    median_rank = average.quantile(0.5, dim=1).mean().item()
    return Recall(tuple(ks), mean, lower, upper, median_rank, average.mean().item(), len(hits))


def alignment(visual: Tensor, audio: Tensor) -> float:
    """Return the mean squared distance between the two embeddings of a clip (Wang & Isola, 2020).

    Unit vectors, float32, (clips, embedding_dim); 0 where they coincide, 2 where orthogonal.
    """
    return (visual - audio).square().sum(dim=1).mean().item()


def uniformity(embedding: Tensor, t: float = 2) -> float:
    """Return the log of the mean Gaussian potential over pairs of clips (Wang & Isola, 2020).

    Unit vectors, float32, (clips, embedding_dim); 0 if all are one point, the lower the more evenly
    they cover the sphere. No clip is paired with itself; of a single clip it is NaN.
    """
    n, total = len(embedding), torch.zeros((), dtype=torch.float64)
    for start in range(0, n, 1024):
        cosine = embedding[start : start + 1024] @ embedding.T
        cosine.diagonal(start).fill_(-torch.inf)
        total += (2 * t * (cosine - 1)).exp().sum(dtype=torch.float64)  # d² is 2 − 2 cos
    return (total / (n * (n - 1))).log().item()
