"""Ideas beyond the recipe, tried on validation clips: what each gains, seed by seed.

    python benchmarks/ideas.py FEATURES WORK [--seeds 0 1 2] [--ideas soft queue ...]

All models see half as many training clips as the recipe's study, as often each. A model's score is
its recall on validation clips with the weights of its last step; evaluation clips are not looked
at. Weights are kept in WORK, so that more ideas or seeds can follow, and the results go to
`benchmarks/ideas.json` and `.md`.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from accelerate.utils import set_seed
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from xmodal.checkpoint import build_model
from xmodal.config import TrainConfig
from xmodal.contrastive import info_nce, triplet_loss
from xmodal.data.batches import Batches, Drawn
from xmodal.data.features import open_features
from xmodal.data.statistics import moments, whitener
from xmodal.evaluation.cca import embed_cca, fit_cca
from xmodal.evaluation.recall import ensemble, recall_frame
from xmodal.model import Embeddings, JointEmbedding
from xmodal.negatives import Labels
from xmodal.train import learning_rate, make_optimiser, with_steps

HERE = Path(__file__).parent
CLIPS, PASSES, LONGER = 13_786, 20.05, 40.0
RIDGE = 0.1
TEACHERS = 3


class Idea(NamedTuple):
    """A change of the recipe: what a table says, settings, and what the loss is made of."""

    about: str
    change: Mapping[str, Any] = MappingProxyType({})
    loss: str = "plain"
    whiten: bool = False


IDEAS = {
    "recipe": Idea("the recipe"),
    "soft": Idea("a tenth of the target on clips with the same labels", loss="soft"),
    "masked": Idea("clips with the same labels are no negatives", loss="masked"),
    "whitened": Idea("features whitened, ridge 0.1", whiten=True),
    "queue": Idea("the last 4 batches as further negatives", loss="queue"),
    "distilled": Idea("half of the target from three joined models", loss="distilled"),
    "triplet": Idea("hardest-negative triplet for InfoNCE", {"objective": "triplet"}, "triplet"),
    "longer": Idea("twice as many passes", {"passes": LONGER}),
    "longer_mixup": Idea("twice as many passes, mixup α = 4", {"passes": LONGER, "mixup": 4.0}),
    "mixup": Idea("mixup α = 4", {"mixup": 4.0}),
    "distilled_longer": Idea(
        "half of the target from three joined models, twice as many passes",
        {"passes": LONGER},
        "distilled",
    ),
}


def same_labels(drawn: Drawn) -> Tensor:
    """Tell which clips of a batch carry just the same labels: bool, (clips, clips)."""
    labels = Labels(*drawn.labels)
    counts = labels.indptr.diff()
    incidence = torch.zeros(len(counts), int(labels.indices.max()) + 1)
    incidence[labels.rows(), labels.indices] = 1
    shared = incidence @ incidence.T
    return (shared == counts) & (shared == counts[:, None])


class Objective:
    """The loss of an idea; holds the queue of past embeddings, or the joined teachers."""

    def __init__(self, idea: Idea, teachers: list[JointEmbedding]) -> None:
        self.kind, self.teachers = idea.loss, teachers
        self.past: list[tuple[Tensor, Tensor]] = []

    def __call__(self, embedded: Embeddings, drawn: Drawn) -> Tensor:
        """Return the mean of both directions."""
        match = torch.arange(len(drawn.visual))
        terms = [
            self.one_way(embedded, drawn, match, query, gallery)
            for query, gallery in ((0, 1), (1, 0))
        ]
        if self.kind == "queue":
            self.past = [(embedded.visual.detach(), embedded.audio.detach()), *self.past][:4]
        return (terms[0] + terms[1]) / 2

    def one_way(
        self, embedded: Embeddings, drawn: Drawn, match: Tensor, query: int, gallery: int
    ) -> Tensor:
        """Return the loss of choosing among the items of one modality for those of the other."""
        items = embedded[gallery]
        if self.kind == "queue":
            items = torch.cat([items, *(past[gallery] for past in self.past)])
        cosine = embedded[query] @ items.T
        if self.kind == "triplet":
            return triplet_loss(cosine, match)
        logits = cosine * embedded.scale
        if self.kind == "masked":
            others = same_labels(drawn).fill_diagonal_(False)
            return info_nce(logits.masked_fill(others, -torch.inf), match)
        if self.kind == "soft":
            same = same_labels(drawn).float()
            target = 0.9 * torch.eye(len(same)) + 0.1 * same / same.sum(dim=1, keepdim=True)
            return functional.cross_entropy(logits, target)
        if self.kind == "distilled":
            with torch.no_grad():
                taught = [teacher(drawn.visual, drawn.audio) for teacher in self.teachers]
                means = sum(one[query] @ one[gallery].T * one.scale for one in taught)
                target = (means / len(taught)).softmax(dim=1)
            return (info_nce(logits, match) + functional.cross_entropy(logits, target)) / 2
        return info_nce(logits, match)


Both = tuple[np.ndarray, np.ndarray]


def inputs(idea: Idea, told: argparse.Namespace) -> Callable[[Both], Both]:
    """Return what an idea makes of visual and audio features before the network sees them."""
    if not idea.whiten:
        return lambda both: both
    train = moments(open_features(told.features, "train"), CLIPS)
    means = np.float32(train.visual_mean), np.float32(train.audio_mean)
    maps = [np.float32(whitener(covariance, RIDGE)) for covariance in (train.visual, train.audio)]

    def whiten(both: Both) -> Both:
        visual, audio = ((x - mean) @ m for x, mean, m in zip(both, means, maps, strict=True))
        return visual, audio

    return whiten


def fit(name: str, seed: int, told: argparse.Namespace) -> JointEmbedding:
    """Train one model, or load it where it is there."""
    idea, file = IDEAS[name], told.work / f"{name}-{seed}.safetensors"
    given = {"recipe": "best", "training_clips": CLIPS, "passes": PASSES, **idea.change}
    config = with_steps(TrainConfig(features=told.features, seed=seed, **given))
    set_seed(seed)
    batches = Batches(config, torch.device("cpu"))
    model = build_model(config, batches.sizes)
    if file.exists():
        model.load_state_dict(load_file(file))
        return model.eval()
    teachers = [fit("recipe", 100 + s, told) for s in range(TEACHERS * (idea.loss == "distilled"))]
    set_seed(seed)
    prepared = inputs(idea, told)
    visual, audio = prepared(batches.spread())
    model.visual_scaler.fit(visual)
    model.audio_scaler.fit(audio)
    optimiser, loss = make_optimiser(model, config), Objective(idea, teachers)
    for step in range(config.steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(config, step)
        drawn = batches(step)
        seen = prepared((drawn.visual.numpy(), drawn.audio.numpy()))
        value = loss(model(*map(torch.from_numpy, seen)), drawn)
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimiser.step()
    save_file(model.state_dict(), file)
    return model.eval()


def embed(name: str, seed: int, told: argparse.Namespace) -> Embeddings:
    """Embed the validation clips."""
    model, clips = fit(name, seed, told), open_features(told.features, "validation")
    both = np.asarray(clips.visual, np.float32), np.asarray(clips.audio, np.float32)
    return model.embed(*inputs(IDEAS[name], told)(both))


def score(embedded: Embeddings, told: argparse.Namespace) -> dict[str, float]:
    """Return recall on validation clips that are not silent, the mean of both directions."""
    clips = open_features(told.features, "validation")
    keep = ~clips.silent
    frame = recall_frame([embedded], (1024, int(keep.sum())), keep, resamples=0)
    means = frame.groupby(["gallery", "k"])["recall"].mean()
    return {f"R@{k}, N = {size:,}": float(value) for (size, k), value in means.items()}


def measure(told: argparse.Namespace) -> pd.DataFrame:
    """Train what is missing and score it; one row an idea and seed, those of joined models too."""
    rows, found = [], {}
    for seed in told.seeds:
        for name in told.ideas:
            if told.kept and not (told.work / f"{name}-{seed}.safetensors").exists():
                continue
            found[name, seed] = embed(name, seed, told)
            rows.append({"idea": IDEAS[name].about, "seed": seed, **score(found[name, seed], told)})
            print(rows[-1], flush=True)
    train, validation = (open_features(told.features, split) for split in ("train", "validation"))
    linear = embed_cca(fit_cca(moments(train, CLIPS), 0.3), validation, 1.0)
    for left, right in combinations(told.seeds, 2):
        for about, members in (
            ("two of the recipe joined", [("recipe", left), ("recipe", right)]),
            ("recipe and triplet joined", [("recipe", left), ("triplet", right)]),
            ("two distilled joined", [("distilled", left), ("distilled", right)]),
        ):
            if all(member in found for member in members):
                one = ensemble([found[member] for member in members])
                rows.append({"idea": about, "seed": f"{left}, {right}", **score(one, told)})
    for seed in told.seeds:
        if ("recipe", seed) in found:
            weighted = [found["recipe", seed]] * 4 + [linear]
            rows.append(
                {
                    "idea": "the recipe joined with CCA, 4 to 1",
                    "seed": seed,
                    **score(ensemble(weighted), told),
                }
            )
    return pd.DataFrame(rows)


def table(frame: pd.DataFrame) -> str:
    """Return means and standard deviations over seeds, as Markdown."""
    measures = [column for column in frame if column.startswith("R@")]
    grouped = frame.groupby("idea", sort=False)[measures]
    mean, deviation = grouped.mean(), grouped.std()
    shown = mean.copy().astype(object)
    for column in measures:
        pairs = zip(mean[column], deviation[column], strict=True)
        shown[column] = [f"{m:.1f}" + (f" ± {d:.1f}" if d == d else "") for m, d in pairs]
    shown.insert(0, "runs", grouped.size())
    return shown.reset_index().to_markdown(index=False)


PAGE = """\
# Ideas beyond the recipe

What each changes, on {clips:,} training clips seen {passes:g} times (twice as often where it says
so). Recall in percent on *validation* clips that are not silent, mean of both directions, with the
weights of the last step; ± standard deviation where there are several runs. Evaluation clips were
not looked at. What is joined shares its runs with the lines above.

{table}

None of them is in the recipe. A line of a single run can tell what hurts, but not a gain of some
tenths of a point. Made by `python benchmarks/ideas.py FEATURES WORK`; the [numbers](ideas.json) of
each run are beside this page.
"""


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ideas", nargs="+", default=list(IDEAS), choices=list(IDEAS))
    parser.add_argument("--kept", action="store_true", help="train nothing: what is in WORK alone")
    told = parser.parse_args()
    told.work.mkdir(parents=True, exist_ok=True)
    frame = measure(told)
    data = open_features(told.features, "validation").fingerprint
    written = {"validation_data": data, "clips": CLIPS, "rows": frame.to_dict("records")}
    (HERE / "ideas.json").write_text(json.dumps(written, indent=2) + "\n")
    page = PAGE.format(clips=CLIPS, passes=PASSES, table=table(frame))
    (HERE / "ideas.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
