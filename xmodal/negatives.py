"""Pairs of a batch: which are negative, and how the audio of these is drawn (section 3)."""

from typing import NamedTuple

import torch
from torch import Tensor


class Labels(NamedTuple):
    """The labels of a batch: clip i carries ``indices[indptr[i]:indptr[i + 1]]``; both int64."""

    indptr: Tensor
    indices: Tensor

    def rows(self) -> Tensor:
        """Return the clip that each entry of ``indices`` belongs to: int64, (labels,)."""
        counts = self.indptr.diff()
        return torch.arange(len(counts), device=counts.device).repeat_interleave(counts)


class Pairs(NamedTuple):
    """Which audio each video is compared with: ``audio`` int64 and ``negative`` bool, (clips,)."""

    audio: Tensor
    negative: Tensor


def draw_pairs(labels: Labels, p_negative: float, generator: torch.Generator) -> Pairs:
    """Make each clip of a batch a positive pair, or with ``p_negative`` a negative one.

    The audio of a negative pair is another clip's of the batch, drawn uniformly among those that
    share no label with the video: the authors' code, the text is silent. Where there is none, the
    pair stays positive (our choice). The generator is one of the CPU, so any device draws the same.
    """
    device, clips = labels.indptr.device, len(labels.indptr) - 1
    present, column = labels.indices.unique(return_inverse=True)
    carries = torch.zeros(clips, len(present), device=device)
    carries[labels.rows(), column] = 1
    candidates = (carries @ carries.T == 0).fill_diagonal_(False)  # no label shared, not itself
    nth = candidates.cumsum(dim=1, dtype=torch.int32)
    count = nth[:, -1].cpu()

    chance, choice = torch.rand(2, clips, dtype=torch.float64, generator=generator)
    negative = (chance < p_negative) & (count > 0)
    chosen = (choice * count).int() + 1  # from 1 to count
    other = torch.searchsorted(nth, chosen.to(device)[:, None]).squeeze(1)
    negative, own = negative.to(device), torch.arange(clips, device=device)
    return Pairs(torch.where(negative, other, own), negative)
