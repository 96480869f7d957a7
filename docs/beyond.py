"""Train what else might lift recall: the recipe on all training clips, with one thing changed.

    python docs/beyond.py train FEATURES RUNS NAME SEED     trains RUNS/NAME-seedSEED
    python docs/beyond.py measure FEATURES RUNS TABLE       measures what is there, and ensembles

Two of the changes are no setting of the package, since they do not pay; they are written here. A
NAME that ends in _all is trained on a feature set whose training clips hold the validation clips.
"""

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

import xmodal.checkpoint
import xmodal.train
from xmodal.config import TrainConfig
from xmodal.data.features import SPLITS, FeatureSet, open_features
from xmodal.data.statistics import moments
from xmodal.evaluation.cca import embed_cca, fit_cca, lift
from xmodal.evaluation.hubness import attraction, corrected
from xmodal.evaluation.recall import embed_run, ensemble, mean_recall, rank_frame, recall_of
from xmodal.fourier import FourierFeatures
from xmodal.loss import Losses
from xmodal.model import Branch, Embeddings, JointEmbedding

WIDE = {"visual_hidden": (4096,), "audio_hidden": (4096,), "embedding_dim": 512}
CHANGES = {
    "recipe": {},
    "wide": WIDE,
    "wide_dropout": WIDE | {"dropout": 0.7, "dropout_input": 0.3},
    "wide_all": WIDE,
    "labels": {},
    "skip": {},
}
ABOUT = {
    "wide_dropout": "wide recipe with dropout of 0.7 and 0.3",
    "wide_all": "wide recipe trained on the validation clips, too",
    "wide": "wide recipe",
    "labels": "clips that share labels as further positives",
    "skip": "linear skip connection that starts from CCA",
    "recipe": "recipe",
}
SHARPNESS, KERNEL_WEIGHTS = 14.0, (0.125, 0.25, 0.5)
"""Of the hubness correction, whose weight is 1 (what notebook 06 chose), and of kernel CCA."""
SHARED = 0.2
"""Of the target's odds, the part that goes to clips sharing labels; the match has the rest."""


def with_shared_labels(embedded, pairs, labels, weights, class_weight, config, scale_and_bias):
    """InfoNCE whose target gives a share of the odds to the clips of the batch that share labels.

    They are given it in proportion to the Jaccard index of both clips' labels.
    """
    scale, _ = scale_and_bias
    of_clip = torch.zeros(len(embedded.visual), 4000)
    of_clip[labels[0].rows(), labels[0].indices] = 1
    both = of_clip @ of_clip.T
    either = of_clip.sum(dim=1, keepdim=True) + of_clip.sum(dim=1) - both
    jaccard = (both / either.clamp_min(1)).fill_diagonal_(0)
    total = jaccard.sum(dim=1, keepdim=True)
    share = SHARED * (total > 0)
    target = share * jaccard / total.clamp_min(1e-9) + (1 - share) * torch.eye(len(jaccard))
    cosine = scale * embedded.visual @ embedded.audio.T
    ways = (nn.functional.cross_entropy(logits, target) for logits in (cosine, cosine.T))
    similarity = sum(ways) / 2
    zero = torch.zeros_like(similarity)
    return Losses(similarity, similarity, zero, zero)


class Skip(nn.Module):
    """A branch, and beside it a linear map that starts as CCA: their outputs are added."""

    def __init__(self, branch: Branch, linear: nn.Linear) -> None:
        super().__init__()
        self.branch, self.linear = branch, linear

    def forward(self, values: Tensor) -> Tensor:
        return self.branch(values) + self.linear(values)


def with_skip(features: Path):
    """Return a builder of models whose branches have a skip connection that starts from CCA."""
    train = open_features(features, "train")
    fitted = fit_cca(moments(train), 0.1)
    plain = xmodal.checkpoint.build_model

    def build(config, sizes) -> JointEmbedding:
        model = plain(config, sizes)
        for name in ("visual", "audio"):
            side = torch.from_numpy((getattr(fitted, name) * fitted.correlation).T).float()
            values = np.asarray(getattr(train, name)[:4096], np.float32)
            scale = float(values.std(axis=0).mean())  # the branch sees features divided by it
            linear = nn.Linear(side.shape[1], config.embedding_dim)
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
            with torch.no_grad():
                linear.weight[: len(side)] = scale * side
            setattr(model, name, Skip(getattr(model, name), linear))
        return model

    return build


def prepare(name: str, features: Path) -> None:
    """Put in place what a change needs that is no setting."""
    if name == "labels":
        xmodal.train.objective = with_shared_labels
    if name == "skip":
        xmodal.train.build_model = xmodal.checkpoint.build_model = with_skip(features)


@cache
def clips(features: Path) -> tuple[FeatureSet, FeatureSet, FeatureSet]:
    """Return validation and evaluation clips, and the bank: every fifth training clip."""
    train, validation, evaluation = (open_features(features, split) for split in SPLITS)
    return validation, evaluation, train.take(np.arange(0, len(train), 5))


Member = tuple[Embeddings, ...]  # of what `clips` returns


@cache
def network(features: Path, run: Path) -> Member:
    """Embed all clips with a run."""
    plain = xmodal.checkpoint.build_model
    prepare(run.name.partition("-seed")[0], features)
    try:
        return tuple(embed_run(run, some) for some in clips(features))
    finally:
        xmodal.checkpoint.build_model = plain


@cache
def kernel(features: Path, visual: Sequence[float], audio: Sequence[float], size: int) -> Member:
    """Embed all clips by kernel CCA with ``size`` random features for each pair of widths."""
    train = open_features(features, "train")
    plain, both = moments(train), []
    for offset, widths in enumerate((visual, audio)):
        mean = (plain.visual_mean, plain.audio_mean)[offset]
        covariance = (plain.visual, plain.audio)[offset]
        drawn = [
            FourierFeatures.draw(mean, covariance, width, size // len(widths), 2 * seed + offset)
            for seed, width in enumerate(widths)
        ]
        joined = FourierFeatures(len(mean), size)
        joined.load_state_dict(
            drawn[0].state_dict()
            | {"directions": torch.cat([one.directions for one in drawn], dim=1)}
            | {"phases": torch.cat([one.phases for one in drawn])}
        )
        both.append(joined)
    random = both[0], both[1]
    measured = moments(train, None, lambda *values: lift(random, *values))
    fitted = fit_cca(measured, 0.1, 256)._replace(random=random)
    return tuple(embed_cca(fitted, some, 1.0) for some in clips(features))


def tried(
    features: Path, members: Sequence[Member], weights: Sequence[float], hubs: bool
) -> tuple[float, dict[str, float]]:
    """Measure an ensemble: R@1 on validation clips, and recall on evaluation clips."""
    validation, evaluation, _ = clips(features)
    both = [ensemble([member[i] for member in members], weights) for i in range(3)]
    bank = both.pop()
    if hubs:
        both = [corrected(x, attraction(x, bank, SHARPNESS), 1.0) for x in both]
    score = mean_recall(both[0], validation, cosine=False)
    everything = int((~evaluation.silent).sum())
    ranked = rank_frame(both[1:], [1024, everything], ~evaluation.silent, cosine=False)
    found = recall_of(ranked, resamples=2).groupby(["gallery", "k"])["recall"].mean()
    return score, {f"R@{k}, N = {n:,}": recall for (n, k), recall in found.items()}


def with_kernel(
    features: Path,
    networks: Sequence[Member],
    beside: Member,
    weights: Sequence[float] = KERNEL_WEIGHTS,
) -> dict[str, float]:
    """Add kernel CCA to networks with the weight that validation clips choose; correct hubs."""
    shares = [1 / len(networks)] * len(networks)
    found = [tried(features, [*networks, beside], [*shares, w], True) for w in weights]
    score, recalls = max(found, key=lambda one: one[0])
    return {"validation R@1": score} | recalls


def weighted(features: Path, members: Sequence[Member]) -> dict[str, float]:
    """Choose the weight of each member on validation clips, one after the other, twice."""
    weights = [1.0] * len(members)
    best, recalls = tried(features, members, weights, True)
    for place in [*range(len(members))] * 2:
        for weight in (0.0, 0.5, 2.0):
            other = [*weights[:place], weight, *weights[place + 1 :]]
            score, found = tried(features, members, other, True)
            if score > best:
                best, recalls, weights = score, found, other
    return {"validation R@1": best} | recalls


def measure(features: Path, runs: Path, members: Path) -> pd.DataFrame:
    """Measure every change alone, mean of its seeds, and then ensembles of them."""
    rows = list[dict[str, Any]]()
    beside = kernel(features, (0.6,), (1.0,), 3072)

    def add(what: str, networks: str, found: Sequence[dict[str, float]]) -> None:
        mean = pd.DataFrame(found).mean().to_dict()
        rows.append({"method": what, "networks": networks, "seeds": len(found)} | mean)
        print(rows[-1], flush=True)

    by_name = {"recipe": sorted(members.glob("member-seed*"))}
    for name in CHANGES:
        by_name.setdefault(name, sorted(runs.glob(f"{name}-seed*")))
    seen = {n: [network(features, run) for run in found[:5]] for n, found in by_name.items()}
    for name, networks in seen.items():
        weights = (0.25,) if name.endswith("_all") else KERNEL_WEIGHTS
        alone = [tried(features, [one], [1], False) for one in networks[:3]]
        add(ABOUT[name], "one", [{"validation R@1": score} | found for score, found in alone])
        both = [with_kernel(features, [one], beside, weights) for one in networks[:3]]
        add(f"{ABOUT[name]}, with kernel CCA, corrected", "one", both)
    kernels = {
        "two widths a modality": ((0.4, 0.8), (0.8, 1.2), 3072),
        "6,144 random features": ((0.6,), (1.0,), 6144),
    }
    for name, settings in kernels.items():
        other = kernel(features, *settings)
        both = [with_kernel(features, [one], other) for one in seen["recipe"][:3]]
        add(f"recipe, with kernel CCA of {name}, corrected", "one", both)
    seen.pop("wide_all", None)  # validation clips cannot choose with what was trained on them
    recipe, wide = seen["recipe"], seen["wide"]
    different = [networks[0] for networks in seen.values() if networks]
    ensembles = {
        "five of the recipe": recipe,
        "three wide ones": wide,
        "three wide ones and five of the recipe": wide + recipe,
        "a different one of each kind": different,
        "all networks": [one for networks in seen.values() for one in networks],
    }
    for name, networks in ensembles.items():
        found = with_kernel(features, networks, beside)
        add(f"{name}, with kernel CCA, corrected", str(len(networks)), [found])
    found = weighted(features, [*different, beside])
    add("a different one of each kind, weights chosen", str(len(different)), [found])
    frame = pd.DataFrame(rows)
    frame.loc[frame["method"].str.contains("validation clips"), "validation R@1"] = np.nan
    return frame


if __name__ == "__main__":
    command, features, runs = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if command == "train":
        name, seed = sys.argv[4], int(sys.argv[5])
        prepare(name, features)
        settings = {"recipe": "best", **CHANGES[name], "features": features, "seed": seed}
        out = {"out": runs / f"{name}-seed{seed}", "overwrite": True, "progress": "lines"}
        xmodal.train.train(TrainConfig(**settings, **out))
    else:
        measure(features, runs, Path(sys.argv[5])).to_csv(sys.argv[4], index=False)
