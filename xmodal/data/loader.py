"""Which clips make up each batch, and how they come from disk.

The order is a function of the seed and the step alone, so an interrupted training goes on in the
same order. A training set may be larger than memory. It is then read by *windows*: blocks of
neighbouring clips in random order, the clips of a window shuffled once more. While one window is
trained on, the next is read. A training set that fits into one window is shuffled uniformly.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from xmodal.data.features import FeatureSet, read_rows

BLOCK = 1024
"""Neighbouring clips that are read in one go, about a shard's worth (our choice)."""


@dataclass(frozen=True)
class Order:
    """The order of a training set's clips: ``seed`` decides it, ``window`` are shuffled together.

    The set is cut into as many parts as there are ``readers``. A batch has the same number of clips
    from each part, part after part, so that a process which takes its stretch of every batch reads
    only some of the parts. The order does not depend on how many processes there are.
    """

    seed: int
    clips: int
    batch_size: int
    readers: int = 1
    window: int = 65_536

    @property
    def epoch_steps(self) -> int:
        """Steps of an epoch; what it has beyond its last whole batch is left out of that epoch."""
        return self.clips // self.readers // (self.batch_size // self.readers)

    def window_steps(self, step: int) -> range:
        """Return the steps whose clips are read together with those of ``step``."""
        position, length = step % self.epoch_steps, max(1, self.window // self.batch_size)
        begin = step - position % length
        return range(begin, min(begin + length, step - position + self.epoch_steps))

    def rows(self, step: int) -> np.ndarray:
        """Return the clips of a step's batch: int64, (batch_size,); each once an epoch at most."""
        epoch, position = divmod(step, self.epoch_steps)
        share = self.batch_size // self.readers
        parts = _epoch_order(self, epoch)
        return np.concatenate([part[position * share :][:share] for part in parts])


@lru_cache(maxsize=2)  # the epoch that is trained on, and the one whose first window is read
def _epoch_order(order: Order, epoch: int) -> list[np.ndarray]:
    """Return the clips of each part in the order of an epoch."""
    bounds = np.linspace(0, order.clips, order.readers + 1).astype(int)
    steps = max(1, order.window // order.batch_size)
    window = steps * (order.batch_size // order.readers)
    parts = []
    for reader, (begin, end) in enumerate(pairwise(bounds)):
        rng = np.random.default_rng([order.seed, epoch, reader])
        rows = np.arange(begin, end)
        if len(rows) > window:
            blocks = np.split(rows, range(BLOCK, len(rows), BLOCK))
            rows = np.concatenate([blocks[b] for b in rng.permutation(len(blocks))])
        for start in range(0, len(rows), window):
            rng.shuffle(rows[start : start + window])
        parts.append(rows)
    return parts


class Reader:
    """One process's stretch of every batch, read a window ahead until ``steps`` are done."""

    def __init__(self, features: FeatureSet, order: Order, stretch: slice, steps: int) -> None:
        self.features, self.order, self.stretch, self.steps = features, order, stretch, steps
        self.thread = ThreadPoolExecutor(1)
        self.windows: dict[range, Future] = {}

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the clips of a step, and their features as stored, visual and audio."""
        now = self.order.window_steps(step)
        wanted = [now] + [self.order.window_steps(now.stop)] * (now.stop < self.steps)
        self.windows = {
            window: self.windows.get(window) or self.thread.submit(self._read, window)
            for window in wanted
        }
        clips, visual, audio = self.windows[now].result()
        rows = self.order.rows(step)[self.stretch]
        place = np.searchsorted(clips, rows)
        return rows, visual[place], audio[place]

    def _read(self, window: range) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        clips = np.sort(np.concatenate([self.order.rows(step)[self.stretch] for step in window]))
        visual, audio = (read_rows(x, clips) for x in (self.features.visual, self.features.audio))
        return clips, visual, audio


def batch_labels(features: FeatureSet, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of some clips as sparse rows: indptr and indices, int64."""
    labels = features.labels[rows]
    return labels.indptr.astype(np.int64), labels.indices.astype(np.int64)
