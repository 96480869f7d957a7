"""The network against the paper's description."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from xmodal.checkpoint import load_run
from xmodal.config import InputError, ModelConfig
from xmodal.model import Branch, JointEmbedding


def network(
    visual: int, audio: int, visual_hidden=(6,), audio_hidden=(3,), temperature=None, **choices
) -> JointEmbedding:
    """Return a small network of 2 dimensions and 9 classes, if nothing else is asked for."""
    fields = {"embedding_dim": 2, **choices}
    config = ModelConfig(visual_hidden=visual_hidden, audio_hidden=audio_hidden, **fields)
    return JointEmbedding(config, visual, audio, 9, temperature)


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
    model = network(5, 4, (6, 7), (30,))
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
    assert (Branch(5, (6,), ModelConfig(embedding_dim=4))(x) < 0).any()
    assert (Branch(5, (6,), ModelConfig(embedding_dim=4, relu_embedding=True))(x) >= 0).all()


def test_joint_normalisation_makes_the_norms_of_a_clip_determine_each_other():
    model = network(5, 4, (), (), embedding_dim=4, joint_normalise=True)
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
    model = network(5, 4, (6,), (3,))
    visual, audio = torch.randn(10, 5), torch.randn(10, 4)
    whole = model(visual, audio)
    parts = model.embed(visual.numpy(), audio.numpy(), batch=3)
    torch.testing.assert_close(parts.visual, whole.visual)
    torch.testing.assert_close(parts.audio, whole.audio)


def test_a_standardising_model_takes_its_features_as_they_are():
    torch.manual_seed(0)
    plain = network(5, 4, (6,), (3,))
    torch.manual_seed(0)
    scaled = network(5, 4, (6,), (3,), standardise=True)
    visual, audio = 4 * torch.randn(50, 5) + 7, 2 * torch.randn(50, 4) - 1
    scaled.visual_scaler.fit(visual.numpy())
    scaled.audio_scaler.fit(audio.numpy())
    mean, scale = visual.mean(dim=0), visual.std(dim=0, correction=0).mean()
    expected = plain((visual - mean) / scale, audio)
    torch.testing.assert_close(scaled(visual, audio).visual, expected.visual)


def test_the_learned_scale_starts_at_one_over_the_temperature():
    scale, bias = network(5, 4, temperature=0.25).scale_and_bias
    assert (scale.item(), bias.item()) == (pytest.approx(4), 0)
    assert network(5, 4).scale_and_bias is None


def test_he_weights_are_wider_than_glorot_weights():
    """Variances of a layer of 200 inputs and 50 outputs: 2 / 200, and 2 / (200 + 50)."""
    for initialisation, variance in (("he", 2 / 200), ("glorot", 2 / 250)):
        model = network(200, 4, (50,), (3,), initialisation=initialisation)
        weight = model.visual[0].weight
        assert weight.var().item() == pytest.approx(variance, rel=0.05)


def test_one_modality_is_embedded_as_with_the_other():
    torch.manual_seed(0)
    model = network(5, 4, standardise=True)
    visual, audio = np.random.default_rng(0).normal(size=(2, 3, 5)).astype("f4")
    both = model.embed(visual, audio[:, :4])
    torch.testing.assert_close(model.embed_visual(visual), both.visual)
    torch.testing.assert_close(model.embed_audio(audio[0, :4]), both.audio[:1])
    for wrong in (visual, np.full(4, np.nan), np.zeros((0, 4))):
        with pytest.raises(InputError, match="4 finite"):
            model.embed_audio(wrong)
    with pytest.raises(InputError, match="both"):
        network(5, 4, joint_normalise=True).embed_visual(visual)


@pytest.mark.parametrize("temperature", [None, 0.05])
def test_a_model_is_saved_and_loaded_as_it_is(tmp_path: Path, temperature: float | None):
    torch.manual_seed(0)
    model = network(5, 4, temperature=temperature, activation="gelu", dropout=0.5).eval()
    model.save_pretrained(tmp_path / "model")
    again = JointEmbedding.from_pretrained(tmp_path / "model")
    visual = np.ones((2, 5))
    torch.testing.assert_close(again.embed_visual(visual), model.embed_visual(visual))
    assert again.state_dict().keys() == model.state_dict().keys() and not again.training
    with pytest.raises(InputError, match="something else"):
        model.save_pretrained(tmp_path)


def test_weights_are_loaded_by_name_or_from_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shipped = JointEmbedding.from_pretrained("yt8m-recipe")
    assert shipped.sizes == load_run("yt8m-recipe")[0].sizes and shipped.dim == 768
    network(5, 4).save_pretrained(tmp_path / "model")
    asked = []

    class Hub:
        @staticmethod
        def snapshot_download(name: str) -> Path:
            asked.append(name)
            if name == "me/none":
                raise OSError("404")
            return tmp_path / "model"

    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub)
    assert JointEmbedding.from_pretrained("me/small").sizes["visual_dim"] == 5
    with pytest.raises(InputError, match="404"):
        JointEmbedding.from_pretrained("me/none")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="hub"):
        JointEmbedding.from_pretrained("me/small")
    with pytest.raises(InputError, match="runs/a/b"):
        JointEmbedding.from_pretrained("runs/a/b")
    assert asked == ["me/small", "me/none"]
