"""Not in the paper: objectives that compare each clip with all candidates of its batch."""

import torch
from torch import Tensor
from torch.nn import functional

from xmodal.config import LossConfig
from xmodal.model import Embeddings
from xmodal.negatives import Peers

# Each objective takes float32 (clips, candidates), and which candidate is the clip's own: int64
# (clips,). Logits are cosines times a learned scale, and for `sigmoid_loss` plus a learned bias.


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
    embedded: Embeddings, match: Tensor, peers: Peers, config: LossConfig
) -> Tensor:
    """Return the mean over both directions of the objective that the configuration names."""
    scale, bias = embedded.scale, embedded.bias
    terms = []
    for query, gallery in (embedded[:2], embedded[1::-1]):
        cosine = query @ peers.gather(gallery).T
        if config.objective == "triplet" or scale is None or bias is None:
            terms.append(triplet_loss(cosine, match, config.margin))
        elif config.objective == "sigmoid":
            terms.append(sigmoid_loss(cosine * scale + bias, match))
        else:
            terms.append(info_nce(cosine * scale, match))
    return (terms[0] + terms[1]) / 2
