"""Metrics, objectives, CCA and hubs on what is barely data: few rows, equal rows, ties."""

import math

import numpy as np
import pytest
import torch
from by_hand import by_hand, labels_of
from hypothesis import given
from hypothesis import strategies as st

from xmodal.config import InputError, LossConfig, ModelConfig
from xmodal.data.statistics import moments
from xmodal.evaluation.cca import canonical_correlations, embed_cca, fit_cca
from xmodal.evaluation.hubness import attraction, corrected, occurrence
from xmodal.evaluation.recall import mean_recall, nearest, rank_frame
from xmodal.loss import objective
from xmodal.metrics import galleries, ranks
from xmodal.model import Embeddings, JointEmbedding
from xmodal.negatives import draw_pairs

# Few directions of few dimensions: equal rows, opposite rows, rows of zeros and ties are frequent.
DIRECTIONS = torch.tensor([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0.6, 0.8, 0], [0, 0, 0]])
rows = st.lists(st.integers(0, 4), min_size=1, max_size=9)


def test_what_cannot_be_ranked_is_refused():
    one, nan = torch.eye(3), torch.eye(3).index_fill(0, torch.tensor([1]), torch.nan)
    for query, gallery in ((one, nan), (nan, one), (one, nan.log())):
        with pytest.raises(InputError, match="finite"):
            nearest(query, gallery, 1)
        with pytest.raises(InputError, match="finite"):
            ranks(query, gallery)
    for clips, size in ((0, 1), (3, 0), (3, 4)):
        with pytest.raises(ValueError, match=f"gallery of {size}"):
            galleries(clips, size)
    with pytest.raises(ValueError, match="ranked"):
        ranks(one[:0], one[:0])
    for sizes, keep in (([1, 9], np.zeros(3, bool)), ([0, 9], None)):
        with pytest.raises(InputError, match="gallery"):
            rank_frame([Embeddings(one, one)], sizes, keep)
    with pytest.raises(InputError, match="silent"):
        mean_recall(Embeddings(one, one), by_hand([[0]] * 3))


def test_no_clips_are_no_embeddings():
    model = JointEmbedding(visual_dim=5, audio_dim=4, classes=3)
    embedded = model.embed(np.zeros((0, 5), np.float32), np.zeros((0, 4), np.float16))
    assert [x.shape for x in embedded[:2]] == [(0, 250)] * 2


# --- objectives ----------------------------------------------------------------------------------

labelled = st.lists(st.lists(st.integers(0, 2), max_size=2, unique=True), min_size=1, max_size=6)


@given(
    labelled,
    st.sampled_from(["paper", "infonce", "sigmoid", "triplet"]),
    st.sampled_from([{}, {"sqrt_cross_entropy": True}, {"mean_over_classes": True}]),
    st.sampled_from([0.0, 1.0, 1e15]),
)
def test_losses_and_gradients_are_finite(carried, name, change, size):
    """Of one clip, equal clips, clips of zeros, clips without labels, of the largest features."""
    torch.manual_seed(0)
    config = LossConfig(objective=name, **change)
    temperature = 0.07 if name in ("infonce", "sigmoid") else None
    layers = ModelConfig(visual_hidden=(8, 8), audio_hidden=(8,), embedding_dim=4)
    model = JointEmbedding(layers, 3, 2, classes=3, temperature=temperature)
    labels, n = labels_of(*carried), len(carried)
    pairs = draw_pairs(labels, 0.6, torch.Generator().manual_seed(0))
    embedded = model(torch.full((n, 3), size), torch.full((n, 2), size), classify=True)
    weights, learned = model.parameters(), model.scale_and_bias
    losses = objective(embedded, pairs, (labels, labels), weights, 0.1, config, learned)
    losses.total.backward()
    assert losses.total.isfinite()
    for weight in model.parameters():
        assert weight.grad is None or weight.grad.isfinite().all()


# --- CCA and hubs --------------------------------------------------------------------------------

numbers = st.sampled_from([0.0, 1.0, -2.0, 0.5])


@given(st.lists(st.lists(numbers, min_size=5, max_size=5), min_size=1, max_size=8), st.booleans())
def test_cca_of_few_and_equal_clips(values, constant):
    """Finite and no larger than 1, where features are constant, equal or fewer than dimensions."""
    both = np.array(values, np.float32)
    if constant:
        both[:, 3:] = 0.3
    clips = by_hand([[0]] * len(both), both[:, :3], both[:, 3:])
    measured = moments(clips)
    fitted = fit_cca(measured, ridge=0.01)
    assert (np.abs(fitted.correlation) <= 1 + 1e-4).all()
    if constant:
        assert fitted.correlation == pytest.approx(0, abs=1e-6)
    found = canonical_correlations(measured, clips)
    assert np.isfinite(found).all() and (np.abs(found) <= 1 + 1e-6).all()
    embedded = embed_cca(fitted, clips, 1.0)
    assert embedded.visual.isfinite().all() and embedded.audio.isfinite().all()


@given(rows, rows, st.sampled_from([7.0, 28.0]))
def test_hubs_of_few_and_equal_clips(chosen, asked, sharpness):
    clips = Embeddings(DIRECTIONS[chosen], DIRECTIONS[chosen])
    bank = Embeddings(DIRECTIONS[asked], DIRECTIONS[asked])
    pulled = attraction(clips, bank, sharpness)
    for values in pulled:  # a mean of cosines, of whatever kind, is a cosine
        assert (values.abs() <= 1 + 1e-5).all()
    products = corrected(clips, pulled, 0.5)
    assert (products.visual @ products.audio.T).isfinite().all()
    skewness, never = occurrence(nearest(clips.visual, clips.audio, 1)[1].numpy(), len(chosen))
    assert 0 <= never < 1 and math.isfinite(skewness)
