"""The objectives: the paper's (section 3), and three of today's beside it.

The paper's is a cosine loss with a margin, classification its regulariser. The text leaves
questions open, and the authors' published code answers some of them differently from the text.
`Objective` follows the text by default; each difference is a switch of its own, and `VARIANTS`
names the two settings as a whole.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Module, functional

from xmodal.model import Embeddings


class Labels(NamedTuple):
    """The labels of a batch of clips as compressed sparse rows.

    Clip i carries ``indices[indptr[i]:indptr[i + 1]]``; both are int64, of shapes (clips + 1,) and
    (labels,).
    """

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


class Peers(NamedTuple):
    """The processes that train together, for negatives drawn from the clips of all of them.

    ``labels`` are those of all clips of the batch, process after process; ``begin`` is where this
    process's clips begin; ``gather`` joins the rows of a tensor from all processes in that order,
    and passes gradients back to where the rows came from.
    """

    labels: Labels
    begin: int
    gather: Callable[[Tensor], Tensor]


class Losses(NamedTuple):
    """The objective without its L2 term, and its parts before weighting; scalars.

    ``classification`` is 0 while λ is.
    """

    total: Tensor
    cosine: Tensor
    classification: Tensor


def cosine_loss(
    cosine: Tensor, negative: Tensor, margin: float = 0.2, scale_negatives: bool = False
) -> Tensor:
    """Return the mean of 1 − cos over positive pairs and max(0, cos − α) over negative ones.

    Parameters
    ----------
    cosine : Tensor, float32, (pairs,)
        Cosine similarity of each pair.
    negative : Tensor, bool, (pairs,)
        Which pairs are negative.
    margin : float
        α of section 3.1.
    scale_negatives : bool
        Divide the negative term by 1 − α (authors' code).
    """
    push = (cosine - margin).clamp_min(0)
    if scale_negatives:
        push = push / (1 - margin)
    return torch.where(negative, push, 1 - cosine).mean()


def cross_entropy(logits: Tensor, labels: Labels, mean_over_classes: bool = False) -> Tensor:
    """Return the sigmoid cross entropy of each clip over all classes: float32, (clips,).

    The text says cross entropy and no more; the sum over classes is the authors' reduction. At the
    text's λ = 0.02 the sum outweighs the cosine loss at first, and the mean is next to nothing.
    """
    targets = torch.zeros_like(logits)
    targets[labels.rows(), labels.indices] = 1
    each = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return each.mean(dim=1) if mean_over_classes else each.sum(dim=1)


def info_nce(logits: Tensor, match: Tensor) -> Tensor:
    """Return the cross entropy of choosing each clip's match among all candidates.

    InfoNCE (van den Oord et al., 2018), as in CLIP (Radford et al., 2021).

    Parameters
    ----------
    logits : Tensor, float32, (clips, candidates)
        Cosine similarities times a learned scale.
    match : Tensor, int64, (clips,)
        Which candidate is the clip's own.
    """
    return functional.cross_entropy(logits, match)


def sigmoid_loss(logits: Tensor, match: Tensor) -> Tensor:
    """Return the cross entropy of telling each pair as matching or not, summed over candidates.

    SigLIP (Zhai et al., 2023); arguments as for `info_nce`, the logits with a learned bias.
    """
    sign = 2 * functional.one_hot(match, logits.shape[1]) - 1
    return -functional.logsigmoid(sign * logits).sum(dim=1).mean()


def triplet_loss(cosine: Tensor, match: Tensor, margin: float = 0.2) -> Tensor:
    """Return how far the hardest other candidate comes within a margin of the match.

    VSE++ (Faghri et al., 2018); arguments as for `info_nce`, but plain cosines.
    """
    own = functional.one_hot(match, cosine.shape[1]).bool()
    hardest = cosine.masked_fill(own, -torch.inf).amax(dim=1)
    return (margin + hardest - (cosine * own).sum(dim=1)).clamp_min(0).mean()


def l2_term(model: Module, weight_l2: float) -> float:
    """Return weight_l2 / 2 · ‖w‖² of all weights, without biases: section 2 names weights."""
    weights = [weight for weight in model.parameters() if weight.ndim > 1]
    return weight_l2 / 2 * sum(weight.detach().square().sum().item() for weight in weights)


def l2_groups(model: Module, weight_l2: float) -> list[dict[str, Any]]:
    """Return optimiser groups that add the gradient of `l2_term`.

    In Adam (not AdamW) ``weight_decay`` adds weight_l2 · w to the gradient of w, which is that
    gradient, without a pass over all weights in every step.
    """
    weights = [weight for weight in model.parameters() if weight.ndim > 1]
    biases = [bias for bias in model.parameters() if bias.ndim < 2]
    return [
        {"params": weights, "weight_decay": weight_l2},
        {"params": biases, "weight_decay": 0.0},
    ]


def draw_pairs(labels: Labels, p_negative: float, generator: torch.Generator) -> Pairs:
    """Make each clip of a batch a positive pair, or with ``p_negative`` a negative one.

    The audio of a negative pair is another clip's of the batch, drawn uniformly among those that
    share no label with the video. Where there is none, the pair stays positive (our choice).

    Parameters
    ----------
    labels : Labels
        Labels of the batch.
    p_negative : float
        Fraction of pairs made negative, 0.6 in section 3.1.
    generator : torch.Generator
        Source of randomness, on the CPU: the same draws on every device.
    """
    device, clips = labels.indptr.device, len(labels.indptr) - 1
    present, column = labels.indices.unique(return_inverse=True)
    incidence = torch.zeros(clips, len(present), device=device)
    incidence[labels.rows(), column] = 1

    # drawn in double precision on the CPU, which some devices do not know: the same on all of them
    chance, choice = torch.rand(2, clips, dtype=torch.float64, generator=generator)
    chosen = (chance < p_negative).nonzero().squeeze(1)
    drawn = chosen.to(device)
    strangers = incidence[drawn] @ incidence.T == 0
    strangers[torch.arange(len(drawn), device=device), drawn] = False
    count = strangers.sum(dim=1)
    nth = (choice[chosen] * count.cpu()).int().to(device) + 1
    swapped = (strangers.cumsum(dim=1, dtype=torch.int32) == nth[:, None]).byte().argmax(dim=1)

    audio = torch.arange(clips, device=device)
    negative = torch.zeros(clips, dtype=torch.bool, device=device)
    negative[drawn] = count > 0
    audio[drawn] = torch.where(count > 0, swapped, drawn)
    return Pairs(audio, negative)


@dataclass(frozen=True)
class Objective:
    """What is minimised: similarity + λ · cross entropy (sections 3 and 3.1).

    The similarity term is the paper's cosine loss over pairs, or one that compares each clip with
    all candidates of the batch, in both directions. L2 on all weights is the optimiser's: see
    `l2_groups`.

    Parameters
    ----------
    objective : "paper", "infonce", "sigmoid" or "triplet"
        The similarity term: `cosine_loss`, `info_nce`, `sigmoid_loss` or `triplet_loss`.
    margin : float
        α, of the paper's term and of the triplets.
    p_negative : float
        Fraction of negative pairs in the paper's term.
    class_weight : float
        λ once it is switched on.
    class_start_step : int
        Optimisation steps made with λ = 0.
    mean_over_classes : bool
        See `cross_entropy`.
    scale_negatives, sqrt_cross_entropy, swapped_labels : bool
        The authors' differences from the text, see `VARIANTS`.
    """

    objective: str = "paper"
    margin: float = 0.2
    p_negative: float = 0.6
    class_weight: float = 0.02
    class_start_step: int = 10_000
    mean_over_classes: bool = False
    scale_negatives: bool = False
    sqrt_cross_entropy: bool = False
    swapped_labels: bool = False

    def __call__(
        self,
        model: Module,
        visual: Tensor,
        audio: Tensor,
        labels: Labels,
        step: int,
        generator: torch.Generator,
        peers: Peers | None = None,
    ) -> Losses:
        """Return the objective on one batch.

        Parameters
        ----------
        model : Module
            `xmodal.model.JointEmbedding`, or a data-parallel wrapper of it.
        visual, audio : Tensor, float32, (clips, visual_dim) and (clips, audio_dim)
            Features of the batch; row i of both belongs to clip i.
        labels : Labels
            Labels of the batch.
        step : int
            Optimisation steps made so far.
        generator : torch.Generator
            Draws the negatives.
        peers : Peers, optional
            Compare with the clips of all processes; the generator is then the same in each. Not
            given: with those of this batch.
        """
        peers = peers or Peers(labels, 0, lambda rows: rows)
        classify = self.class_weight > 0 and step >= self.class_start_step
        embedded = model(visual, audio, classify)
        mine = torch.arange(peers.begin, peers.begin + len(visual), device=visual.device)
        if self.objective == "paper":
            drawn = draw_pairs(peers.labels, self.p_negative, generator)
            pairs = Pairs(drawn.audio[mine], drawn.negative[mine])
            similarity = self.paired(embedded, pairs, peers)
        else:
            pairs = Pairs(mine, torch.zeros_like(mine, dtype=torch.bool))
            similarity = self.contrasted(embedded, mine, peers)
        if not classify:
            return Losses(similarity, similarity, torch.zeros_like(similarity))

        visual_entropy, audio_entropy = (
            cross_entropy(logits, labels, self.mean_over_classes)
            for logits in (embedded.visual_logits, embedded.audio_logits)
        )
        if self.swapped_labels:
            audio_entropy = peers.gather(audio_entropy).index_select(0, pairs.audio)
        classification = visual_entropy.mean() + audio_entropy.mean()
        if self.sqrt_cross_entropy:
            classification = classification.sqrt()
        total = similarity + self.class_weight * classification
        return Losses(total, similarity, classification)

    def paired(self, embedded: Embeddings, pairs: Pairs, peers: Peers) -> Tensor:
        """Return the paper's term: each video against the one audio it is paired with."""
        # index_select, not indexing: its gradient is summed in a fixed order
        audio = peers.gather(embedded.audio).index_select(0, pairs.audio)
        cosine = (embedded.visual * audio).sum(dim=1)
        return cosine_loss(cosine, pairs.negative, self.margin, self.scale_negatives)

    def contrasted(self, embedded: Embeddings, match: Tensor, peers: Peers) -> Tensor:
        """Return the mean over both directions of a term that looks at all candidates."""
        terms = []
        for query, gallery in (embedded[:2], embedded[1::-1]):
            cosine = query @ peers.gather(gallery).T
            if self.objective == "triplet":
                terms.append(triplet_loss(cosine, match, self.margin))
                continue
            assert embedded.scale is not None and embedded.bias is not None, "no temperature"
            logits = cosine * embedded.scale
            if self.objective == "sigmoid":
                terms.append(sigmoid_loss(logits + embedded.bias, match))
            else:
                terms.append(info_nce(logits, match))
        return (terms[0] + terms[1]) / 2
