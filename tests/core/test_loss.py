"""The objectives, recomputed by hand."""

import math

import pytest
import torch
from by_hand import labels_of
from hypothesis import given, settings
from hypothesis import strategies as st

from xmodal.config import VARIANTS, InputError, LossConfig, ModelConfig
from xmodal.contrastive import contrastive_loss, info_nce, sigmoid_loss, triplet_loss
from xmodal.loss import Losses, cosine_loss, cross_entropy, objective
from xmodal.model import Embeddings, JointEmbedding
from xmodal.negatives import Pairs, draw_pairs


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_model(temperature: float | None = None, **choices) -> JointEmbedding:
    torch.manual_seed(0)
    config = ModelConfig(visual_hidden=(8,), audio_hidden=(5,), embedding_dim=3, **choices)
    return JointEmbedding(config, 6, 4, classes=7, temperature=temperature)


def losses(model, visual, audio, pairs, labels, config, class_weight=0.0) -> Losses:
    """Run the model and the objective as a training step does."""
    embedded = model(visual, audio, classify=class_weight > 0)
    weights = model.parameters()
    return objective(embedded, pairs, labels, weights, class_weight, config, model.scale_and_bias)


def own_pairs(clips: int) -> Pairs:
    return Pairs(torch.arange(clips), torch.zeros(clips, dtype=torch.bool))


@pytest.mark.parametrize("divisor", [1, 0.8])
def test_cosine_loss_by_hand(divisor: float):
    cosine = torch.tensor([0.9, -0.5, 0.7, 0.1])
    negative = torch.tensor([False, False, True, True])
    # positive: 1 - 0.9, 1 + 0.5; negative: 0.7 - 0.2, and 0 within the margin
    expected = (0.1 + 1.5 + 0.5 / divisor + 0.0) / 4
    assert cosine_loss(cosine, negative, 0.2, divisor).item() == pytest.approx(expected, rel=1e-6)


def test_the_margin_stops_the_gradient_of_distant_negatives_only():
    cosine = torch.tensor([0.19, 0.21, 0.9], requires_grad=True)
    cosine_loss(cosine, torch.tensor([True, True, False]), 0.2).backward()
    assert cosine.grad.tolist() == pytest.approx([0, 1 / 3, -1 / 3])


def test_cross_entropy_by_hand():
    logits = torch.tensor([[0.0, 2.0, -1.0], [1.0, 0.0, 0.0]])
    first = -math.log(0.5) - math.log(1 / (1 + math.exp(-2))) - math.log(1 - 1 / (1 + math.e))
    second = 0  # of a clip without labels, nothing is known
    found = cross_entropy(logits, labels_of([0, 1], []))
    assert found.tolist() == pytest.approx([first, second], rel=1e-6)


def test_cross_entropy_may_be_a_mean_over_classes():
    logits, labels = torch.randn(4, 5, generator=seeded()), labels_of([0, 1], [], [4], [2])
    summed = cross_entropy(logits, labels)
    torch.testing.assert_close(cross_entropy(logits, labels, mean_over_classes=True), summed / 5)


LOGITS = torch.tensor([[2.0, 0.0, 1.0], [0.5, 0.5, -1.0]])
MATCH = torch.tensor([0, 2])


def test_info_nce_by_hand():
    first = -math.log(math.exp(2) / (math.exp(2) + 1 + math.e))
    second = -math.log(math.exp(-1) / (2 * math.exp(0.5) + math.exp(-1)))
    assert info_nce(LOGITS, MATCH).item() == pytest.approx((first + second) / 2, rel=1e-6)


def test_sigmoid_loss_by_hand():
    def nll(x: float) -> float:
        return -math.log(1 / (1 + math.exp(-x)))

    first = nll(2) + nll(0) + nll(-1)  # the match, and two that are none: the sign is turned
    second = nll(-0.5) + nll(-0.5) + nll(-1)
    assert sigmoid_loss(LOGITS, MATCH).item() == pytest.approx((first + second) / 2, rel=1e-6)


def test_triplet_loss_by_hand():
    cosine = torch.tensor([[0.9, 0.1, 0.8], [0.5, 0.3, 0.2], [0.0, 0.9, 0.1]])
    match = torch.tensor([0, 2, 1])
    # hardest others: 0.8, 0.5 and 0.1; the third is further away than the margin
    expected = ((0.2 + 0.8 - 0.9) + (0.2 + 0.5 - 0.2) + 0) / 3
    assert triplet_loss(cosine, match, 0.2).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("term", ["infonce", "sigmoid", "triplet"])
def test_contrastive_objectives_average_both_directions(term):
    model = small_model(temperature=0.5)
    with torch.no_grad():
        model.bias.fill_(-1.0)
    visual, audio = torch.randn(5, 6, generator=seeded(2)), torch.randn(5, 4, generator=seeded(3))
    labels = (labels_of([0], [1], [2], [3], [4]),) * 2
    config = LossConfig(objective=term, weight_l2=0)
    found = losses(model, visual, audio, own_pairs(5), labels, config)
    embedded = model(visual, audio)
    cosine, match = embedded.visual @ embedded.audio.T, torch.arange(5)
    one_way = {
        "infonce": lambda c: info_nce(2 * c, match),
        "sigmoid": lambda c: sigmoid_loss(2 * c - 1, match),
        "triplet": lambda c: triplet_loss(c, match),
    }[term]
    expected = (one_way(cosine) + one_way(cosine.T)) / 2
    torch.testing.assert_close(found.total, expected)
    assert found.classification == 0


@pytest.mark.parametrize("term", ["infonce", "sigmoid"])
def test_an_objective_without_the_temperature_that_it_needs_is_refused(term):
    embedded = small_model()(torch.randn(3, 6), torch.randn(3, 4))
    with pytest.raises(InputError, match=term):
        contrastive_loss(embedded, LossConfig(objective=term), small_model().scale_and_bias)
    contrastive_loss(embedded, LossConfig(objective="triplet"))


@pytest.mark.parametrize("class_weight", [0.0, 0.5])
@pytest.mark.parametrize("variant", ["text", "authors"])
def test_objective_by_hand(variant, class_weight):
    """Every term written out with plain Python numbers, pair by pair.

    In the authors' code a pair is scaled as it is compared, so row i is given the audio of pair i.
    """
    authors = variant == "authors"
    switches = VARIANTS[variant]
    given = {k: switches[k] for k in ("relu_embedding", "joint_normalise") if k in switches}
    model = small_model(**given)
    torch.nn.init.constant_(model.visual[0].bias, 0.1)  # which L2 leaves alone
    visual, audio = torch.randn(5, 6, generator=seeded(2)), torch.randn(5, 4, generator=seeded(3))
    clips = [[0], [1, 2], [0, 3], [4], [5, 6]]
    labels = labels_of(*clips)
    pairs = draw_pairs(labels, 0.6, seeded(4))
    assert 0 < pairs.negative.sum() < 5
    given = {k: switches[k] for k in ("scale_negatives", "sqrt_cross_entropy") if k in switches}
    config = LossConfig(weight_l2=0.01, **given)
    if authors:
        swapped = labels_of(*(clips[j] for j in pairs.audio))
        moved = Pairs(torch.arange(5), pairs.negative)
        batch = visual, audio[pairs.audio], moved, (labels, swapped)
    else:
        batch = visual, audio, pairs, (labels, labels)
    found = losses(model, *batch, config, class_weight)

    def entropy(logits, present):
        p = [1 / (1 + math.exp(-x)) for x in logits[0].tolist()]
        return -sum(math.log(q if c in present else 1 - q) for c, q in enumerate(p))

    similarity, entropies = [], 0.0
    for i, j in enumerate(pairs.audio.tolist()):
        one = model(visual[[i]], audio[[j]], classify=True)
        cosine = sum(a * b for a, b in zip(one.visual[0].tolist(), one.audio[0].tolist()))
        push = max(0.0, cosine - 0.2) / (0.8 if authors else 1.0)
        similarity.append(push if pairs.negative[i] else 1 - cosine)
        k = j if authors else i
        own = model(visual[[i]], audio[[k]], classify=True)
        entropies += (
            entropy(own.visual_logits, clips[i]) + entropy(own.audio_logits, clips[k])
        ) / 5
    cosine_part, class_part = sum(similarity) / 5, math.sqrt(entropies) if authors else entropies
    squares = sum(p.square().sum().item() for n, p in model.named_parameters() if "weight" in n)
    l2 = 0.01 / 2 * squares
    expected = (l2 + cosine_part + class_weight * class_part, cosine_part)
    expected += (class_part if class_weight else 0.0, l2)
    assert [term.item() for term in found] == pytest.approx(expected, rel=1e-5)


def test_nothing_but_embeddings_pairs_and_labels_is_needed():
    """Unit vectors at 60°, 90° and 120°, of which the second pair is negative."""
    visual = torch.tensor([[1.0, 0.0]] * 3)
    audio = torch.tensor([[0.5, 0.75**0.5], [0.0, 1.0], [-0.5, 0.75**0.5]])
    pairs = Pairs(torch.tensor([0, 0, 2]), torch.tensor([False, True, False]))
    config = LossConfig(weight_l2=0)
    found = objective(Embeddings(visual, audio), pairs, (labels_of(),) * 2, (), 0.0, config)
    assert found.total.item() == pytest.approx(((1 - 0.5) + (0.5 - 0.2) + (1 + 0.5)) / 3)
    assert found.total == found.cosine


clips_with_labels = st.lists(
    st.lists(st.integers(0, 8), max_size=4, unique=True), min_size=1, max_size=12
)


@settings(max_examples=200, deadline=None)
@given(clips_with_labels, st.floats(0, 1), st.integers(0, 1000))
def test_negatives_are_those_that_a_loop_over_rows_draws(clips, p, seed):
    pairs = draw_pairs(labels_of(*clips), p, seeded(seed))
    chance, choice = torch.rand(2, len(clips), dtype=torch.float64, generator=seeded(seed)).tolist()
    for i, own in enumerate(clips):
        others = [j for j, other in enumerate(clips) if j != i and not {*own} & {*other}]
        drawn = chance[i] < p and others
        expected = others[int(choice[i] * len(others))] if drawn else i
        assert (pairs.audio[i], pairs.negative[i]) == (expected, bool(drawn))
