"""The same answer twice, and how far answers may differ where the arithmetic does."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from xmodal.checkpoint import read_history
from xmodal.config import TrainConfig
from xmodal.train import train

Tiny = Callable[..., TrainConfig]
WIDE = {"visual_hidden": (512,), "audio_hidden": (256,), "batch_size": 128, "steps": 20}
"""Products large enough to be split among threads."""


@pytest.fixture(scope="module")
def one(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train on one thread in float32."""
    config = tiny(tmp_path_factory.mktemp("one") / "run", **WIDE)
    train(config)
    return config.out


@pytest.fixture
def two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def test_two_threads_differ_by_rounding(tiny: Tiny, one: Path, tmp_path: Path, two_threads: None):
    """Sums of float32 are made in another order: 2⁻²⁴ a sum, which training makes somewhat more.

    The bounds are those of two processes instead of one; on some machines not a bit differs.
    """
    config = tiny(tmp_path / "run", **WIDE)
    train(config)
    for first, second in zip(read_history(one), read_history(config.out), strict=True):
        assert second == pytest.approx(first, rel=1e-4)
    weights = load_file(one / "checkpoint" / "model.safetensors")
    for name, found in load_file(config.out / "checkpoint" / "model.safetensors").items():
        torch.testing.assert_close(found, weights[name], rtol=1e-3, atol=1e-5)
    train(tiny(tmp_path / "again", **WIDE))
    for name in ("model.safetensors", "history.jsonl", "checkpoint/model.safetensors"):
        assert (config.out / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_bf16_differs_by_its_rounding(tiny: Tiny, one: Path, tmp_path: Path):
    """It has 8 significant bits, so a product is off by up to 2⁻⁸; a mean loss by twice that.

    Recall by more than 2 of 64 queries a direction would be more than rounding, which swaps near
    ties alone.
    """
    config = tiny(tmp_path / "run", **WIDE, precision="bf16")
    train(config)
    for first, second in zip(read_history(one), read_history(config.out), strict=True):
        for name in ("loss", "cosine"):
            assert second[name] == pytest.approx(first[name], rel=2**-7)
            assert second[name] != first[name]
        assert second["recall_at_1"] == pytest.approx(first["recall_at_1"], abs=4 / 128)
