"""The numbers of a training do not move unless somebody says so.

Where one of these tests fails, a change moved the numbers that trainings arrive at. If it was not
meant to, mend it. If it was, raise `xmodal.checkpoint.TRAINING_VERSION`, which makes every run that
exists another one, record what this test prints, and say in the commit which numbers moved and why.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from xmodal.checkpoint import TRAINING_VERSION, read_history
from xmodal.config import TrainConfig
from xmodal.train import train

RECORDED_VERSION = 1
CHANGES: dict[str, dict] = {
    "paper": {},
    "authors": {"variant": "authors"},
    "recipe": {"recipe": "best", "warmup_steps": 5, "class_weight": 0.0, "average": 0.9},
}
#: Of each training: mean loss of its last ten steps, and a sum over all weights that no permutation
#: of them leaves as it is.
RECORDED = {
    "paper": (0.3313498020172119, 9.406601443030098),
    "authors": (0.2264399528503418, 9.965129098227361),
    "recipe": (7.466156768798828, 5.9566731677408775),
}


def weighted_sum(run: Path) -> float:
    """Return Σ w · cos(i) over the weights of the best step, taken as one long vector."""
    weights = load_file(run / "model.safetensors")
    vector = torch.cat([weights[name].double().flatten() for name in sorted(weights)])
    return float(vector @ torch.arange(len(vector), dtype=torch.float64).cos())


@pytest.mark.parametrize("name", CHANGES)
def test_numbers_are_those_recorded(
    name: str, tiny: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    """Rounding differs from machine to machine: by far less than any change of the method."""
    config = tiny(tmp_path / "run", **CHANGES[name])
    train(config)
    found = read_history(config.out)[-1]["loss"], weighted_sum(config.out)
    assert found == pytest.approx(RECORDED[name], rel=1e-4), f"{name}: {found}"


def test_the_version_is_that_of_the_recorded_numbers():
    assert TRAINING_VERSION == RECORDED_VERSION
