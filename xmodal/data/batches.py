"""One process's share of the training clips, step by step."""

import numpy as np

from xmodal.config import InputError, TrainConfig
from xmodal.data.features import open_features
from xmodal.data.loader import Order, Reader, batch_labels
from xmodal.data.storage import take_rows


class Batches:
    """The training clips of a run, by step: the same batch for a step whenever it is asked for.

    Parameters
    ----------
    config : TrainConfig
        Names the feature set, and how many of its clips make up the training set and a batch.
    process, processes : int
        Which of how many processes this is: each takes its stretch of every batch.

    Raises
    ------
    InputError
        If there are too few training clips, or a batch cannot be cut into equal parts.
    """

    def __init__(self, config: TrainConfig, process: int = 0, processes: int = 1) -> None:
        self.features = features = open_features(config.features, "train")
        self.clips = min(len(features), config.training_clips or len(features))
        for wanted, what, name in (
            (config.batch_size, f"one batch of {config.batch_size}", "batch_size"),
            (config.training_clips, f"the {config.training_clips} asked for", "training_clips"),
        ):
            if self.clips < (wanted or 0):
                raise InputError(
                    f"{config.features} has {self.clips} training clips, fewer than {what}: "
                    f"prepare more shards or lower {name}"
                )
        for number, name in ((config.readers, "readers"), (processes, "processes")):
            if config.batch_size % number:
                raise InputError(
                    f"a batch of {config.batch_size} cannot be cut into equal parts for {number} "
                    f"{name}: choose a batch_size that is a multiple"
                )
        self.sizes = {
            "visual_dim": features.visual.shape[1],
            "audio_dim": features.audio.shape[1],
            "classes": len(features.label_names),
        }
        share = config.batch_size // processes
        self.begin = share * process
        self.order = Order(
            config.seed, self.clips, config.batch_size, config.readers, config.buffer_clips
        )
        stretch = slice(self.begin, self.begin + share)
        self.reader = Reader(features, self.order, stretch, config.steps)

    def labels(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the labels of some clips as compressed sparse rows: indptr and indices, int64."""
        return batch_labels(self.features, rows)

    def spread(self, most: int = 65_536) -> tuple[np.ndarray, np.ndarray]:
        """Return visual and audio features of clips from all over the training set."""
        rows = np.linspace(0, self.clips - 1, min(self.clips, most)).astype(int)
        return take_rows(self.features.visual, rows), take_rows(self.features.audio, rows)
