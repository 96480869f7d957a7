"""Trained runs that several test files look at."""

from collections.abc import Callable
from pathlib import Path

import pytest

from xmodal.config import TrainConfig
from xmodal.train import train


@pytest.fixture(scope="module")
def runs(tiny: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of dimension 8 and one run of dimension 4."""
    folder = tmp_path_factory.mktemp("runs")
    for name, change in {
        "dim8-seed0": {},
        "dim8-seed1": {"seed": 1},
        "dim4-seed0": {"embedding_dim": 4},
    }.items():
        train(tiny(folder / name, **change))
    return folder
