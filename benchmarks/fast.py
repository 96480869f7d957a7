"""How fast is what is done most, side by side with what it is made of and with other ways.

    python benchmarks/fast.py WORK [--parts ranks many negatives step start ...] [--rounds 7]

Ranks, drawing negatives, training steps, starting the command line, a whole batch, what a plain
step learns, and how cost grows with size. A part that is not named keeps the numbers it has in
`benchmarks/fast.json`; `fast.md`, which quotes them, and the figure `fast_slopes` are written
again. WORK holds feature sets, runs and a clone, which the batch runs in.
"""

import argparse
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import faiss
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from side_by_side import Times, in_turns, machine, ratio
from torch import Tensor, nn, profiler
from torch.nn.functional import binary_cross_entropy_with_logits, cosine_embedding_loss, normalize
from torchmetrics.functional.retrieval import retrieval_recall

from xmodal import loss
from xmodal import train as training
from xmodal.checkpoint import build_model
from xmodal.config import TrainConfig
from xmodal.data.features import FeatureSet, open_features
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.evaluation.recall import directions, embed_run
from xmodal.metrics import gallery_ranks, ranks, recall
from xmodal.model import Embeddings, JointEmbedding
from xmodal.negatives import Labels, draw_pairs
from xmodal.synthetic.sample import SampleConfig, write_sample
from xmodal_suite.explored import ExplorerConfig, explore
from xmodal_suite.figures import style
from xmodal_suite.figures.curves import band, curve, log_axes
from xmodal_suite.intervals import interval
from xmodal_suite.projection import draw_clips

HERE = Path(__file__).parent
EARLIER = HERE / "fast_epyc.json"
RATIOS = ("ranks", "many", "negatives", "step", "start", "batch")
PARTS = (*RATIOS, "shares", "recall", "slopes")
DIMENSION, CLASSES, BATCH, CLIPS = 250, 3862, 1024, 9000
LESS = 200  # queries of those ways that rank one query after the other


# --- ranks ---------------------------------------------------------------------------------------


def vectors(clips: int) -> tuple[Tensor, Tensor]:
    """Draw unit vectors of both modalities, the two of a clip near each other."""
    generator = torch.Generator().manual_seed(0)
    video = torch.randn(clips, DIMENSION, generator=generator)
    audio = torch.randn(clips, DIMENSION, generator=generator).mul_(3).add_(video)
    return normalize(video, dim=1, out=video), normalize(audio, dim=1, out=audio)


def multiply(query: Tensor, gallery: Tensor, tile: int = 1024) -> None:
    """Make the bare product, in parts, or memory would not hold it."""
    for rows in query.split(tile):
        for columns in gallery.split(tile):
            rows @ columns.T


def rank_ways(clips: int, some: int) -> dict[str, tuple[Callable[[], Any], float]]:
    """Return ways to rank both directions, and what share of all queries each looks at.

    Those that have no other way to be timed among many clips look at ``some`` queries only.
    """
    video, audio = vectors(clips)
    flat = [faiss.IndexFlatIP(DIMENSION) for _ in range(2)]
    for index, items in zip(flat, (video, audio), strict=True):
        index.add(items.numpy())
    own = torch.arange(clips)

    def both(way: Callable[[Tensor, Tensor], Any], queries: int) -> Callable[[], None]:
        def run() -> None:
            for query, gallery in ((video, audio), (audio, video)):
                for part in query[:queries].split(1024):
                    way(part, gallery)

        return run

    def recalls(part: Tensor, gallery: Tensor) -> None:
        for row, similarity in enumerate(part @ gallery.T):
            retrieval_recall(similarity, own == row, top_k=10)

    def search(part: Tensor, gallery: Tensor) -> None:
        flat[gallery is audio].search(part.numpy(), 10)

    def sort(part: Tensor, gallery: Tensor) -> None:
        (part @ gallery.T).argsort(dim=1, descending=True)

    return {
        "ranks": (lambda: ranks(video, audio), 1),
        "the bare product": (lambda: multiply(video, audio), 1),
        "faiss, flat, first ten": (both(search, some), some / clips),
        "full argsort": (both(sort, some), some / clips),
        "torchmetrics, recall at 10": (both(recalls, min(LESS, some)), min(LESS, some) / clips),
    }


def rank_part(clips: int, rounds: int, some: int = 1024) -> list[dict[str, Any]]:
    """Compare ranks with the bare product and with other ways: each as if of all queries."""
    ways = rank_ways(clips, min(some, clips))
    first = int(clips <= 10_000)
    times = in_turns({name: way for name, (way, _) in ways.items()}, rounds, first)
    times = {name: [t / ways[name][1] for t in some] for name, some in times.items()}
    work = f"ranks of {clips:,} clips, both directions, ties averaged"
    goals = [1.3, 1, 1, 1]
    return rows_of(work, times, "ranks", dict(zip(list(ways)[1:], goals, strict=True)))


def memory_of_ranks(clips: int) -> float:
    """Return by how much ranking raises the memory of a process that holds the vectors: MB."""
    code = f"""
from pathlib import Path
from fast import vectors
from xmodal.metrics import ranks
both = vectors({clips})
def held(name):
    return int(Path("/proc/self/status").read_text().split(name)[1].split()[0]) / 1e3
Path("/proc/self/clear_refs").write_text("5")
before = held("VmRSS:")
ranks(*both)
print(held("VmHWM:") - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=HERE, env=surroundings(), check=True, capture_output=True
    )
    return float(done.stdout)


def rows_of(work: str, times: Times, way: str, goals: dict[str, float]) -> list[dict[str, Any]]:
    """Return a row of the table for each goal: how many times as long as what it is named after."""
    return [
        {
            "work": work,
            "against": against,
            **ratio(times, way, against),
            "goal": goal,
            "milliseconds": 1000 * median(times[way]),
            "theirs_milliseconds": 1000 * median(times[against]),
        }
        for against, goal in goals.items()
    ]


# --- negatives -----------------------------------------------------------------------------------


def label_sets(clips: int, classes: int) -> list[list[int]]:
    """Draw labels as unevenly as YouTube-8M's are, about three a clip."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, classes + 1) ** 0.9
    drawn = rng.choice(classes, (clips, 5), p=share / share.sum())
    counts = rng.integers(1, 6, clips)
    return [sorted({*row[:count].tolist()}) for row, count in zip(drawn, counts, strict=True)]


def draw_in_a_loop(sets: list[set[int]], p_negative: float, rng: random.Random) -> list[int]:
    """Draw the audio of each clip, row by row: one that shares no label, or its own."""
    audio = list(range(len(sets)))
    for row, own in enumerate(sets):
        if rng.random() < p_negative:
            strangers = [other for other, labels in enumerate(sets) if own.isdisjoint(labels)]
            audio[row] = rng.choice(strangers) if strangers else row
    return audio


def labels_of(sets: list[list[int]]) -> Labels:
    """Return labels as the batch of a training holds them."""
    indptr = np.cumsum([0, *map(len, sets)])
    return Labels(torch.from_numpy(indptr), torch.from_numpy(np.concatenate(sets).astype(np.int64)))


def drawing() -> Callable[[], object]:
    """Return what draws the negatives of a batch."""
    labels, generator = labels_of(label_sets(BATCH, CLASSES)), torch.Generator().manual_seed(0)
    return lambda: draw_pairs(labels, 0.6, generator)


def negative_part(rounds: int) -> list[dict[str, Any]]:
    """Compare the drawing of a batch's negatives with a loop."""
    as_sets, rng = [set(own) for own in label_sets(BATCH, CLASSES)], random.Random(0)
    ways = {
        "drawn": drawing(),
        "a loop over rows": lambda: draw_in_a_loop(as_sets, 0.6, rng),
    }
    work = f"negatives of a batch of {BATCH:,}"
    return rows_of(work, in_turns(ways, rounds), "drawn", {"a loop over rows": 1 / 50})


# --- a training step -----------------------------------------------------------------------------


def feature_set(work: Path, clips: int | None = None, classes: int | None = None) -> Path:
    """Prepare random features of YouTube-8M's sizes, each class on some clip; or find them."""
    clips, classes = clips or CLIPS, classes or CLASSES
    source, out = work / f"random-{clips}-{classes}.npz", work / f"features-{clips}-{classes}"
    if not source.exists():
        work.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        visual, audio = (rng.normal(size=(clips, n)).astype(np.float32) for n in (1024, 128))
        sets = label_sets(clips, classes)
        labels = ["|".join(map(str, {*own, i % classes})) for i, own in enumerate(sets)]
        np.savez(source, visual=visual, audio=audio, labels=labels)
    if not out.exists():
        held_out = {"evaluation_clips": 256, "validation_clips": 256}
        prepare(PrepareConfig(shards=source, out=out, **held_out))
    return out


def products(config: TrainConfig, sizes: dict[str, int], bf16: bool) -> Callable[[], None]:
    """Return the bare products of a step's layers: forward, by weights, and by inputs."""
    model, kind = build_model(config, sizes), torch.bfloat16 if bf16 else torch.float32
    passes = [
        (model.visual, 1),
        (model.audio, 1),
        *[([model.classifier], 2)] * (config.class_weight > 0),
    ]
    layers = []
    for branch, times in passes:
        linear = [layer for layer in branch if isinstance(layer, nn.Linear)]
        for place, layer in enumerate(linear):
            x = torch.randn(config.batch_size, layer.in_features, dtype=kind)
            dy = torch.randn(config.batch_size, layer.out_features, dtype=kind)
            needed = place > 0 or branch[0] is model.classifier  # features have no gradient
            layers += [(x, layer.weight.detach().to(kind), dy, needed)] * times

    def run() -> None:
        for x, weight, dy, needed in layers:
            x @ weight.T
            dy.T @ x
            if needed:
                dy @ weight

    return run


def sizes_of(clips: FeatureSet) -> dict[str, int]:
    """Return the sizes that a network for some clips is built with."""
    dims = {"visual_dim": clips.visual.shape[1], "audio_dim": clips.audio.shape[1]}
    return dims | {"classes": len(clips.label_names)}


class Dense(torch.utils.data.Dataset):
    """Clips one by one, with dense multi-hot targets."""

    def __init__(self, features: FeatureSet) -> None:
        self.features = features
        self.visual, self.audio = torch.tensor(features.visual), torch.tensor(features.audio)

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor, Tensor]:
        target = torch.zeros(len(self.features.label_names))
        labels = self.features.labels
        target[torch.tensor(labels.indices[labels.indptr[row] : labels.indptr[row + 1]])] = 1
        return self.visual[row], self.audio[row], target


def plain_steps(
    config: TrainConfig, features: FeatureSet, model: JointEmbedding
) -> Iterator[float]:
    """Train the paper's network as most would write it: float32, a DataLoader, a loss each step."""
    adam = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    loader = torch.utils.data.DataLoader(
        Dense(features), config.batch_size, shuffle=True, drop_last=True
    )
    steps = count()
    while True:
        for visual, audio, target in loader:
            negative = torch.rand(len(visual)) < config.p_negative
            other = torch.where(negative, torch.randperm(len(visual)), torch.arange(len(visual)))
            v, a = model.visual(visual), model.audio(audio)
            sign = torch.where(negative, -1, 1)
            total = cosine_embedding_loss(v, a[other], sign, config.margin)
            for side in (v, a) if next(steps) >= config.class_start_step else ():
                logits = model.classifier(normalize(side, dim=1))
                each = binary_cross_entropy_with_logits(logits, target, reduction="none")
                total = total + config.class_weight * each.sum(dim=1).mean()
            adam.zero_grad()
            total.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            adam.step()
            yield total.item()


def train_anew(config: TrainConfig, begin: Callable[[int], object]) -> None:
    """Train from the beginning, and call ``begin`` with the number of each step as it begins."""
    steps = count()

    def objective(*given: Any) -> loss.Losses:
        begin(next(steps))
        return loss.objective(*given)

    shutil.rmtree(config.out, ignore_errors=True)
    with patch.object(training, "objective", objective):
        training.train(config)


def steps_beside(
    config: TrainConfig, others: dict[str, Callable[[], Any]], rounds: int, first: int = 2
) -> Times:
    """Time the steps of `train` itself, and between every two of them what it is compared with.

    A step's time is that from the call of its objective to that of the next: reading the next
    batch, which comes before it, included.
    """
    times: Times = {name: [] for name in ("step", *others)}
    begun = 0.0

    def begin(number: int) -> None:
        nonlocal begun
        if number:
            times["step"].append(time.perf_counter() - begun)
            for name, spent in in_turns(others, 1, 0).items():
                times[name] += spent
        begun = time.perf_counter()

    train_anew(config, begin)
    return {name: some[first:] for name, some in times.items()}


def step_config(work: Path, rounds: int, **change: Any) -> TrainConfig:
    """Return a training of some steps: both losses from the first step on, if it has both."""
    steps = rounds + 3
    given: dict[str, Any] = {"steps": steps, "validate_every": steps, "class_start_step": 0}
    given |= {
        "batch_size": BATCH,
        "features": feature_set(work),
        "out": work / "run",
        "progress": False,
    }
    return TrainConfig(**(given | change))


def step_part(work: Path, rounds: int) -> list[dict[str, Any]]:
    """Compare a step with the bare products of its layers, and the paper's with a plain one."""
    rows = []
    train = open_features(feature_set(work), "train")
    sizes = sizes_of(train)
    bf16 = machine()["bf16_units"]
    taken, other = ("bf16", "the same in fp32") if bf16 else ("fp32", "the same in bf16")
    paper = step_config(work, rounds)
    ways = {name: products(paper, sizes, "bf16" in name) for name in (taken, other)}
    what = f"bare products in {taken}, which `precision=auto` takes here"
    rows += rows_of(what, in_turns(ways, rounds), taken, {other: 1})
    for recipe, name in (("paper", "the paper's step, both losses"), ("best", "the recipe's step")):
        for precision, goal in (("fp32", 1.1), *[("bf16", 1.25)] * bf16):
            config = step_config(work, rounds, recipe=recipe, precision=precision)
            goals = {f"its layers' bare products, {precision}": goal}
            others: dict[str, Callable[[], Any]] = {
                next(iter(goals)): products(config, sizes, precision == "bf16")
            }
            if recipe == "paper":
                plain = plain_steps(config, train, build_model(config, sizes))
                others["a plain PyTorch step"] = lambda plain=plain: next(plain)
                goals["a plain PyTorch step"] = 1 / 3 if precision == "bf16" else 1 / 1.5
                others["drawing"] = drawing()
            times = steps_beside(config, others, rounds)
            rows += rows_of(f"{name}, {precision}", times, "step", goals)
            if recipe == "paper":
                work_ = f"negatives of a batch of {BATCH:,}"
                rows += rows_of(work_, times, "drawing", {"step": 0.03})
                rows[-1]["against"] = f"the whole step, {precision}"
    return rows


KINDS = {
    "bare products": "mm|addmm|bmm",
    "random numbers of dropout": "bernoulli_|random_",
    "cross entropies": "log_sigmoid.*|_log_softmax.*|sigmoid.*",
    "optimiser": "_fused_adamw?_",
}


def share_part(work: Path, rounds: int) -> list[dict[str, Any]]:
    """Tell how much of a step's time each kind of work takes, in percent, as PyTorch tells."""
    rows = []
    for recipe, name in (("paper", "the paper's, both losses"), ("best", "the recipe's")):
        for precision in ("fp32", *["bf16"] * machine()["bf16_units"]):
            config = step_config(work, rounds, recipe=recipe, precision=precision)
            profile = profiler.profile()
            at = {2: profile.start, 2 + rounds: profile.stop}
            train_anew(config, lambda number, at=at: at.get(number, int)())
            spent = {one.key: one.self_cpu_time_total for one in profile.key_averages()}
            share = {
                kind: sum(t for op, t in spent.items() if re.fullmatch(f"aten::({names})", op))
                for kind, names in KINDS.items()
            }
            share["all else"] = sum(spent.values()) - sum(share.values())
            total = sum(spent.values()) / 100
            step = {"step": f"{name}, {precision}"}
            rows.append(step | {kind: round(t / total, 1) for kind, t in share.items()})
    return rows


def recall_part(work: Path, steps: int) -> list[dict[str, Any]]:
    """Train on the synthetic sample, plainly and by `train`; tell what each retrieves by then."""
    out = work / "sample"
    write_sample(SampleConfig(out=out))
    prepare(
        PrepareConfig(
            shards=out / "shards", vocabulary=out / "vocabulary.csv", out=out / "features"
        )
    )
    known, asked = (open_features(out / "features", split) for split in ("train", "evaluation"))
    late = {"features": out / "features", "class_start_step": steps * 5 // 6}
    late |= {"steps": steps, "validate_every": steps}
    config = step_config(work, steps, precision="fp32", **late)
    torch.manual_seed(config.seed)
    model = build_model(config, sizes_of(known))
    for _ in islice(plain_steps(config, known, model), steps):
        pass
    ways = {"a plain PyTorch step": model.eval().embed(asked.visual, asked.audio)}
    for precision in ("fp32", *["bf16"] * machine()["bf16_units"]):
        shutil.rmtree(config.out, ignore_errors=True)
        training.train(config.model_copy(update={"precision": precision}))
        ways[f"`train`, {precision}"] = embed_run(config.out, asked)
    rows = []
    for way, embedded in ways.items():
        sound = torch.from_numpy(~asked.silent)
        both = gallery_ranks(embedded.audio[sound], embedded.visual[sound], BATCH)
        for (direction, *_), found in zip(directions(asked), both, strict=True):
            measured = recall(found)
            for k, *value in zip(measured.ks, *measured[1:4], strict=True):
                named = dict(zip(("recall", "low", "high"), value, strict=True))
                rows.append({"way": way, "steps": steps, "direction": direction, "k": k, **named})
    return rows


# --- a whole batch -------------------------------------------------------------------------------


def batch_part(work: Path) -> list[dict[str, Any]]:
    """Compare `make paper`, in a clone of the last commit, with its trainings and fits, bare."""
    tree, bare = work / "clone", work / "bare"
    for old in (tree, bare):
        shutil.rmtree(old, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", str(HERE.parent), str(tree)], check=True)
    options = ["--configfile", "profiles/sample.yaml", "--cores", "all", "--quiet", "all"]
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "snakemake", *options],
        cwd=tree,
        env=surroundings(tree),
        check=True,
    )
    whole = time.perf_counter() - begun
    alone = subprocess.run(
        [sys.executable, str(HERE / "bare.py"), str(bare)],
        env=surroundings(),
        check=True,
        stdout=subprocess.PIPE,
    )
    spent = json.loads(alone.stdout.splitlines()[-1])
    against = "its trainings and fits, bare"
    times = {"batch": [whole], against: [spent["trainings"] + spent["fits"]]}
    return rows_of("`make paper`, installed", times, "batch", {against: 1.5})


# --- starting ------------------------------------------------------------------------------------


def surroundings(tree: Path = HERE.parent) -> dict[str, str]:
    """Return an environment in which a child imports this tree, or another."""
    return {**os.environ, "PYTHONPATH": str(tree.resolve())}


def start_part(rounds: int) -> list[dict[str, Any]]:
    """Compare the start of the command line with that of Python and with the import of torch."""
    python = sys.executable

    def run(*words: str) -> Callable[[], Any]:
        return lambda: subprocess.run(
            [python, *words], env=surroundings(), capture_output=True, check=False
        )

    ways = {
        "help": run("-m", "xmodal", "--help"),
        "python -c pass": run("-c", "pass"),
        "evaluate": run("-m", "xmodal", "evaluate", "runs_folder=/nonexistent"),
        "import torch": run("-c", "import torch"),
    }
    times = in_turns(ways, rounds)
    rows = rows_of("xmodal --help", times, "help", {"python -c pass": 2})
    rows += rows_of("xmodal evaluate, without a run", times, "evaluate", {"import torch": 1.2})
    return rows


# --- cost against size ---------------------------------------------------------------------------

CHANGED = {
    "batch": ("batch_size", [256, 512, 1024, 2048, 4096]),
    "dimension": ("embedding_dim", [64, 128, 256, 512, 1024]),
    "training clips": ("training_clips", [1024, 2048, 4096, 8192]),
}
KNOWN = [240, 480, 960, 1920, 3840]
RANKED = [1500, 3000, 6000, 12_000, 24_000]
PREPARED = [2000, 4000, 8000, 16_000]
EXPLORED = [375, 750, 1500, 3000, 6000]


def slope_part(work: Path, rounds: int) -> list[dict[str, Any]]:
    """Time steps, ranks and preparation at several sizes: a row a size."""
    rows: list[dict[str, Any]] = []

    def add(what: str, against: str, size: int, times: list[float]) -> None:
        row = {"what": what, "against": against, "size": size, "milliseconds": 1000 * median(times)}
        rows.append({**row, "low": 1000 * min(times), "high": 1000 * max(times)})

    def step(against: str, size: int, **change: Any) -> None:
        config = step_config(work, rounds, **change)
        add("step", against, size, steps_beside(config, {}, rounds)["step"])

    for against, (name, sizes) in CHANGED.items():
        for size in sizes:
            step(against, size, **{name: size})
    for size in KNOWN:
        step("classes", size, features=feature_set(work, 4500, size))
    for size in RANKED:
        both = vectors(size)
        times = in_turns({"ranks": lambda both=both: ranks(*both)}, rounds)
        add("ranks", "clips", size, times["ranks"])
    for size in PREPARED:
        out = feature_set(work, size)

        def again(size: int = size, out: Path = out) -> None:
            shutil.rmtree(out)
            feature_set(work, size)

        add("preparation", "clips", size, in_turns({"": again}, rounds)[""])
    clips = open_features(feature_set(work), "train")
    for size in EXPLORED:
        config = ExplorerConfig(clips=size)
        given = Embeddings(*vectors(size)), draw_clips(clips, config), config
        times = in_turns({"": lambda given=given: explore(*given)}, rounds)
        add("explorer", "points", 2 * size, times[""])
    return rows


def slopes(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the slope of each cost on log axes, of all sizes and between the two largest."""
    lines = []
    for (what, against), part in pd.DataFrame(rows).groupby(["what", "against"], sort=False):
        size, cost = np.log(part["size"]), np.log(part["milliseconds"])
        last = np.diff(cost)[-1] / np.diff(size)[-1]
        lines.append(
            {
                "cost of": what,
                "against": against,
                "from": int(part["size"].min()),
                "to": int(part["size"].max()),
                "slope": round(np.polyfit(size, cost, 1)[0], 2),
                "slope at the end": round(last, 2),
            }
        )
    return pd.DataFrame(lines)


@style.figure(found=["what", "against", "size", "milliseconds", "low", "high"])
def slope_figure(found: pd.DataFrame) -> Figure:
    """Draw cost against size on log axes, a panel for each thing that costs; bands are ranges."""
    kinds = list(found["what"].unique())
    page, axes = style.sheet(2.2 * math.ceil(len(kinds) / 2), "", math.ceil(len(kinds) / 2), 2)
    style.letter(axes, kinds)
    for axis, what in zip(axes.flat, kinds, strict=False):
        lines = found[found["what"] == what]
        for against, look in style.looks(lines["against"]).items():
            line = lines[lines["against"] == against]
            band(axis, line, "size", look["color"])
            curve(axis, line, "size", "milliseconds", label=against, **look)
        several = lines["against"].nunique() > 1
        log_axes(axis, xlabel="size" if several else against, ylabel="milliseconds")
        style.log_ticks(axis)
    style.legend(page, 4)
    return page


# --- the page ------------------------------------------------------------------------------------

PAGE_TEXT = """# Fast, side by side

Each line compares a piece of work with what it is made of, or with another way to do it: how many
times as long it takes, the median over rounds in which both took turns, with the least and the
most. The machine ({processor}, {cores} cores, {threads} threads) is shared with other programs, so
milliseconds are for information only, and ratios have a range.

{table}

Ranking {clips:,} clips takes {memory:.0f} MB beyond the vectors themselves (goal: 500 MB).

- *The bare product*: of all queries with all items, once, in parts that fit into the cache; one
  product serves both directions.
- *faiss*, *full argsort*, *torchmetrics*: both directions; none averages over ties. Where ranking
  all queries would take too long, some were ranked, and the time is scaled up.
- *Bare products* of layers: of every layer forward, by its weights and by its inputs, on tensors of
  the same shapes and precision.
- *A plain PyTorch step*: float32, `CosineEmbeddingLoss`, dense targets made row by row, a
  `DataLoader`, `.item()` at each step.
- A *step* is timed in `train` itself, from one call of the objective to the next.
- *Trainings and fits, bare*: all trainings of the batch and all that is measured for its notebooks,
  one after the other in one process, with nothing drawn or written for a reader; data as made.

## Where the time of a step goes

In percent of a step's time on the CPU, as PyTorch's profiler tells it:

{shares}

PyTorch draws the random numbers of dropout one after another on one core. Cheaper ones would be
others, and would move every number measured of the recipe.

## What a plain step learns

Recall in percent among {gallery:,} of the sample's evaluation clips, with 95 % intervals, after
{steps} steps of the paper's training, λ on for the last sixth:

{recalls}

[Reading shards](readers.md), [searching a million clips](search.md) and
[preparing and training on a million](scale.md) have pages of their own.

## Cost against size

![Cost against size on log axes](fast_slopes.png)

A slope of 1 means twice the time for twice the size. The rest stays as in the paper: 1,024 clips a
batch, 250 dimensions, 3,862 classes.

{slopes}

Most of the explorer's cost is UMAP's, which compares all points with each other up to 4,096 of
them, searches for neighbours beyond that, and makes fewer rounds from 10,000 on.

Versions: {versions}.
{earlier}"""


EARLIER_TEXT = """
## On another machine

Measured earlier ({processor}, {cores} cores), when masks of dropout took more than twice the time:

{table}
"""


def table_of(found: dict[str, Any]) -> str:
    """Write the ratios that were measured as Markdown."""
    frame = pd.DataFrame([row for part in RATIOS for row in found["parts"].get(part, [])])
    table = pd.DataFrame(
        {
            "work": frame["work"],
            "against": frame["against"],
            "times as long": [
                f"{one.ratio:.3g} ({one.low:.3g} to {one.high:.3g})" for one in frame.itertuples()
            ],
            "goal": [f"≤ {goal:.3g}" for goal in frame["goal"]],
            "met": np.where(frame["ratio"] <= frame["goal"], "yes", "no"),
            "ms": frame["milliseconds"].map("{:,.0f}".format),
        }
    )
    return table.to_markdown(index=False)


def page(found: dict[str, Any], earlier: dict[str, Any] | None = None) -> str:
    """Write what was measured as Markdown, beside what was measured earlier on another machine."""
    about, learnt = found["machine"], pd.DataFrame(found["parts"]["recall"])
    percents = 100 * learnt[["recall", "low", "high"]]
    learnt["said"] = [interval(*row) for row in percents.itertuples(index=False)]
    learnt["measure"] = [f"{one.direction} R@{one.k}" for one in learnt.itertuples()]
    recalls = learnt.pivot(index="way", columns="measure", values="said")
    names = ("python", "torch", "numpy", "numba", "faiss-cpu", "torchmetrics")
    return PAGE_TEXT.format(
        **{name: about[name] for name in ("processor", "cores", "threads")},
        table=table_of(found),
        earlier=EARLIER_TEXT.format(**earlier["machine"], table=table_of(earlier))
        if earlier
        else "",
        clips=found["memory"]["clips"],
        memory=found["memory"]["mb"],
        shares=pd.DataFrame(found["parts"]["shares"]).to_markdown(index=False),
        gallery=BATCH,
        steps=learnt["steps"].iloc[0],
        recalls=recalls[learnt["measure"].unique()].loc[learnt["way"].unique()].to_markdown(),
        slopes=slopes(found["parts"]["slopes"]).to_markdown(index=False),
        versions=", ".join(f"{name} {about[name]}" for name in names),
    )


def main() -> None:
    """Measure the parts that are named, keep the others, and write all files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder for some 600 MB")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clips", type=int, default=6000, help="of the part ranks")
    parser.add_argument("--many", type=int, default=100_000, help="clips of the part many")
    parser.add_argument("--steps", type=int, default=360, help="of the part recall")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    told = parser.parse_args()
    told.out.mkdir(parents=True, exist_ok=True)
    kept = told.out / "fast.json"
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {"parts": {}}
    found["machine"] = machine()
    measure: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "ranks": lambda: rank_part(told.clips, told.rounds),
        "many": lambda: rank_part(told.many, 2),
        "negatives": lambda: negative_part(told.rounds),
        "step": lambda: step_part(told.work, told.rounds),
        "start": lambda: start_part(told.rounds),
        "batch": lambda: batch_part(told.work),
        "shares": lambda: share_part(told.work, told.rounds),
        "recall": lambda: recall_part(told.work, told.steps),
        "slopes": lambda: slope_part(told.work, max(1, told.rounds // 2)),
    }
    for part in told.parts:
        begun = time.perf_counter()
        found["parts"][part] = measure[part]()
        if part == "many":
            found["memory"] = {"clips": told.many, "mb": memory_of_ranks(told.many)}
        print(f"{part}: {time.perf_counter() - begun:.0f} s", flush=True)
        kept.write_text(json.dumps(found, indent=1) + "\n")
    if set(PARTS) <= found["parts"].keys():
        slope_figure(pd.DataFrame(found["parts"]["slopes"])).savefig(
            told.out / "fast_slopes.png", dpi=150
        )
        other = json.loads(EARLIER.read_text()) if EARLIER.exists() else None
        (told.out / "fast.md").write_text(page(found, other))
        print((told.out / "fast.md").read_text())


if __name__ == "__main__":
    main()
