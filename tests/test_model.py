"""The network against the paper's description."""

import pytest
import torch

from xmodal.model import Branch, JointEmbedding


def test_layers_are_those_of_section_3_1():
    model = JointEmbedding()
    shapes = {
        name: [tuple(p.shape) for p in branch.parameters() if p.ndim == 2]
        for name, branch in (("visual", model.visual), ("audio", model.audio))
    }
    assert shapes["visual"] == [(2000, 1024), (2000, 2000), (700, 2000), (700, 700), (250, 700)]
    assert shapes["audio"] == [(450, 128), (450, 450), (200, 450), (200, 200), (250, 200)]
    assert model.classifier.weight.shape == (3862, 250)


def test_forward_is_relu_layers_then_unit_length():
    """One branch written out with matrix products."""
    torch.manual_seed(0)
    model = JointEmbedding(5, 4, (6, 7), (30,), 2, 9)
    visual, audio = torch.randn(8, 5), torch.randn(8, 4)
    w1, b1, w2, b2, w3, b3 = model.visual.parameters()
    hidden = ((visual @ w1.T + b1).clamp_min(0) @ w2.T + b2).clamp_min(0)
    expected = hidden @ w3.T + b3
    expected = expected / expected.norm(dim=1, keepdim=True)
    embedded = model(visual, audio, classify=True)
    torch.testing.assert_close(embedded.visual, expected)
    torch.testing.assert_close(embedded.audio.norm(dim=1), torch.ones(8))
    weight, bias = model.classifier.parameters()
    torch.testing.assert_close(embedded.visual_logits, embedded.visual @ weight.T + bias)
    torch.testing.assert_close(embedded.audio_logits, embedded.audio @ weight.T + bias)


def test_text_has_signed_embeddings_and_authors_have_none():
    x = torch.randn(100, 5)
    torch.manual_seed(0)
    assert (Branch(5, (6,), 4)(x) < 0).any()
    assert (Branch(5, (6,), 4, relu_embedding=True)(x) >= 0).all()


def test_joint_normalisation_makes_the_norms_of_a_clip_determine_each_other():
    model = JointEmbedding(5, 4, (), (), 4, 3, joint_normalise=True)
    with torch.no_grad():  # audio passes unchanged, so that its norm is seen before unit length
        model.audio[0].weight.copy_(torch.eye(4))
    seen = []
    model.audio.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.visual.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(torch.randn(6, 5), torch.randn(6, 4))
    torch.testing.assert_close(
        seen[0].square().sum(dim=1) + seen[1].square().sum(dim=1), torch.ones(6)
    )


def test_embed_in_batches_is_forward():
    model = JointEmbedding(5, 4, (6,), (3,), 2, 9)
    visual, audio = torch.randn(10, 5), torch.randn(10, 4)
    whole = model(visual, audio)
    parts = model.embed(visual.numpy(), audio.numpy(), batch=3)
    torch.testing.assert_close(parts.visual, whole.visual)
    torch.testing.assert_close(parts.audio, whole.audio)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_embeddings_of_extreme_features_are_finite(scale):
    model = JointEmbedding(5, 4, (6,), (3,), 2, 9)
    embedded = model(torch.randn(3, 5) * scale, torch.randn(3, 4) * scale)
    assert embedded.visual.isfinite().all() and embedded.audio.isfinite().all()
