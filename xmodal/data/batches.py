"""One process's share of the training clips, step by step."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from xmodal.config import InputError, TrainConfig
from xmodal.data.features import open_features, read_rows
from xmodal.data.loader import Order, Reader, batch_labels


class Drawn(NamedTuple):
    """What is drawn for a step.

    Features are float32, (clips, dimensions). Labels are compressed sparse rows, indptr and
    indices, int64: of this process's clips, and of all processes' if they share their clips.
    ``seed`` is for what the step draws at random.
    """

    visual: Tensor
    audio: Tensor
    labels: tuple[Tensor, Tensor]
    all_labels: tuple[Tensor, Tensor] | None
    seed: int


class Batches:
    """The training clips of a run, by step: the same batch for a step whenever it is asked for.

    Each of several processes takes its stretch of every batch. InputError if there are too few
    training clips, or a batch cannot be cut into equal parts.
    """

    def __init__(
        self, config: TrainConfig, device: torch.device, process: int = 0, processes: int = 1
    ) -> None:
        self.config, self.device, self.process, self.processes = config, device, process, processes
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
            "classes": max(1, len(features.label_names)),  # where there are none: a layer of no use
        }
        share = config.batch_size // processes
        self.begin = share * process
        self.order = Order(
            config.seed, self.clips, config.batch_size, config.readers, config.buffer_clips
        )
        stretch = slice(self.begin, self.begin + share)
        self.reader = Reader(features, self.order, stretch, config.steps)

    def __call__(self, step: int) -> Drawn:
        """Return this process's stretch of a step's batch."""
        config, process, all_labels = self.config, self.process, None
        rows, *features = self.reader(step)
        visual, audio = (torch.from_numpy(x).to(self.device).float() for x in features)
        if config.mixup:
            visual, audio = mix(visual, audio, config.mixup, [config.seed, step, process])
        if config.gather_negatives:  # all draw alike; labels are read, not sent
            process = 0
            if self.processes > 1:
                all_labels = self.labels(self.order.rows(step))
        seed = np.random.SeedSequence([config.seed, step, process]).generate_state(1, np.uint64)[0]
        return Drawn(visual, audio, self.labels(rows), all_labels, int(seed))

    def labels(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return the labels of some clips as compressed sparse rows."""
        indptr, indices = batch_labels(self.features, rows)
        return torch.from_numpy(indptr).to(self.device), torch.from_numpy(indices).to(self.device)

    def spread(self, most: int = 65_536) -> tuple[np.ndarray, np.ndarray]:
        """Return visual and audio features of clips from all over the training set."""
        rows = np.linspace(0, self.clips - 1, min(self.clips, most)).astype(int)
        return read_rows(self.features.visual, rows), read_rows(self.features.audio, rows)


def mix(visual: Tensor, audio: Tensor, alpha: float, seed: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mix each clip with another of the batch, both modalities alike (Zhang et al., 2018)."""
    rng = np.random.default_rng(seed)
    share = rng.beta(alpha, alpha, len(visual))
    share = np.maximum(share, 1 - share)  # it stays closer to itself than to the other
    own = torch.from_numpy(share[:, None]).to(visual)
    other = torch.from_numpy(rng.permutation(len(visual))).to(visual.device)
    visual, audio = (own * x + (1 - own) * x[other] for x in (visual, audio))
    return visual, audio
