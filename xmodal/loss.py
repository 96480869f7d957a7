"""The paper's objective (section 3), from embeddings, pairs and labels.

    L = cosine loss + λ · (CE(visual) + CE(audio)) + c/2 · ‖w‖²

Nothing here runs the network or draws. Fields of `LossConfig` are where the authors' code differs.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from xmodal.config import LossConfig
from xmodal.contrastive import contrastive_loss
from xmodal.model import Embeddings
from xmodal.negatives import Labels, Pairs


class Losses(NamedTuple):
    """L and its terms, scalars: ``classification`` is without λ; ``l2``'s gradient is Adam's."""

    total: Tensor
    cosine: Tensor
    classification: Tensor
    l2: Tensor


def objective(
    embedded: Embeddings,
    pairs: Pairs,
    labels: tuple[Labels, Labels],
    weights: Iterable[Tensor],
    class_weight: float,
    config: LossConfig,
    scale_and_bias: tuple[Tensor, Tensor] | None = None,
) -> Losses:
    """Return L of one batch, and its terms.

    ``labels`` are those of the videos and of the audio (not the same if ``swap_first`` moved it),
    ``weights`` the parameters w, and ``class_weight`` is λ: at 0 no logits are needed. Another
    objective takes the place of the cosine loss, with the ``scale_and_bias`` of `JointEmbedding`.
    """
    if config.objective == "paper":
        audio = embedded.audio.index_select(0, pairs.audio)  # its gradient has a fixed order
        cosine = (embedded.visual * audio).sum(dim=1)
        divisor = 1 - config.margin if config.scale_negatives else 1.0
        similarity = cosine_loss(cosine, pairs.negative, config.margin, divisor)
    else:
        similarity = contrastive_loss(embedded, config, scale_and_bias)
    classification = l2 = torch.zeros_like(similarity)
    if class_weight:
        assert embedded.visual_logits is not None and embedded.audio_logits is not None
        visual = cross_entropy(embedded.visual_logits, labels[0], config.mean_over_classes).mean()
        audio = cross_entropy(embedded.audio_logits, labels[1], config.mean_over_classes).mean()
        classification = (visual + audio).sqrt() if config.sqrt_cross_entropy else visual + audio
    if config.weight_l2:
        norms = [w.detach().norm() for w in weights if w.ndim > 1]  # section 2 names no biases
        l2 = config.weight_l2 / 2 * torch.stack(norms).square().sum()
    return Losses(similarity + class_weight * classification + l2, similarity, classification, l2)


def cosine_loss(
    cosine: Tensor, negative: Tensor, margin: float = 0.2, divisor: float = 1.0
) -> Tensor:
    """Return the mean of 1 − cos over positive pairs and max(0, cos − α) over negative ones.

    ``cosine`` float32, ``negative`` bool, (pairs,); the authors' code divides negatives by 1 − α.
    """
    pull = 1 - cosine
    push = (cosine - margin).clamp_min(0) / divisor
    return torch.where(negative, push, pull).mean()


def cross_entropy(logits: Tensor, labels: Labels, mean_over_classes: bool = False) -> Tensor:
    """Return each clip's sigmoid cross entropy, float32 (clips,), of logits (clips, classes).

    Summed over classes as in the authors' code; the text does not say. A clip without labels is one
    whose labels are not known: it adds nothing. As −log σ(x) = softplus(x) − x, only a clip's own
    logits are taken off, and no dense targets are made.
    """
    own = logits[labels.rows(), labels.indices]
    each = functional.softplus(logits).sum(dim=1).index_add(0, labels.rows(), own, alpha=-1)
    known = labels.indptr.diff() > 0
    return torch.where(known, each / logits.shape[1] if mean_over_classes else each, 0)
