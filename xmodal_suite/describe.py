"""What notebooks 01 and 02 measure, and make first if it is not there: the data, and a training."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from xmodal.config import TrainConfig
from xmodal.train import train
from xmodal_suite.dataset import DataConfig, make_data, need_features
from xmodal_suite.description import describe
from xmodal_suite.figure_config import FigureConfig
from xmodal_suite.training import history_frame, plain_frame, training_frame


class TrainingConfig(TrainConfig, FigureConfig):
    """How the model of notebook 02 is trained, and where its course is kept."""

    def trained(self) -> list[Path]:
        """Return its run."""
        return [self.out]


def measure_data(config: DataConfig) -> dict[str, pd.DataFrame]:
    """Make the data, and describe it: see `describe`."""
    make_data(config)
    return describe(config.features)


def measure_training(
    config: TrainingConfig, watch: Callable[[], object] | None = None
) -> dict[str, pd.DataFrame]:
    """Train a model, unless it is trained, and tell of its run; train the plain loop beside it.

    ``watch`` is that of `train`, and shown instead of a bar. The frames are `training_frame` and
    `history_frame` of the run, and `plain_frame`.
    """
    need_features(config.features)
    settings = config.model_dump(include=set(TrainConfig.model_fields))
    settings["progress"] = watch is None and config.progress
    train(TrainConfig(**settings), watch)
    return {
        "training": training_frame([config.out]),
        "history": history_frame([config.out]),
        "plain": plain_frame(config.features),
    }
