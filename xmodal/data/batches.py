"""The batches of a training: which clips, in which pairs, and how they come from disk.

Seed and step decide a batch. A training set may be larger than memory: it is read by *windows*,
blocks of neighbouring clips in random order, shuffled once more; while one window is trained on,
the next is read. A set that fits into one window is shuffled uniformly.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from xmodal.config import InputError, TrainConfig
from xmodal.data.features import SPLITS, evenly, open_splits, read_rows
from xmodal.negatives import Labels, Pairs, draw_pairs

BLOCK = 1024  # neighbouring clips that are read in one go, about a shard's worth (our choice)


@dataclass(frozen=True)
class Order:
    """Which clips each step sees: ``seed`` decides it; ``window`` clips are shuffled together."""

    seed: int
    clips: int
    batch_size: int
    window: int = 65_536

    def window_steps(self, step: int) -> range:
        """Return the steps whose clips are read together with those of ``step``."""
        epoch_steps, length = self.clips // self.batch_size, self.window // self.batch_size or 1
        position = step % epoch_steps
        begin = step - position % length
        return range(begin, min(begin + length, step - position + epoch_steps))

    def rows(self, step: int) -> np.ndarray:
        """Return a step's clips, int64, (batch_size,); the last of an epoch may be left out."""
        epoch, position = divmod(step, self.clips // self.batch_size)
        return _epoch_order(self, epoch)[position * self.batch_size :][: self.batch_size]


@lru_cache(maxsize=2)  # the epoch that is trained on, and the one whose first window is read
def _epoch_order(order: Order, epoch: int) -> np.ndarray:
    """Return all clips in the order of an epoch."""
    rng, rows = np.random.default_rng([order.seed, epoch, 0]), np.arange(order.clips)
    window = max(1, order.window // order.batch_size) * order.batch_size
    if len(rows) > window:
        blocks = np.split(rows, range(BLOCK, len(rows), BLOCK))
        rows = np.concatenate([blocks[b] for b in rng.permutation(len(blocks))])
    for start in range(0, len(rows), window):
        rng.shuffle(rows[start : start + window])
    return rows


class Batch(NamedTuple):
    """A step's features, float32 (clips, dimensions), the labels of both, and pairs of them."""

    visual: Tensor
    audio: Tensor
    labels: tuple[Labels, Labels]
    pairs: Pairs


class Batches:
    """The training clips of a run, by step; each of several processes has its share of a batch.

    ``features`` and ``validation`` are those splits, ``identity`` tells them from others, and
    ``config`` is what was given, fitted to them.
    """

    def __init__(
        self, config: TrainConfig, device: torch.device, process: int = 0, processes: int = 1
    ) -> None:
        features, self.validation = open_splits(config.features, *SPLITS[:2])
        clips = config.training_clips or len(features)
        if clips < config.batch_size and "batch_size" not in config.model_fields_set:
            config = config.model_copy(update={"batch_size": max(2, clips // 4)})  # few pairs; ours
        if config.passes:
            steps = max(1, round(config.passes * clips / config.batch_size))
            config = config.model_copy(update={"steps": steps})
        if config.class_weight and not features.labels.nnz:
            tqdm.write(f"{config.features}: no training clip has a label, so class_weight is 0")
            config = config.model_copy(update={"class_weight": 0.0})
        self.config, self.features, self.device, self.process = config, features, device, process
        self.clips = min(len(features), clips)
        needed = max(config.batch_size, config.training_clips or 0)
        if self.clips < needed:
            raise InputError(f"{config.features}: {self.clips} training clips, not {needed}")
        dims = {"visual_dim": features.visual.shape[1], "audio_dim": features.audio.shape[1]}
        self.sizes = {**dims, "classes": max(1, len(features.label_names))}  # 1: a layer of no use
        data = {"data": features.fingerprint, "validation_data": self.validation.fingerprint}
        encoder = {"encoder": features.encoder} if features.encoder else {}
        self.identity = {"sizes": self.sizes, **data, **encoder}
        self.order = Order(config.seed, self.clips, config.batch_size, config.buffer_clips)
        share = config.batch_size // processes
        self.share = slice(share * process, share * (process + 1))
        submit = ThreadPoolExecutor(1).submit
        self.window = lru_cache(maxsize=2)(lambda steps: submit(self._read_window, steps))

    def __call__(self, step: int) -> Batch:
        """Return this process's share of a step's batch."""
        config, drawn_by = self.config, [self.config.seed, step, self.process]
        rows, *features = self.read(step)
        visual, audio = (torch.from_numpy(x).to(self.device).float() for x in features)
        if config.mixup:
            visual, audio = mix(visual, audio, config.mixup, drawn_by)
        labels, own = self.labels(rows), torch.arange(len(rows), device=self.device)
        audio_labels, pairs = labels, Pairs(own, own < 0)
        if config.objective == "paper":
            seed = int(np.random.SeedSequence(drawn_by).generate_state(1, np.uint64)[0])
            pairs = draw_pairs(labels, config.p_negative, torch.Generator().manual_seed(seed))
        if config.swap_first:  # the authors' reader: row i now has the audio of pair i
            audio_labels = self.labels(rows[pairs.audio.cpu().numpy()])
            audio, pairs = audio.index_select(0, pairs.audio), Pairs(own, pairs.negative)
        return Batch(visual, audio, (labels, audio_labels), pairs)

    def labels(self, rows: np.ndarray) -> Labels:
        """Return the labels of some clips."""
        found = self.features.labels[rows]
        parts = (torch.from_numpy(x.astype(np.int64)) for x in (found.indptr, found.indices))
        return Labels(*(part.to(self.device) for part in parts))

    def read(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a step's clips, and their visual and audio features as stored."""
        now = self.order.window_steps(step)
        window = self.window(now)
        if now.stop < self.config.steps:
            self.window(self.order.window_steps(now.stop))
        clips, visual, audio = window.result()
        rows = self.order.rows(step)[self.share]
        place = np.searchsorted(clips, rows)
        return rows, visual[place], audio[place]

    def _read_window(self, window: range) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        clips = np.sort(np.concatenate([self.order.rows(step)[self.share] for step in window]))
        return clips, read_rows(self.features.visual, clips), read_rows(self.features.audio, clips)

    def spread(self, most: int = 65_536) -> tuple[np.ndarray, np.ndarray]:
        """Return visual and audio features of clips from all over the training set."""
        some = self.features.take(evenly(self.clips, most))
        return some.visual, some.audio


def mix(visual: Tensor, audio: Tensor, alpha: float, seed: Sequence[int]) -> list[Tensor]:
    """Mix each clip with another of the batch, both modalities alike (Zhang et al., 2018)."""
    rng = np.random.default_rng(seed)
    share = rng.beta(alpha, alpha, len(visual))
    own = torch.from_numpy(np.maximum(share, 1 - share)[:, None]).to(visual)  # the larger share
    other = torch.from_numpy(rng.permutation(len(visual))).to(visual.device)
    return [own * x + (1 - own) * x[other] for x in (visual, audio)]
