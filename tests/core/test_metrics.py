"""Ranks and recalls against brute force, a library, and chance; alignment and uniformity."""

import math

import numpy as np
import pytest
import torch
from by_hand import unit
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize
from torchmetrics.functional.retrieval import retrieval_recall

from xmodal.metrics import Ranks, alignment, bootstrap, gallery_ranks, ranks, recall, uniformity


def brute_force(query: np.ndarray, gallery: np.ndarray) -> list[tuple[int, int]]:
    """Count pair by pair, in float64."""
    counts = []
    for i, q in enumerate(query.astype(np.float64)):
        match = float(q @ gallery[i])
        lead = [float(q @ g) - match for g in gallery.astype(np.float64)]
        counts.append((sum(x > 1e-6 for x in lead), sum(abs(x) <= 1e-6 for x in lead)))
    return counts


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 99), st.booleans())
def test_ranks_equal_brute_force_at_any_chunk(n, chunk, seed, with_ties):
    query, gallery = unit(n, seed=seed), unit(n, seed=seed + 1)
    if with_ties:
        gallery[n // 2 :] = gallery[0]
    found, back = (list(zip(*map(Tensor.tolist, way))) for way in ranks(query, gallery, chunk))
    assert found == brute_force(query.numpy(), gallery.numpy())
    assert back == brute_force(gallery.numpy(), query.numpy())


@pytest.mark.parametrize("rank", [ranks, lambda q, g: gallery_ranks(q, g, 3)])
def test_vectors_that_are_not_of_length_one_are_refused(rank):
    query = unit(3)
    rank(query * 1.0005, query)  # bfloat16 is no nearer
    for pair in ((2 * query, query), (query, query * torch.tensor([[1.0], [0.99], [1.0]]))):
        with pytest.raises(ValueError, match="cosine=False"):
            rank(*pair)


def test_vectors_of_any_length_are_ranked_by_products_if_asked():
    """Products 2 · 0.6, 0 and 0.8 · 3: the longest item comes first."""
    query = torch.tensor([[0.6, 0.8], [0.0, 1.0], [1.0, 0.0]])
    gallery = torch.tensor([[2.0, 0.0], [0.5, 0.0], [0.0, 3.0]])
    assert ranks(query, gallery, cosine=False)[0].average().tolist() == [2, 2.5, 3]


def test_hand_made_ranks():
    query = torch.eye(3)
    gallery = torch.tensor([[0.6, 0.8, 0.0], [0.0, 1.0, 0.0], [0.8, 0.6, 0.0]])
    # query 0 sees 0.6 0.0 0.8: one better. query 1 sees 0.8 1 0.6: first. query 2: all tied at 0
    found, back = ranks(query, gallery)
    assert found.average().tolist() == [2, 1, 2]
    assert found.hits(1).tolist() == pytest.approx([0, 1, 1 / 3])
    assert found.hits(2).tolist() == pytest.approx([1, 1, 2 / 3])
    # item 0 sees 0.6 0.8 0: one better. item 1 sees 0 1 0: first. item 2 sees 0.8 0.6 0: last
    assert back.average().tolist() == [2, 1, 3]


@pytest.mark.parametrize("k", [1, 5, 10])
def test_recall_equals_the_libraries(k):
    query, gallery = unit(60), normalize(unit(60) + 1.5 * unit(60, seed=1), dim=1)
    similarity = query @ gallery.T
    library = torch.stack(
        [retrieval_recall(row, torch.arange(60) == i, top_k=k) for i, row in enumerate(similarity)]
    )
    assert 0.05 < library.mean() < 0.95
    found = recall(ranks(query, gallery)[0], ks=(k,), resamples=0)
    assert found.recall[0] == pytest.approx(library.mean().item())


@pytest.mark.parametrize("n", [1, 7, 256, 1023])
def test_a_constant_model_scores_chance(n):
    same = unit(1, dim=250).expand(n, -1)
    found, _ = ranks(same, same, chunk=100)
    assert found.average().tolist() == [(n + 1) / 2] * n
    for k in (1, 5, 10):
        assert found.hits(k).mean().item() == pytest.approx(min(1, k / n))


def test_galleries_are_disjoint_whole_and_of_their_size():
    """Clips are told apart by a basis: only members of the same gallery can be tied at zero."""
    found, _ = gallery_ranks(torch.zeros(25, 3), torch.zeros(25, 3), size=10)
    assert found.tied.tolist() == [10] * 20  # two whole galleries; five clips left out
    query, gallery = unit(24, dim=4), unit(24, 1, dim=4)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(3))
    found, back = gallery_ranks(query, gallery, 8, seed=3)
    by_hand = [ranks(query[rows], gallery[rows]) for rows in order.split(8)]
    for way, parts in zip((found, back), zip(*by_hand)):
        assert way.better.equal(torch.cat([part.better for part in parts]))


def test_median_and_mean_rank_by_hand():
    found = recall(Ranks(torch.tensor([0, 1, 2, 9]), torch.tensor([1, 2, 1, 1])), resamples=0)
    # ranks 1, 2.5, 3, 10
    assert found.median_rank == pytest.approx(2.75)
    assert found.mean_rank == pytest.approx(16.5 / 4)
    # the second query is first in half of the orders of its tie: hits are 1, 0, 0, 0 at K = 1
    assert found.recall == pytest.approx((0.25, 0.75, 1.0))


def test_seeds_are_averaged_query_by_query():
    """A query that one seed finds and the other misses counts half."""
    first, second = (Ranks(torch.tensor(b), torch.ones(2)) for b in ([0, 4], [2, 4]))
    found = recall(first, second, ks=(1, 3, 5), resamples=0)
    assert found.recall == pytest.approx((0.25, 0.5, 1.0))
    assert found.mean_rank == pytest.approx((1 + 5 + 3 + 5) / 4)
    assert found.median_rank == pytest.approx((3 + 4) / 2)


def test_bootstrap_bounds_agree_with_the_normal_approximation():
    hits = (torch.arange(4000) % 5 == 0).double()[:, None]  # 20 % of 4,000
    low, high = bootstrap(hits, resamples=2000)
    error = 1.96 * (0.16 / 4000) ** 0.5
    assert low.item() == pytest.approx(0.2 - error, abs=0.1 * error)
    assert high.item() == pytest.approx(0.2 + error, abs=0.1 * error)
    assert bootstrap(hits, resamples=50)[0].equal(bootstrap(hits, resamples=50)[0])


def test_alignment_by_hand():
    """Squared distances: of one point 0, of orthogonal vectors 2, of opposite ones 4."""
    visual = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    audio = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert alignment(visual, audio) == pytest.approx((0 + 2 + 4) / 3)
    assert alignment(visual, visual) == 0


def test_uniformity_by_hand():
    """Two clips are one pair: the log of its potential is -t d²."""
    assert uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8)
    assert uniformity(torch.eye(2), t=3) == pytest.approx(-6)
    square = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    # of six pairs, four are orthogonal and two are opposite
    expected = math.log((4 * math.exp(-4) + 2 * math.exp(-8)) / 6)
    assert uniformity(square) == pytest.approx(expected)
