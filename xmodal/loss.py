"""The paper's objective (section 3): a cosine loss with a margin, classification, and L2.

Where the authors' code differs from the text, a switch of the configuration says so.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Module, functional

from xmodal.config import LossConfig
from xmodal.contrastive import contrastive_loss
from xmodal.model import Embeddings
from xmodal.negatives import Labels, Pairs, Peers, draw_pairs


class Batch(NamedTuple):
    """A step's features, float32 (clips, visual_dim) and (clips, audio_dim), and labels.

    ``generator`` draws the negatives, the same in each of the processes, ``peers``.
    """

    visual: Tensor
    audio: Tensor
    labels: Labels
    peers: Peers
    generator: torch.Generator


class Losses(NamedTuple):
    """The objective and its terms, scalars; ``l2`` has no gradient: see `l2_groups`."""

    total: Tensor
    cosine: Tensor
    classification: Tensor
    l2: Tensor


def cosine_loss(
    cosine: Tensor, negative: Tensor, margin: float = 0.2, divisor: float = 1.0
) -> Tensor:
    """Return the mean of 1 − cos over positive pairs and max(0, cos − α) over negative ones.

    ``cosine`` is float32, ``negative`` bool, both (pairs,). The authors' code divides the negative
    term by 1 − α.
    """
    pull = 1 - cosine
    push = (cosine - margin).clamp_min(0) / divisor
    return torch.where(negative, push, pull).mean()


def cross_entropy(logits: Tensor, labels: Labels, mean_over_classes: bool = False) -> Tensor:
    """Return each clip's sigmoid cross entropy, float32 (clips,), of logits (clips, classes).

    Summed over classes as in the authors' code; the text does not say. A clip without labels is one
    of which they are not known: it adds nothing.
    """
    targets = torch.zeros_like(logits)
    targets[labels.rows(), labels.indices] = 1
    each = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    known = labels.indptr.diff() > 0
    return torch.where(known, each.mean(dim=1) if mean_over_classes else each.sum(dim=1), 0)


def objective(model: Module, batch: Batch, step: int, config: LossConfig) -> Losses:
    """Return L = cosine loss + λ(step) · (CE(visual) + CE(audio)) + c/2 · ‖w‖² of one batch.

    ``model`` is a `JointEmbedding`, wrapped or not; λ is 0 before step ``class_start_step``.
    """
    weight = config.class_weight if step >= config.class_start_step else 0.0  # λ(step)
    pairs, audio = own_pairs(batch, config), batch.audio
    if config.swap_first:  # the authors' reader
        audio = batch.peers.gather(audio).index_select(0, pairs.audio)
    embedded = model(batch.visual, audio, classify=weight > 0)
    similarity = similarity_term(embedded, pairs, batch.peers, config)
    classification = torch.zeros_like(similarity)
    if weight:
        classification = classification_term(embedded, pairs, batch, config)
    l2 = l2_term(model, config.weight_l2)
    return Losses(similarity + weight * classification + l2, similarity, classification, l2)


def own_pairs(batch: Batch, config: LossConfig) -> Pairs:
    """Return the pairs of this process's clips; only the paper's objective has negative ones."""
    begin = batch.peers.begin
    mine = torch.arange(begin, begin + len(batch.visual), device=batch.visual.device)
    if config.objective != "paper":
        return Pairs(mine, torch.zeros_like(mine, dtype=torch.bool))
    drawn = draw_pairs(batch.peers.labels, config.p_negative, batch.generator)
    return Pairs(drawn.audio[mine], drawn.negative[mine])


def similarity_term(embedded: Embeddings, pairs: Pairs, peers: Peers, config: LossConfig) -> Tensor:
    """Return the paper's cosine loss, each video against one audio, or what stands in for it."""
    if config.objective != "paper":
        return contrastive_loss(embedded, pairs.audio, peers, config)
    audio = embedded.audio
    if not config.swap_first:  # index_select, not indexing: its gradient has a fixed order
        audio = peers.gather(audio).index_select(0, pairs.audio)
    cosine = (embedded.visual * audio).sum(dim=1)
    divisor = 1 - config.margin if config.scale_negatives else 1.0
    return cosine_loss(cosine, pairs.negative, config.margin, divisor)


def classification_term(
    embedded: Embeddings, pairs: Pairs, batch: Batch, config: LossConfig
) -> Tensor:
    """Return the sum of the cross entropies of both embeddings, the mean over clips."""
    assert embedded.visual_logits is not None and embedded.audio_logits is not None
    labels = batch.peers.labels.take(pairs.audio) if config.swap_first else batch.labels
    visual = cross_entropy(embedded.visual_logits, batch.labels, config.mean_over_classes)
    audio = cross_entropy(embedded.audio_logits, labels, config.mean_over_classes)
    both = visual.mean() + audio.mean()
    return both.sqrt() if config.sqrt_cross_entropy else both


@torch.no_grad()
def l2_term(model: Module, weight_l2: float) -> Tensor:
    """Return weight_l2 / 2 · ‖w‖² of all weights, without biases: section 2 names weights."""
    weights = [weight for weight in model.parameters() if weight.ndim > 1]
    if not weight_l2:
        return torch.zeros((), device=weights[0].device)
    return weight_l2 / 2 * torch.stack([w.norm().square() for w in weights]).sum()


def l2_groups(model: Module, decay: float) -> list[dict[str, Any]]:
    """Return optimiser groups whose ``weight_decay`` is for weights, not for biases.

    In Adam it adds decay · w to the gradient, that of `l2_term`; in AdamW it is no term of L.
    """
    weights = [weight for weight in model.parameters() if weight.ndim > 1]
    biases = [bias for bias in model.parameters() if bias.ndim < 2]
    return [{"params": weights, "weight_decay": decay}, {"params": biases, "weight_decay": 0.0}]
