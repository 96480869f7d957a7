"""Relevance by label, and categories, by hand."""

import dataclasses

import numpy as np
import pytest
import torch
from by_hand import by_hand

from xmodal.evaluation.controls import labels
from xmodal.evaluation.recall import nearest
from xmodal.evaluation.relevance import by_category, chance_precision, errors, relevant
from xmodal.metrics import ranks
from xmodal.model import Embeddings

# Four clips. Query 0 finds item 1 first, then 0; query 1 finds 1, 0; query 2 finds 3, 2; query 3
# finds 1, 3. Similarities are those rows, as the gallery is the unit matrix.
SCORES = torch.tensor(
    [[0.6, 0.8, 0.0, 0.0], [0.6, 0.8, 0.0, 0.0], [0.0, 0.0, 0.6, 0.8], [0.0, 0.8, 0.0, 0.6]]
)
ITEMS = torch.eye(4)
CLIPS = by_hand([[0, 1], [1], [2], []])


def first(query: torch.Tensor, gallery: torch.Tensor, k: int) -> np.ndarray:
    return nearest(query, gallery, k)[1].numpy()


def test_relevance_by_hand():
    one = relevant(first(SCORES, ITEMS, 1), CLIPS)
    assert one.tolist() == [[True], [True], [False], [False]]  # 0 and 1 share label 1; 3 has none
    both = relevant(first(SCORES, ITEMS, 2), CLIPS)
    assert both.tolist() == [[True, True], [True, True], [False, True], [False, False]]
    assert chance_precision(CLIPS).tolist() == [0.5, 0.5, 0.25, 0]


def test_categories_by_hand():
    lines = by_category(SCORES, ITEMS, CLIPS, most=2, k=1).to_dict("records")
    assert lines == [
        {"label": "name 1", "clips": 2, "recall": 50.0, "relevant": 100.0},
        {"label": "name 0", "clips": 1, "recall": 0.0, "relevant": 100.0},
    ]


def test_errors_by_hand():
    """One way as above; the other way each item asks with its column of the scores."""
    both = errors({"ours": Embeddings(SCORES, ITEMS)}, CLIPS, 2)
    ours, chance = both.to_dict("records")
    assert ours["method"] == "ours" and chance["method"] == "chance"
    expected = {}
    for query, gallery in ((SCORES, ITEMS), (ITEMS, SCORES)):
        missed = (query @ gallery.T).topk(1).indices[:, 0] != torch.arange(4)
        shared = relevant(first(query, gallery, 1), CLIPS)[:, 0]
        for name, value in {
            "R@1": 100 * ranks(query, gallery)[0].hits(1).mean().item(),
            "misses with a shared label": 100 * shared[missed.numpy()].mean(),
            "precision@2 of labels": 100 * relevant(first(query, gallery, 2), CLIPS).mean(),
        }.items():
            expected[name] = expected.get(name, 0) + value / 2
    assert {name: ours[name] for name in expected} == pytest.approx(expected)
    assert chance["R@1"] == 25 and chance["R@2"] == 50
    assert chance["misses with a shared label"] == pytest.approx(100 * 1.25 / 4)


@pytest.mark.filterwarnings("error")
def test_fewer_clips_than_items_looked_at_and_no_misses():
    """All of the four items are the first ten; where nothing is missed, no share is known."""
    perfect = Embeddings(ITEMS, ITEMS)
    found = errors({"ours": perfect}, CLIPS).set_index("method")
    assert found["R@10"].tolist() == [100, 100]
    assert np.isnan(found.loc["ours", "misses with a shared label"])
    assert by_category(ITEMS, ITEMS, CLIPS)["recall"].tolist() == [100] * 3


def test_what_needs_no_labels_is_measured_without_any():
    clips = dataclasses.replace(CLIPS, labels=CLIPS.labels[:, :0], label_names=[])
    assert by_category(SCORES, ITEMS, clips).empty
    wrong = errors({"ours": Embeddings(SCORES, ITEMS)}, clips)
    assert (wrong["misses with a shared label"] == 0).all()
    assert (labels(clips).visual == labels(clips).visual[0]).all()  # none tells two clips apart
