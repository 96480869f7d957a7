"""Encoders of Hugging Face models: tiny ones, made from configurations; nothing is fetched."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from media_files import sine, write_media

from xmodal.config import InputError
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.index import build_index
from xmodal.media.encoders import Encoders, open_encoders
from xmodal.search_options import IndexConfig
from xmodal.train import train

tf = pytest.importorskip("transformers", reason="the extra hub is not installed")
SMALL = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1}
SMALL |= {"num_attention_heads": 2}
PICTURE = {"image_size": 32, "patch_size": 16}
TEXT = {**SMALL, "vocab_size": 9, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
NOISE = np.random.default_rng(0).normal(0, 0.1, 15 * 8000).astype(np.float32)
PICTURES = [np.random.default_rng(n).integers(0, 256, (40, 50, 3), np.uint8) for n in range(2)]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def clip(folder: Path, seed: int = 0) -> Path:
    """Save a CLIP whose image features are 6 numbers."""
    torch.manual_seed(seed)
    vision = {**SMALL, **PICTURE}
    model = tf.CLIPModel(tf.CLIPConfig(text_config=TEXT, vision_config=vision, projection_dim=6))
    model.save_pretrained(folder)
    size = {"height": 32, "width": 32}
    tf.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)
    return folder


def vit(folder: Path) -> Path:
    """Save a ViT without the pooling layer that its class has: 8 numbers a patch."""
    torch.manual_seed(0)
    model = tf.ViTModel(tf.ViTConfig(**SMALL, **PICTURE), add_pooling_layer=False)
    model.save_pretrained(folder)
    tf.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def clap(folder: Path) -> Path:
    """Save a CLAP at 8 kHz whose audio features are 5 numbers."""
    torch.manual_seed(0)
    swin = {"patch_size": 4, "patch_stride": [4, 4], "window_size": 2, "depths": [1, 1]}
    swin |= {"spec_size": 64, "num_mel_bins": 16, "patch_embeds_hidden_size": 8}
    swin |= {"hidden_size": 16, "num_attention_heads": [1, 1]}
    model = tf.ClapModel(tf.ClapConfig(text_config=TEXT, audio_config=swin, projection_dim=5))
    model.save_pretrained(folder)
    frames = {"sampling_rate": 8000, "hop_length": 800, "frequency_max": 4000}
    extractor = tf.ClapFeatureExtractor(feature_size=16, truncation="rand_trunc", **frames)
    extractor.save_pretrained(folder)
    return folder


def wav2vec(folder: Path) -> Path:
    """Save a Wav2Vec2, of 8 numbers a frame and without a pooling layer."""
    torch.manual_seed(0)
    layers = {"conv_dim": (8, 8), "conv_stride": (8, 8), "conv_kernel": (10, 8)}
    positions = {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    tf.Wav2Vec2Model(tf.Wav2Vec2Config(**SMALL, **layers, **positions)).save_pretrained(folder)
    tf.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def opened(visual: Path | str, audio: Path | str, needed: str = "") -> Encoders:
    return open_encoders("packaged", models=(str(visual), str(audio)), needed=needed)


@torch.inference_mode()
def test_features_are_those_of_the_models_averaged_over_a_clip(tmp_path: Path):
    """Of 15 s of sound the pieces are 7.5 s each: the fewest equal ones of at most ten."""
    encoders = opened(clip(tmp_path / "clip"), clap(tmp_path / "clap"))
    assert (encoders.visual_dim, encoders.audio_dim, encoders.rate) == (6, 5, 8000)
    see, hear = (tf.AutoModel.from_pretrained(tmp_path / name) for name in ("clip", "clap"))
    pixels = tf.CLIPImageProcessorPil.from_pretrained(tmp_path / "clip")(PICTURES)["pixel_values"]
    expected = see.get_image_features(torch.tensor(np.array(pixels))).pooler_output.mean(0)
    assert encoders.visual(iter(PICTURES)) == pytest.approx(expected.numpy(), abs=1e-5)
    extractor = tf.ClapFeatureExtractor.from_pretrained(tmp_path / "clap")
    halves = [NOISE[:60_000], NOISE[60_000:]]
    heard = extractor(halves, sampling_rate=8000, return_tensors="pt")
    expected = hear.get_audio_features(**heard).pooler_output.mean(0)
    assert encoders.audio(NOISE) == pytest.approx(expected.numpy(), abs=1e-5)
    assert np.isfinite(encoders.audio(np.zeros(0, np.float32))).all()


@torch.inference_mode()
def test_hidden_states_are_averaged_where_no_trained_layer_pools_them(tmp_path: Path):
    encoders = opened(vit(tmp_path / "vit"), wav2vec(tmp_path / "wav2vec"))
    assert (encoders.visual_dim, encoders.audio_dim, encoders.rate) == (8, 8, 16_000)
    model = tf.ViTModel.from_pretrained(tmp_path / "vit", add_pooling_layer=False)
    pixels = tf.ViTImageProcessorPil.from_pretrained(tmp_path / "vit")(PICTURES[0])["pixel_values"]
    expected = model(torch.tensor(np.array(pixels))).last_hidden_state[0].mean(0)
    assert encoders.visual(PICTURES[:1]) == pytest.approx(expected.numpy(), abs=1e-5)
    heard = NOISE[:16_000]
    scaled = torch.tensor((heard - heard.mean()) / np.sqrt(heard.var() + 1e-7))[None]
    model = tf.Wav2Vec2Model.from_pretrained(tmp_path / "wav2vec")
    expected = model(scaled).last_hidden_state[0].mean(0)
    assert encoders.audio(heard) == pytest.approx(expected.numpy(), abs=1e-4)


def test_a_model_of_the_hub_is_held_to_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    clip(tmp_path / "models--some--clip" / "snapshots" / COMMIT)
    (tmp_path / "models--some--clip" / "refs").mkdir()
    (tmp_path / "models--some--clip" / "refs" / "main").write_text(COMMIT)
    own = clap(tmp_path / "clap")
    names = {opened(visual, own).name for visual in ("some/clip", f"some/clip@{COMMIT}")}
    assert len(names) == 1 and names.pop().startswith(f"some/clip@{COMMIT} + clap@")
    for missing in ("some/other", "some/clip@other", "no id, no folder"):
        with pytest.raises(InputError, match=missing):
            opened(missing, own)


def test_what_is_no_encoder_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    see, hear = clip(tmp_path / "clip"), clap(tmp_path / "clap")
    for pair, wrong in (((hear, hear), "clap"), ((see, see), "clip")):
        with pytest.raises(InputError, match=wrong):
            opened(*pair)
    weights = vit(tmp_path / "vit") / "config.json"
    deeper = weights.read_text().replace('"num_hidden_layers": 1', '"num_hidden_layers": 2')
    weights.write_text(deeper)
    with pytest.raises(InputError, match="vit@.* weights"):
        opened(tmp_path / "vit", hear)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match="pip install"):
        opened(see, hear)


def test_features_are_searched_with_those_of_the_same_models_alone(
    tmp_path: Path, call: Callable, tiny: Callable
):
    see, hear = clip(tmp_path / "clip"), clap(tmp_path / "clap")
    own = tmp_path / "own"
    own.mkdir()
    write_media(own / "tone.wav", tone=sine(1))
    models = ("--visual-model", see, "--audio-model", hear)
    assert call("extract", own, "--out", tmp_path / "one.npz", *models)[0] == 0
    with np.load(tmp_path / "one.npz") as arrays:
        name = str(arrays["encoder"])
    assert name == opened(see, hear).name and name.endswith("8000 Hz")

    rng, features = np.random.default_rng(0), {}
    for encoder in (name, "another"):
        visual, audio = rng.normal(size=(60, 6)), rng.normal(size=(60, 5))
        np.savez(tmp_path / "many.npz", visual=visual, audio=audio, encoder=encoder)
        features[encoder] = tmp_path / f"{encoder[:4]} features"
        prepare(PrepareConfig(shards=tmp_path / "many.npz", out=features[encoder]))
    run = tmp_path / "run"
    train(tiny(run, features=features[name], steps=2, batch_size=8, class_weight=0.0))
    with pytest.raises(InputError, match="another"):
        build_index(IndexConfig(run=str(run), features=features["another"]))
    build_index(IndexConfig(run=str(run), features=features[name]))

    words = ("search", run, "--find", "video", "-k", 2, "--file")
    assert call(*words, own / "tone.wav", *models)[0] == 0
    status, _, told = call(*words, "nothing is decoded")
    assert status == 2 and name in told and "aiSFX" in told
    clip(tmp_path / "clip", seed=1)
    status, _, told = call(*words, "nothing is decoded", *models)
    assert status == 2 and name in told and opened(see, hear).name in told
