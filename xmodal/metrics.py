"""Ranks and Recall@K (section 4.1), their intervals, and two measures of the joint space."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from xmodal.config import InputError
from xmodal.kernels import count_ranks

TOLERANCE = 1e-6  # similarities closer than this are ties: float32 resolves no finer difference


class Ranks(NamedTuple):
    """How many items are more similar than a query's true match, and as similar: int64 each."""

    better: Tensor
    tied: Tensor  # with the match itself

    def average(self) -> Tensor:
        """Return the rank, 1 being best, averaged over all orders of the ties: float64."""
        return self.better + (self.tied + 1) / 2

    def hits(self, k: int) -> Tensor:
        """Return the chance that the match is among the first k, ties in random order: float64."""
        return ((k - self.better) / self.tied).clamp(0, 1)


def compare(similarity: Tensor, own: Tensor) -> Ranks:
    """Compare the similarities of each query, a row, with ``own``, that of its match.

    The paper says nothing of ties. In the authors' code earlier items win, and a model that maps
    everything to one point looks perfect; averaged over the orders of ties it scores chance.
    """
    lead = similarity - own[:, None]
    return Ranks((lead > TOLERANCE).sum(dim=1), (lead.abs() <= TOLERANCE).sum(dim=1))


@torch.no_grad()
def ranks(
    query: Tensor, gallery: Tensor, chunk: int = 1024, cosine: bool = True
) -> tuple[Ranks, Ranks]:
    """Rank the true match of each query by cosine similarity, and the query of each match.

    Parameters
    ----------
    query, gallery : Tensor, float32, (clips, embedding_dim)
        Row i of both belongs to clip i; finite, and of length 1, or 0 where a ReLU silenced it.
    chunk : int
        Clips compared at a time: memory is chunk × chunk.
    cosine : bool
        Whether to insist on that length (ValueError), or to rank rows by their products.
    """
    _require(query, gallery, cosine)
    if len(query) > chunk:
        counts = count_ranks(query, gallery, chunk, TOLERANCE)
        return Ranks(*counts[:2]), Ranks(*counts[2:])
    there, back = query @ gallery.T, gallery @ query.T
    return compare(there, there.diagonal()), compare(back, back.diagonal())


def _require(query: Tensor, gallery: Tensor, cosine: bool) -> None:
    if query.shape != gallery.shape or not len(query):
        raise ValueError(f"shapes {tuple(query.shape)} and {tuple(gallery.shape)} cannot be ranked")
    length = torch.cat([query.norm(dim=1), gallery.norm(dim=1)])
    if not length.isfinite().all():
        raise InputError("embeddings hold a value that is not finite: was the training stable?")
    if cosine and ((length > 1e-3) & ((length - 1).abs() > 1e-3)).any():  # 0: silenced
        raise ValueError("rows are not of length 1: normalise them, or rank with cosine=False")


def galleries(clips: int, size: int, seed: int = 0) -> Tensor:
    """Draw disjoint galleries at random: rows, int64, (galleries, size); the rest is left out."""
    if not 1 <= size <= clips:
        raise ValueError(f"a gallery of {size} cannot be drawn from {clips} clips")
    order = torch.randperm(clips, generator=torch.Generator().manual_seed(seed))
    return order[: clips // size * size].reshape(-1, size)


def gallery_ranks(
    query: Tensor, gallery: Tensor, size: int, seed: int = 0, cosine: bool = True
) -> tuple[Ranks, Ranks]:
    """Return `ranks` within each of the `galleries`, one gallery after the other."""
    members = galleries(len(query), size, seed).to(query.device)
    parts = (ranks(query[rows], gallery[rows], cosine=cosine) for rows in members)
    there, back = (Ranks(*map(torch.cat, zip(*way))) for way in zip(*parts))  # noqa: B905
    return there, back


def bootstrap(
    values: Tensor, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return percentile bootstrap bounds of the means of float64 values, (queries, measures)."""
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
    """Summarise ranks as Recall@K (section 4.1) with 95% intervals, and median and mean rank.

    Several seeds of a model are averaged query by query. ``resamples`` 0: bounds are the recall.
    """
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
    they cover the sphere; NaN of a single clip, for none is paired with itself.
    """
    n, total = len(embedding), torch.zeros((), dtype=torch.float64)
    for start in range(0, n, 1024):
        cosine = embedding[start : start + 1024] @ embedding.T
        cosine.diagonal(start).fill_(-torch.inf)
        total += (2 * t * (cosine - 1)).exp().sum(dtype=torch.float64)  # d² is 2 − 2 cos
    return (total / (n * (n - 1))).log().item()
