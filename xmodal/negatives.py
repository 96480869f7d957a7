"""Pairs of a batch: which are negative, and how the audio of these is drawn (section 3)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag


class Labels(NamedTuple):
    """The labels of a batch: clip i carries ``indices[indptr[i]:indptr[i + 1]]``; both int64."""

    indptr: Tensor
    indices: Tensor

    def rows(self) -> Tensor:
        """Return the clip that each entry of ``indices`` belongs to: int64, (labels,)."""
        counts = self.indptr.diff()
        return torch.arange(len(counts), device=counts.device).repeat_interleave(counts)

    def take(self, clips: Tensor) -> "Labels":
        """Return the labels of some clips, int64, in their order."""
        counts = self.indptr.diff()[clips]
        indptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        shift = (self.indptr[clips] - indptr[:-1]).repeat_interleave(counts)
        return Labels(indptr, self.indices[torch.arange(len(shift), device=shift.device) + shift])


class Pairs(NamedTuple):
    """Which audio each video is compared with: ``audio`` int64 and ``negative`` bool, (clips,)."""

    audio: Tensor
    negative: Tensor


class Peers(NamedTuple):
    """The processes that train together, for candidates taken from the clips of all of them.

    ``labels`` are those of the whole batch, process after process, of which this one's begin at
    ``begin``; ``gather`` joins rows of all processes in that order, and passes gradients back.
    """

    labels: Labels
    begin: int = 0
    gather: Callable[[Tensor], Tensor] = lambda rows: rows


def draw_pairs(labels: Labels, p_negative: float, generator: torch.Generator) -> Pairs:
    """Make each clip of a batch a positive pair, or with ``p_negative`` a negative one.

    The audio of a negative pair is another clip's of the batch, drawn uniformly among those that
    share no label with the video: the authors' code, the text is silent. Where there is none, the
    pair stays positive (our choice). A generator of the CPU gives every device the same draws.
    """
    device, clips = labels.indptr.device, len(labels.indptr) - 1
    present, column = labels.indices.unique(return_inverse=True)
    carriers = torch.zeros(max(1, len(present)), clips, device=device)
    carriers[column, labels.rows()] = 1

    chance, choice = torch.rand(2, clips, dtype=torch.float64, generator=generator)
    chosen = (chance < p_negative).nonzero().squeeze(1)
    drawn = chosen.to(device)
    own = Labels(labels.indptr, column).take(drawn)
    shared = embedding_bag(own.indices, carriers, own.indptr[:-1], mode="sum")  # labels: each pair
    shared[torch.arange(len(drawn), device=device), drawn] = 1
    nth = (shared == 0).cumsum(dim=1, dtype=torch.int32)
    count = nth[:, -1]
    place = (choice[chosen] * count.cpu()).int().to(device) + 1
    swapped = torch.searchsorted(nth, place[:, None]).squeeze(1)

    audio = torch.arange(clips, device=device)
    negative = torch.zeros(clips, dtype=torch.bool, device=device)
    negative[drawn] = count > 0
    audio[drawn] = torch.where(count > 0, swapped, drawn)
    return Pairs(audio, negative)
