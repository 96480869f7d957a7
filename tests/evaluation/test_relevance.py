"""Relevance by label, categories and hubs, by hand."""

import numpy as np
import pytest
import torch
from by_hand import by_hand

from xmodal.evaluation.relevance import by_category, chance_precision, hubs, relevance, summary
from xmodal.metrics import ranks
from xmodal.model import Embeddings

# Four clips. Query 0 finds item 1 first, then 0; query 1 finds 1, 0; query 2 finds 3, 2; query 3
# finds 1, 3. Similarities are those rows, as the gallery is the unit matrix.
SCORES = torch.tensor(
    [[0.6, 0.8, 0.0, 0.0], [0.6, 0.8, 0.0, 0.0], [0.0, 0.0, 0.6, 0.8], [0.0, 0.8, 0.0, 0.6]]
)
ITEMS = torch.eye(4)
CLIPS = by_hand([[0, 1], [1], [2], []])


def test_relevance_by_hand():
    first = relevance(SCORES, ITEMS, CLIPS, 1)
    assert first.found.tolist() == [1, 1, 0, 0]  # 0 and 1 share label 1; 3 has no label
    both = relevance(SCORES, ITEMS, CLIPS, 2)
    assert both.found.tolist() == [1, 1, 1, 0]
    assert both.precision.tolist() == [1, 1, 0.5, 0]
    assert chance_precision(CLIPS).tolist() == [0.5, 0.5, 0.25, 0]


def test_the_precision_of_chance_is_the_expected_one():
    rng = np.random.default_rng(0)
    labels = [sorted(rng.choice(10, rng.integers(0, 4), replace=False)) for _ in range(300)]
    vectors = torch.nn.functional.normalize(torch.randn(2, 300, 16), dim=2)
    clips = by_hand(labels)
    precision = relevance(*vectors, clips, 10).precision
    assert precision.mean() == pytest.approx(chance_precision(clips).mean(), abs=0.02)


def test_categories_by_hand():
    told = by_category(SCORES, ITEMS, CLIPS, most=2, k=1).to_dict("records")
    assert told == [
        {"label": "name 1", "clips": 2, "recall": 50.0, "relevant": 100.0},
        {"label": "name 0", "clips": 1, "recall": 0.0, "relevant": 100.0},
    ]


def test_hubs_by_hand():
    found = hubs(SCORES, ITEMS, 1)
    assert found.counts.tolist() == [0, 3, 0, 1]
    assert found.never == 0.5
    deviations = np.array([-1, 2, -1, 0])
    skewness = (deviations**3).mean() / (deviations**2).mean() ** 1.5
    assert found.skewness == pytest.approx(skewness)


def test_evenly_retrieved_items_have_no_hubs():
    found = hubs(ITEMS, ITEMS, 1)
    assert found.counts.tolist() == [1, 1, 1, 1]
    assert (found.skewness, found.never) == (0, 0)


def test_summary_by_hand():
    """One way as above; the other way each item asks with its column of the scores."""
    both = summary({"ours": Embeddings(SCORES, ITEMS)}, CLIPS, 2)
    ours, chance = both.to_dict("records")
    assert ours["method"] == "ours" and chance["method"] == "chance"
    expected = {}
    for query, gallery in ((SCORES, ITEMS), (ITEMS, SCORES)):
        missed = (query @ gallery.T).topk(1).indices[:, 0] != torch.arange(4)
        shared = relevance(query, gallery, CLIPS, 1).found
        for name, value in {
            "R@1": 100 * ranks(query, gallery).hits(1).mean().item(),
            "misses with a shared label": 100 * shared[missed.numpy()].mean(),
            "precision@2 of labels": 100 * relevance(query, gallery, CLIPS, 2).precision.mean(),
        }.items():
            expected[name] = expected.get(name, 0) + value / 2
    assert {name: ours[name] for name in expected} == pytest.approx(expected)
    assert chance["R@1"] == 25 and chance["R@2"] == 50
    assert chance["misses with a shared label"] == pytest.approx(100 * 1.25 / 4)
