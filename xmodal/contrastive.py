"""Not in the paper: objectives that compare each clip with all candidates of its batch."""

import torch
from torch import Tensor
from torch.nn import functional

from xmodal.config import InputError, LossConfig
from xmodal.model import Embeddings


# Each takes float32 (clips, candidates), and which candidate is the clip's own: int64 (clips,).
def info_nce(logits: Tensor, match: Tensor) -> Tensor:
    """Return the cross entropy of choosing the match: van den Oord et al., 2018; CLIP, 2021."""
    return functional.cross_entropy(logits, match)


def sigmoid_loss(logits: Tensor, match: Tensor) -> Tensor:
    """Return the cross entropy of judging each pair, summed over candidates: SigLIP, 2023."""
    sign = 2 * functional.one_hot(match, logits.shape[1]) - 1
    return -functional.logsigmoid(sign * logits).sum(dim=1).mean()


def triplet_loss(cosine: Tensor, match: Tensor, margin: float = 0.2) -> Tensor:
    """Return how far the hardest other candidate comes within a margin: VSE++, 2018."""
    own = functional.one_hot(match, cosine.shape[1]).bool()
    hardest = cosine.masked_fill(own, -torch.inf).amax(dim=1)
    return (margin + hardest - (cosine * own).sum(dim=1)).clamp_min(0).mean()


def contrastive_loss(
    embedded: Embeddings, config: LossConfig, scale_and_bias: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Return the mean over both directions; logits are cosines times a scale, plus a bias."""
    if config.objective != "triplet" and scale_and_bias is None:
        raise InputError(f"{config.objective} needs a model that is built with a temperature")
    scale, bias = scale_and_bias or (1.0, 0.0)
    match = torch.arange(len(embedded.visual), device=embedded.visual.device)
    one_way = {
        "infonce": lambda cosine: info_nce(scale * cosine, match),
        "sigmoid": lambda cosine: sigmoid_loss(scale * cosine + bias, match),
        "triplet": lambda cosine: triplet_loss(cosine, match, config.margin),
    }[config.objective]
    visual, audio = embedded.visual, embedded.audio
    return (one_way(visual @ audio.T) + one_way(audio @ visual.T)) / 2
