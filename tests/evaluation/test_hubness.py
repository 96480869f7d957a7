"""Hubs and their correction, by hand."""

import math

import numpy as np
import pytest
import torch
from by_hand import by_hand, unit
from torch.nn.functional import normalize

from xmodal.data.features import FeatureSet
from xmodal.evaluation import hubness
from xmodal.evaluation.hubness import (
    SHARPNESS,
    WEIGHT,
    Correction,
    attraction,
    choose_correction,
    corrected,
    occurrence,
)
from xmodal.evaluation.recall import nearest
from xmodal.metrics import ranks
from xmodal.model import Embeddings


def test_occurrences_by_hand():
    assert occurrence(np.arange(4)[:, None], 4) == (0, 0)  # evenly retrieved: no hubs
    found, never = occurrence(np.array([[1], [1], [3], [1]]), 4)
    assert never == 0.5
    deviations = np.array([-1, 2, -1, 0])  # of 0, 3, 0 and 1 from their mean
    skewness = (deviations**3).mean() / (deviations**2).mean() ** 1.5
    assert found == pytest.approx(skewness)


def test_attraction_by_hand():
    """Cosines with the two queries of the bank: 1 and 0 for the first item, 0.6 and 0.8."""
    items = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    clips, bank = Embeddings(items, items.flip(0)), Embeddings(torch.eye(2), torch.eye(2))
    visual, audio = attraction(clips, bank, 2.0)
    expected = [
        math.log((math.exp(2 * a) + math.exp(2 * b)) / 2) / 2 for a, b in ((1, 0), (0.6, 0.8))
    ]
    torch.testing.assert_close(visual, torch.tensor(expected)[:, None])
    torch.testing.assert_close(audio, visual.flip(0))


def test_products_are_cosines_less_both_attractions():
    clips, bank = Embeddings(unit(30, 0), unit(30, 1)), Embeddings(unit(50, 2), unit(50, 3))
    pulled = attraction(clips, bank, 10)
    found = corrected(clips, pulled, 0.5)
    expected = clips.visual @ clips.audio.T - 0.5 * pulled[0] - 0.5 * pulled[1].T
    torch.testing.assert_close(found.visual @ found.audio.T, expected)
    plain = corrected(clips, pulled, 0)
    assert ranks(*plain[:2], cosine=False)[0].better.equal(ranks(*clips[:2])[0].better)


def test_hubs_lose_their_lead():
    """All vectors share a direction; the nearer an item lies to it, the more it is found."""
    shared = 2 * torch.eye(8)[0]
    videos = unit(400, 0) + shared
    visual, audio = normalize(videos, dim=1), normalize(videos + 0.3 * unit(400, 1), dim=1)
    clips, bank = (Embeddings(visual[part], audio[part]) for part in (slice(200), slice(200, 400)))
    found = corrected(clips, attraction(clips, bank, 28), 1.0)
    before, after = (
        occurrence(nearest(x.visual, x.audio, 10)[1].numpy(), 200)[0] for x in (clips, found)
    )
    assert after < before


def test_the_best_on_validation_is_chosen(monkeypatch: pytest.MonkeyPatch):
    clips, bank = Embeddings(unit(20, 0), unit(20, 1)), Embeddings(unit(20, 2), unit(20, 3))
    features, wanted = by_hand([[]] * 20), Correction(SHARPNESS[1], WEIGHT[3])
    goal = corrected(clips, attraction(clips, bank, wanted.sharpness), wanted.weight).audio

    def score(found: Embeddings, validation: FeatureSet, cosine: bool) -> float:
        assert validation is features and not cosine
        return -(found.audio - goal).abs().sum().item()

    monkeypatch.setattr(hubness, "mean_recall", score)
    assert choose_correction(clips, bank, features) == wanted
