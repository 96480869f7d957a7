"""The objectives, recomputed by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xmodal.config import VARIANTS, LossConfig, ModelConfig
from xmodal.contrastive import info_nce, sigmoid_loss, triplet_loss
from xmodal.loss import Batch, cosine_loss, cross_entropy, l2_groups, l2_term, objective
from xmodal.model import JointEmbedding
from xmodal.negatives import Labels, Peers, draw_pairs


def labels_of(*clips: list[int]) -> Labels:
    indptr = torch.tensor([0, *(len(c) for c in clips)]).cumsum(0)
    return Labels(indptr, torch.tensor([i for c in clips for i in c], dtype=torch.int64))


def batch_of(visual, audio, labels: Labels, generator: torch.Generator) -> Batch:
    return Batch(visual, audio, labels, Peers(labels), generator)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_model(temperature: float | None = None, **choices) -> JointEmbedding:
    torch.manual_seed(0)
    config = ModelConfig(visual_hidden=(8,), audio_hidden=(5,), embedding_dim=3, **choices)
    return JointEmbedding(config, 6, 4, classes=7, temperature=temperature)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cosine_loss_by_hand(dtype):
    cosine = torch.tensor([0.9, -0.5, 0.7, 0.1], dtype=dtype)
    negative = torch.tensor([False, False, True, True])
    # positive: 1 - 0.9, 1 + 0.5; negative: 0.7 - 0.2, and 0 within the margin
    expected = (0.1 + 1.5 + 0.5 + 0.0) / 4
    assert cosine_loss(cosine, negative, 0.2).item() == pytest.approx(expected, rel=1e-6)


def test_scaled_negatives_by_hand():
    cosine, negative = torch.tensor([1.0, 0.7, 1.0]), torch.tensor([False, True, True])
    # a negative pair that coincides costs (1 - 0.2) / (1 - 0.2) = 1, as much as an orthogonal pair
    expected = (0.0 + 0.5 / 0.8 + 1.0) / 3
    assert cosine_loss(cosine, negative, 0.2, divisor=0.8).item() == pytest.approx(expected)


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
    labels = labels_of([0], [1], [2], [3], [4])
    config = LossConfig(objective=term, weight_l2=0)
    found = objective(model, batch_of(visual, audio, labels, seeded()), 0, config)
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


@pytest.mark.parametrize("term", ["paper", "infonce", "sigmoid", "triplet"])
def test_two_halves_that_share_their_clips_make_the_whole(term):
    """What two processes compute, one after the other, with nothing but the gathered rows."""
    model = small_model(temperature=0.5)
    visual, audio = torch.randn(6, 6, generator=seeded(2)), torch.randn(6, 4, generator=seeded(3))
    clips = [[0], [1], [2], [3], [4, 0], [5]]
    config = LossConfig(objective=term, class_start_step=0)
    whole = objective(model, batch_of(visual, audio, labels_of(*clips), seeded(1)), 0, config)
    embedded = model(visual, audio, classify=True)
    halves = []
    for begin in (0, 3):
        mine = slice(begin, begin + 3)
        all_rows = [embedded.visual, embedded.audio]

        def gather(rows, begin=begin, all_rows=all_rows):
            (found,) = [x for x in all_rows if x[begin : begin + 3].allclose(rows)]
            return found

        peers = Peers(labels_of(*clips), begin, gather)
        part = labels_of(*clips[mine])
        halves.append(
            objective(model, Batch(visual[mine], audio[mine], part, peers, seeded(1)), 0, config)
        )
    for one, two, both in zip(*halves, whole):
        torch.testing.assert_close((one + two) / 2, both)


def test_l2_is_half_the_square_of_weights_and_of_no_bias():
    model = small_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=seeded(1)))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = torch.optim.SGD(l2_groups(model, 0.3), lr=1.0)
    penalty = sum(0.3 / 2 * p.square().sum() for n, p in model.named_parameters() if "weight" in n)
    assert l2_term(model, 0.3).item() == pytest.approx(penalty.item())
    gradients = torch.autograd.grad(
        penalty, [p for n, p in model.named_parameters() if "weight" in n]
    )
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    expected = iter(gradients)
    for name, parameter in model.named_parameters():
        step = next(expected) if "weight" in name else torch.zeros_like(parameter)
        torch.testing.assert_close(parameter.detach(), before[name] - step)


@pytest.mark.parametrize("start, total_has_classes", [(5, False), (0, True)])
@pytest.mark.parametrize("variant", ["text", "authors"])
def test_objective_by_hand(variant, start, total_has_classes):
    """Every term written out with plain Python numbers, pair by pair."""
    switches = LossConfig().model_dump() | ModelConfig().model_dump() | VARIANTS[variant]
    model = small_model(
        relu_embedding=switches["relu_embedding"], joint_normalise=switches["joint_normalise"]
    )
    visual, audio = torch.randn(5, 6, generator=seeded(2)), torch.randn(5, 4, generator=seeded(3))
    clips = [[0], [1, 2], [0, 3], [4], [5, 6]]
    labels = labels_of(*clips)
    loss_switches = ("scale_negatives", "sqrt_cross_entropy", "swap_first")
    config = LossConfig(
        class_weight=0.5,
        class_start_step=start,
        weight_l2=0.01,
        **{k: switches[k] for k in loss_switches},
    )
    found = objective(model, batch_of(visual, audio, labels, seeded(4)), 3, config)

    pairs = draw_pairs(labels, 0.6, seeded(4))
    assert 0 < pairs.negative.sum() < 5
    similarity, entropies_v, entropies_a = [], [], []
    for i in range(5):
        j = pairs.audio[i].item()
        both = visual[[i]], audio[[j]]
        if variant == "authors":  # the pair is scaled as it is compared
            length = math.sqrt(sum(x.square().sum().item() for x in both))
            visual_i, audio_j = (x / length for x in both)
            alone = {**model.config.model_dump(), "joint_normalise": False}
            unscaled = JointEmbedding(ModelConfig(**alone), 6, 4, 7)
            unscaled.load_state_dict(model.state_dict())
            embedded = unscaled(visual_i, audio_j, classify=True)
        else:
            embedded = model(*both, classify=True)
        cosine = sum(a * b for a, b in zip(embedded.visual[0].tolist(), embedded.audio[0].tolist()))
        if pairs.negative[i]:
            scale = 0.8 if variant == "authors" else 1.0
            similarity.append(max(0.0, cosine - 0.2) / scale)
        else:
            assert i == j
            similarity.append(1 - cosine)

        def entropy(logits, present):
            p = [1 / (1 + math.exp(-x)) for x in logits]
            return -sum(math.log(q if c in present else 1 - q) for c, q in enumerate(p))

        k = j if variant == "authors" else i
        entropies_v.append(entropy(embedded.visual_logits[0].tolist(), clips[i]))
        own = model(visual[[k]], audio[[k]], classify=True) if variant == "text" else embedded
        entropies_a.append(entropy(own.audio_logits[0].tolist(), clips[k]))
    cosine_part = sum(similarity) / 5
    class_part = sum(entropies_v) / 5 + sum(entropies_a) / 5
    if variant == "authors":
        class_part = math.sqrt(class_part)
    assert found.cosine.item() == pytest.approx(cosine_part, rel=1e-5)
    weights = [p for name, p in model.named_parameters() if name.endswith("weight")]
    l2 = 0.01 / 2 * sum(w.square().sum().item() for w in weights)
    assert found.l2.item() == pytest.approx(l2, rel=1e-5)
    expected = l2 + cosine_part + (0.5 * class_part if total_has_classes else 0)
    assert found.total.item() == pytest.approx(expected, rel=1e-5)
    assert found.classification.item() == pytest.approx(
        class_part if total_has_classes else 0.0, rel=1e-5
    )


def test_a_swapped_pair_is_scaled_as_it_is_compared():
    """Two clips by hand: audio of norm 3 and 4 against video of norm 4 and 3.

    Scaled with its own half each clip has norm 5, so audio (0.6, 0.8) tells which video is its own:
    that of norm (0.8, 0.6). Swapped first, a pair has norm 4·√2 or 3·√2, and both halves have the
    norm 1/√2 whichever clip it is.
    """
    seen = {}

    class Linear(torch.nn.Module):
        def forward(self, visual, audio, classify):
            norm = torch.cat([visual, audio], dim=1).norm(dim=1, keepdim=True)
            seen["norms"] = (visual / norm).norm(dim=1), (audio / norm).norm(dim=1)
            return small_model()(torch.ones(2, 6), torch.ones(2, 4))

        def parameters(self):
            return small_model().parameters()

    visual, audio = torch.tensor([[4.0, 0.0], [0.0, 3.0]]), torch.tensor([[3.0], [4.0]])
    clips = batch_of(visual, audio, labels_of([0], [1]), seeded())
    objective(Linear(), clips, 0, LossConfig(p_negative=1, swap_first=False))
    torch.testing.assert_close(seen["norms"][1], torch.tensor([0.6, 0.8]))
    objective(Linear(), clips, 0, LossConfig(p_negative=1, swap_first=True))
    torch.testing.assert_close(seen["norms"], (torch.full((2,), 0.5**0.5),) * 2)


def test_swapping_first_or_last_is_the_same_where_clips_are_scaled_alone():
    model, clips = small_model(), [[0], [1, 2], [0, 3], [4], [5, 6]]
    visual, audio = torch.randn(5, 6, generator=seeded(2)), torch.randn(5, 4, generator=seeded(3))
    first, last = (
        objective(
            model,
            batch_of(visual, audio, labels_of(*clips), seeded(4)),
            0,
            LossConfig(class_weight=0, swap_first=swap),
        )
        for swap in (True, False)
    )
    torch.testing.assert_close(first, last)


def test_labels_are_taken_clip_by_clip():
    labels = labels_of([0], [], [1, 2], [3, 4, 5])
    found = labels.take(torch.tensor([3, 0, 3, 1, 2]))
    assert found.indptr.tolist() == [0, 3, 4, 7, 7, 9]
    assert found.indices.tolist() == [3, 4, 5, 0, 3, 4, 5, 1, 2]


clips_with_labels = st.lists(
    st.lists(st.integers(0, 8), max_size=4, unique=True), min_size=1, max_size=12
)


@settings(max_examples=200, deadline=None)
@given(clips_with_labels, st.floats(0, 1), st.integers(0, 1000))
def test_negatives_share_no_label_and_positives_are_the_clip_itself(clips, p, seed):
    pairs = draw_pairs(labels_of(*clips), p, seeded(seed))
    for i, (j, negative) in enumerate(zip(pairs.audio.tolist(), pairs.negative.tolist())):
        if negative:
            assert i != j and not set(clips[i]) & set(clips[j])
        else:
            assert i == j


@settings(max_examples=200, deadline=None)
@given(clips_with_labels, st.floats(0, 1), st.integers(0, 1000))
def test_negatives_are_those_that_a_loop_over_rows_draws(clips, p, seed):
    pairs = draw_pairs(labels_of(*clips), p, seeded(seed))
    chance, choice = torch.rand(2, len(clips), dtype=torch.float64, generator=seeded(seed)).tolist()
    for i, own in enumerate(clips):
        strangers = [j for j, other in enumerate(clips) if j != i and not {*own} & {*other}]
        drawn = chance[i] < p and strangers
        expected = strangers[int(choice[i] * len(strangers))] if drawn else i
        assert (pairs.audio[i], pairs.negative[i]) == (expected, bool(drawn))


def test_a_batch_of_one_label_has_no_negative():
    pairs = draw_pairs(labels_of(*[[3]] * 10), 1.0, seeded())
    assert not pairs.negative.any()
    assert pairs.audio.tolist() == list(range(10))


def test_only_the_clips_without_a_stranger_stay_positive():
    # clip 0 carries every label of the others, so it alone has no stranger
    pairs = draw_pairs(labels_of([0, 1, 2], [0], [1], [2]), 1.0, seeded())
    assert pairs.negative.tolist() == [False, True, True, True]


def test_negatives_are_drawn_uniformly_and_at_the_asked_rate():
    clips = [[0], [0], [1], [2], [3], [4]]
    counts, negatives, draws = torch.zeros(6), 0, 6000
    for seed in range(draws):
        pairs = draw_pairs(labels_of(*clips), 0.6, seeded(seed))
        if pairs.negative[0]:
            negatives += 1
            counts[pairs.audio[0]] += 1
    assert negatives / draws == pytest.approx(0.6, abs=5 * math.sqrt(0.24 / draws))
    assert counts[:2].tolist() == [0, 0]
    share, error = 1 / 4, 5 * math.sqrt(3 / 16 / negatives)
    assert (counts[2:] / negatives).tolist() == pytest.approx([share] * 4, abs=error)


def test_the_same_generator_draws_the_same_pairs():
    labels = labels_of(*[[i % 7, 7 + i % 5] for i in range(50)])
    first, again, other = (draw_pairs(labels, 0.6, seeded(s)) for s in (1, 1, 2))
    assert first.audio.equal(again.audio) and first.negative.equal(again.negative)
    assert not first.audio.equal(other.audio)
