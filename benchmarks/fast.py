"""How fast is what is done most, beside what it is made of and beside other ways to do it.

    python benchmarks/fast.py WORK [--parts ranks many step start batch slopes] [--rounds 7]

A part that is not named keeps the numbers it has in `benchmarks/fast.json`; `fast.md`, which quotes
them, and the figure `fast_slopes` are written again. WORK holds feature sets, runs and a clone,
which the batch runs in.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import faiss
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy.sparse import csr_array
from side_by_side import Times, in_turns, machine, ratio
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cosine_embedding_loss, normalize
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader, TensorDataset

from xmodal.checkpoint import build_model
from xmodal.config import TrainConfig
from xmodal.data.features import FeatureSet, open_features
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.metrics import ranks
from xmodal.model import JointEmbedding
from xmodal.search import Gallery
from xmodal.train import train

HERE = Path(__file__).parent
RATIOS = ("ranks", "many", "search", "step", "start", "batch")
PARTS = (*RATIOS, "slopes")
DIMENSION, CLASSES, BATCH, CLIPS = 250, 3862, 1024, 9000


def rows_of(work: str, times: Times, way: str, goals: dict[str, float]) -> list[dict[str, Any]]:
    """Return a row for each goal: how many times as long a way takes as what the goal names."""
    return [
        {"work": work, "against": against, **ratio(times, way, against), "goal": goal}
        | {"milliseconds": 1000 * median(times[way])}
        for against, goal in goals.items()
    ]


def environment(tree: Path = HERE.parent) -> dict[str, str]:
    """Return an environment in which a child imports this tree, or another."""
    return {**os.environ, "PYTHONPATH": str(tree.resolve())}


# --- ranks ---------------------------------------------------------------------------------------


def vectors(clips: int) -> tuple[Tensor, Tensor]:
    """Draw unit vectors of both modalities, the two of a clip near each other."""
    generator = torch.Generator().manual_seed(0)
    video = torch.randn(clips, DIMENSION, generator=generator)
    audio = torch.randn(clips, DIMENSION, generator=generator).mul_(3).add_(video)
    return normalize(video, dim=1, out=video), normalize(audio, dim=1, out=audio)


def rank_part(clips: int, rounds: int, some: int = 1024) -> list[dict[str, Any]]:
    """Compare ranks with the bare product, and with faiss, which searches for ``some`` queries."""
    both, some = vectors(clips), min(some, clips)
    indexes = [faiss.IndexFlatIP(DIMENSION) for _ in both]
    for index, items in zip(indexes, both, strict=True):
        index.add(items.numpy())

    def multiply() -> None:
        for query in both[0].split(1024):
            for gallery in both[1].split(1024):
                query @ gallery.T

    def search() -> None:
        for index, query in zip(indexes, reversed(both), strict=True):
            index.search(query[:some].numpy(), 10)

    product, nearest = "the bare product", "faiss, flat, first ten"
    ways = {"ranks": lambda: ranks(*both), product: multiply, nearest: search}
    times = in_turns(ways, rounds, first=int(clips <= 10_000))
    times[nearest] = [seconds * clips / some for seconds in times[nearest]]
    work = f"ranks of {clips:,} clips, both directions, ties averaged"
    return rows_of(work, times, "ranks", {product: 1.3, nearest: 1})


def search_part(rounds: int, clips: int = 100_000, queries: int = 1000) -> list[dict[str, Any]]:
    """Compare the search for many queries with that of faiss, which corrects no hubness."""
    arrays = [side.numpy() for side in vectors(clips)]
    ids, labels = np.arange(clips).astype(str), csr_array((clips, 1))
    gallery = Gallery(arrays, ids, labels, ["none"], [np.random.rand(clips).astype(np.float32)] * 2)
    flat, asked, nearest = faiss.IndexFlatIP(DIMENSION), arrays[0][:queries], "faiss, flat"
    flat.add(arrays[1])
    ways: dict[str, Callable[[], Any]] = {
        "search": lambda: gallery.nearest(asked, "audio", 10),
        nearest: lambda: flat.search(asked, 10),
    }
    work = f"the first ten for {queries:,} queries among {clips:,} clips"
    return rows_of(work, in_turns(ways, rounds), "search", {nearest: 1.5})


# --- a training step -----------------------------------------------------------------------------


def feature_set(work: Path, clips: int | None = None, classes: int | None = None) -> Path:
    """Prepare random features of YouTube-8M's sizes, each class on some clip; or find them."""
    clips, classes = clips or CLIPS, classes or CLASSES
    source, out = work / f"random-{clips}-{classes}.npz", work / f"features-{clips}-{classes}"
    if not source.exists():
        work.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        visual, audio = (rng.normal(size=(clips, n)).astype(np.float32) for n in (1024, 128))
        share, rng = 1 / np.arange(1, classes + 1) ** 0.9, np.random.default_rng(0)  # uneven, too
        drawn = rng.choice(classes, (clips, 5), p=share / share.sum())
        some = [row[:n].tolist() for row, n in zip(drawn, rng.integers(1, 6, clips), strict=True)]
        labels = ["|".join(map(str, {*own, i % classes})) for i, own in enumerate(some)]
        np.savez(source, visual=visual, audio=audio, labels=labels)
    if not out.exists():
        held_out = {"evaluation_clips": 256, "validation_clips": 256}
        prepare(PrepareConfig(shards=source, out=out, **held_out))
    return out


def model_for(config: TrainConfig, clips: FeatureSet) -> JointEmbedding:
    """Build the network of a configuration for some clips."""
    sizes = {"visual_dim": clips.visual.shape[1], "audio_dim": clips.audio.shape[1]}
    return build_model(config, {**sizes, "classes": len(clips.label_names)})


def products(config: TrainConfig, clips: FeatureSet, bf16: bool = False) -> Callable[[], None]:
    """Return the bare products of a step's layers: forward, by weights, and by inputs."""
    model, kind = model_for(config, clips), torch.bfloat16 if bf16 else torch.float32
    branches = [(model.visual, 1), (model.audio, 1)]
    branches += [(nn.Sequential(model.classifier), 2)] * (config.class_weight > 0)
    layers = []
    for branch, times in branches:
        linear = [layer for layer in branch if isinstance(layer, nn.Linear)]
        for place, layer in enumerate(linear):
            x = torch.randn(config.batch_size, layer.in_features, dtype=kind)
            dy = torch.randn(config.batch_size, layer.out_features, dtype=kind)
            needed = place > 0 or times == 2  # features have no gradient
            layers += [(x, layer.weight.detach().to(kind), dy, needed)] * times

    def run() -> None:
        for x, weight, dy, needed in layers:
            x @ weight.T
            dy.T @ x
            if needed:
                dy @ weight

    return run


def plain_steps(config: TrainConfig, features: FeatureSet) -> Iterator[float]:
    """Train the paper's network as most would write it: float32, a DataLoader, a loss each step."""
    model = model_for(config, features)
    adam = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    arrays = features.visual[:], features.audio[:], features.labels.toarray()
    clips = TensorDataset(*map(torch.tensor, arrays))
    data = DataLoader(clips, config.batch_size, shuffle=True, drop_last=True)
    while True:
        for visual, audio, target in data:
            negative = torch.rand(len(visual)) < config.p_negative
            other = torch.where(negative, torch.randperm(len(visual)), torch.arange(len(visual)))
            v, a = model.visual(visual), model.audio(audio)
            sign = torch.where(negative, -1, 1)
            total = cosine_embedding_loss(v, a[other], sign, config.margin)
            for side in (v, a):
                logits = model.classifier(normalize(side, dim=1))
                each = binary_cross_entropy_with_logits(logits, target, reduction="none")
                total = total + config.class_weight * each.sum(dim=1).mean()
            adam.zero_grad()
            total.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            adam.step()
            yield total.item()


def train_anew(config: TrainConfig, stepped: Callable[[int], object]) -> None:
    """Train from the beginning, and call ``stepped`` with the number of each step that is done."""
    done, inside = 0, False

    def hook(*_: object) -> None:
        nonlocal done, inside
        if not inside:  # an optimiser that ``stepped`` uses is not the training's
            inside, done = True, done + 1
            stepped(done)
            inside = False

    shutil.rmtree(config.out, ignore_errors=True)
    handle = register_optimizer_step_post_hook(hook)
    try:
        train(config)
    finally:
        handle.remove()


def steps_beside(config: TrainConfig, others: dict[str, Callable[[], Any]]) -> Times:
    """Time the steps of `train` itself, and between every two of them what it is compared with.

    A step's time is that from the end of one to the end of the next, reading its batch included.
    """
    times: Times = {name: [] for name in ("step", *others)}
    begun = 0.0

    def stepped(number: int) -> None:
        nonlocal begun
        if number > 1:
            times["step"].append(time.perf_counter() - begun)
            for name, spent in in_turns(others, 1, 0).items():
                times[name] += spent
        begun = time.perf_counter()

    train_anew(config, stepped)
    return {name: some[2:] for name, some in times.items()}


def step_config(work: Path, rounds: int, **change: Any) -> TrainConfig:
    """Return a training of some steps: both losses from the first step on, if it has both."""
    steps = rounds + 3
    given: dict[str, Any] = {"steps": steps, "validate_every": steps, "class_start_step": 0}
    given |= {"features": feature_set(work), "out": work / "run", "batch_size": BATCH}
    return TrainConfig(**{**given, "progress": False, "precision": "fp32", **change})


TRAININGS = {"paper": "the paper's step, both losses", "best": "the recipe's step"}


def step_part(work: Path, rounds: int) -> list[dict[str, Any]]:
    """Compare a step with the bare products of its layers, and the paper's with a plain one."""
    clips = open_features(feature_set(work), "train")
    paper = step_config(work, rounds)
    ways = {"fp32": products(paper, clips), "the same in bf16": products(paper, clips, bf16=True)}
    rows = rows_of("bare products in fp32", in_turns(ways, rounds), "fp32", {"the same in bf16": 1})
    precisions = {"fp32": 1.1} | ({"bf16": 1.25} if rows[0]["ratio"] > 1 else {})
    for recipe, name in TRAININGS.items():
        for precision, goal in precisions.items():
            config = step_config(work, rounds, recipe=recipe, precision=precision)
            goals = {f"its layers' bare products, {precision}": goal}
            bare = products(config, clips, precision == "bf16")
            others: dict[str, Callable[[], Any]] = {next(iter(goals)): bare}
            if recipe == "paper":
                plain = plain_steps(config, clips)
                others["a plain PyTorch step"] = plain.__next__
                goals["a plain PyTorch step"] = 1 / 3 if precision == "bf16" else 1 / 1.5
            times = steps_beside(config, others)
            rows += rows_of(f"{name}, {precision}", times, "step", goals)
    return rows


# --- the command line, and a whole batch ---------------------------------------------------------


def start_part(rounds: int) -> list[dict[str, Any]]:
    """Compare the start of the command line with that of Python and with the import of torch."""

    def run(*words: str) -> Callable[[], Any]:
        command = [sys.executable, *words]
        return lambda: subprocess.run(command, env=environment(), capture_output=True, check=False)

    ways = {
        "help": run("-m", "xmodal", "--help"),
        "python -c pass": run("-c", "pass"),
        "evaluate": run("-m", "xmodal", "evaluate", "/nonexistent"),
        "import torch": run("-c", "import torch"),
    }
    times = in_turns(ways, rounds)
    rows = rows_of("xmodal --help", times, "help", {"python -c pass": 2})
    work = "xmodal evaluate, without a run"
    return rows + rows_of(work, times, "evaluate", {"import torch": 1.2})


def batch_part(work: Path) -> list[dict[str, Any]]:
    """Compare `make paper`, in a clone of the last commit, with its trainings, bare."""
    tree, against = work / "clone", "its trainings, bare"
    shutil.rmtree(tree, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", str(HERE.parent), str(tree)], check=True)
    batch = ["-m", "snakemake", "--configfile", "profiles/sample.yaml", "--cores", "all"]
    ways = {"batch": [*batch, "--quiet", "all"], against: ["benchmarks/bare.py", "runs/sample"]}

    def run(words: list[str]) -> Callable[[], Any]:
        command = [sys.executable, *words]
        return lambda: subprocess.run(command, cwd=tree, env=environment(tree), check=True)

    times = in_turns({name: run(words) for name, words in ways.items()}, rounds=1, first=0)
    return rows_of("`make paper`, installed", times, "batch", {against: 2})


# --- cost against size ---------------------------------------------------------------------------

SIZES = {
    ("step", "batch_size"): [256, 512, 1024, 2048, 4096],
    ("step", "embedding_dim"): [64, 128, 256, 512, 1024],
    ("step", "training_clips"): [1024, 2048, 4096, 8192],
    ("step", "classes"): [240, 480, 960, 1920, 3840],
    ("ranks", "clips"): [1500, 3000, 6000, 12_000, 24_000],
    ("preparation", "clips"): [2000, 4000, 8000, 16_000],
}


def slope_part(work: Path, rounds: int) -> list[dict[str, Any]]:
    """Time steps, ranks and preparation at several sizes: a row a size."""

    def timed(what: str, against: str, size: int) -> list[float]:
        if what == "step":
            known = {"features": feature_set(work, 4500, size)}
            change = known if against == "classes" else {against: size}
            return steps_beside(step_config(work, rounds, **change), {})["step"]
        if what == "ranks":
            both = vectors(size)
            return in_turns({what: lambda: ranks(*both)}, rounds)[what]

        def again() -> None:
            shutil.rmtree(feature_set(work, size))
            feature_set(work, size)

        return in_turns({what: again}, rounds)[what]

    rows = []
    for (what, against), sizes in SIZES.items():
        for size in sizes:
            times = [1000 * seconds for seconds in timed(what, against, size)]
            row = {"what": what, "against": against, "size": size, "milliseconds": median(times)}
            rows.append({**row, "low": min(times), "high": max(times)})
    return rows


def slopes(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the slope of each cost on log axes, of all sizes and between the two largest."""
    lines = []
    for (what, against), part in pd.DataFrame(rows).groupby(["what", "against"], sort=False):
        size, cost = np.log(part["size"]), np.log(part["milliseconds"])
        line = {"cost of": what, "against": against}
        line |= {"from": int(part["size"].min()), "to": int(part["size"].max())}
        line["slope"] = round(np.polyfit(size, cost, 1)[0], 2)
        lines.append({**line, "slope at the end": round(np.diff(cost)[-1] / np.diff(size)[-1], 2)})
    return pd.DataFrame(lines)


def draw_slopes(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw cost against size on log axes, a panel for each thing that costs; bars are ranges."""
    kinds = pd.DataFrame(rows).groupby("what", sort=False)
    page = Figure(figsize=(9, 3), layout="constrained")
    for axis, (what, part) in zip(page.subplots(1, len(kinds)), kinds, strict=True):
        for against, line in part.groupby("against", sort=False):
            middle = line["milliseconds"]
            bars = [middle - line["low"], line["high"] - middle]
            axis.errorbar(line["size"], middle, bars, marker="o", markersize=3, label=against)
        axis.set(title=what, xscale="log", yscale="log", xlabel="size", ylabel="milliseconds")
        axis.legend(frameon=False, fontsize="small")
    page.savefig(path, dpi=150)


# --- the page ------------------------------------------------------------------------------------

PAGE_TEXT = """# Fast, side by side

Each line compares a piece of work with what it is made of, or with another way to do it: how many
times as long it takes, the median over rounds in which both took turns, with the least and the
most. The machine ({processor}, {cores} cores, {threads} threads) is shared with other programs, so
milliseconds are for information only, and ratios have a range.

{table}

- *The bare product* multiplies all queries with all items, once, in parts that fit into the cache;
  one product serves both directions.
- *faiss* searches in both directions and does not average over ties. Where searching for all
  queries would take too long, some were searched for, and the time is scaled up.
- *Bare products* are those of every layer forward, by its weights and by its inputs, on tensors of
  the same shapes and precision.
- *A plain PyTorch step* uses float32, `CosineEmbeddingLoss`, dense targets held in memory, a
  `DataLoader`, and `.item()` at each step.
- A *step* is timed in `train` itself, from the end of one to the end of the next.
- *Its trainings, bare*, are all trainings of the batch, one after the other in one process.

[Reading shards](readers.md), [searching a million clips](search.md) and
[preparing and training on a million](scale.md) have pages of their own.

## Cost against size

![Cost against size on log axes](fast_slopes.png)

A slope of 1 means twice the time for twice the size. The rest stays as in the paper: 1,024 clips a
batch, 250 dimensions, 3,862 classes.

{slopes}

Versions: {versions}. [Another machine](fast_epyc.md) was measured earlier.
"""


def page(found: dict[str, Any]) -> str:
    """Write what was measured as Markdown."""
    about, known = found["machine"], ("processor", "cores", "threads", "system")
    rows = pd.DataFrame([row for part in RATIOS for row in found["parts"].get(part, [])])
    spans = zip(rows["ratio"], rows["low"], rows["high"], strict=True)
    table = rows[["work", "against"]].assign(
        **{"times as long": ["{:.3g} ({:.3g} to {:.3g})".format(*span) for span in spans]},
        goal=rows["goal"].map("≤ {:.3g}".format),
        met=np.where(rows["ratio"] <= rows["goal"], "yes", "no"),
        ms=rows["milliseconds"].map("{:,.0f}".format),
    )
    return PAGE_TEXT.format(
        **about,
        table=table.to_markdown(index=False),
        slopes=slopes(found["parts"]["slopes"]).to_markdown(index=False),
        versions=", ".join(f"{name} {told}" for name, told in about.items() if name not in known),
    )


def main() -> None:
    """Measure the parts that are named, keep the others, and write all files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder for some 600 MB")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    given = parser.parse_args()
    kept = given.out / "fast.json"
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {"parts": {}}
    measure: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "ranks": lambda: rank_part(6000, given.rounds),
        "search": lambda: search_part(given.rounds),
        "many": lambda: rank_part(100_000, 2),
        "step": lambda: step_part(given.work, given.rounds),
        "start": lambda: start_part(given.rounds),
        "batch": lambda: batch_part(given.work),
        "slopes": lambda: slope_part(given.work, max(1, given.rounds // 2)),
    }
    for part in given.parts:
        found["machine"], found["parts"][part] = machine(), measure[part]()
        kept.write_text(json.dumps(found, indent=1) + "\n")
    draw_slopes(found["parts"]["slopes"], given.out / "fast_slopes.png")
    (given.out / "fast.md").write_text(page(found))


if __name__ == "__main__":
    main()
