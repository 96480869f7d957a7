"""Whether anything grows: train, resume, measure and search, again and again, under pressure.

    python benchmarks/soak.py [minutes]

Meanwhile a process on each core computes. After each round memory, open files, threads and
temporary files are counted; at the end the exit status is 1 if one of them grew.
"""

import argparse
import ctypes
import gc
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import psutil

from xmodal.config import TrainConfig
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.data.sample import SampleConfig, write_sample
from xmodal.evaluation.recall import EvaluateConfig, evaluate
from xmodal.index import build_index
from xmodal.search_options import IndexConfig
from xmodal.train import train

SLACK = {"resident MB": 1.05, "open files": 1, "threads": 1, "files left": 1}
"""By what factor the last third of the rounds may exceed the second; memory comes in steps."""


def compute() -> None:
    """Keep a core busy, after all others."""
    os.nice(10)
    values = np.random.default_rng(0).normal(size=(300, 300))
    while os.getppid() != 1:
        np.tanh(values @ values)


def make_features(work: Path) -> Path:
    """Prepare a sample of 2,000 clips."""
    write_sample(SampleConfig(out=work / "sample", clips=2000, clips_per_shard=100))
    shards = {"shards": work / "sample/shards", "vocabulary": work / "sample/vocabulary.csv"}
    sizes = {"evaluation_clips": 400, "validation_clips": 400}
    prepare(PrepareConfig(out=work / "features", **shards, **sizes))
    return work / "features"


def round_of_work(work: Path, features: Path, seed: int) -> None:
    """Train, resume, measure and search once; the run of the round before is replaced."""
    sizes = {"visual_hidden": (64,), "audio_hidden": (64,), "embedding_dim": 32, "batch_size": 256}
    steps = {"steps": 10, "validate_every": 5, "class_start_step": 5, "seed": seed}
    given = {"features": features, "out": work / "run", "overwrite": True, "progress": False}
    config = TrainConfig(**given, **steps, **sizes)
    train(config)
    train(config.model_copy(update={"steps": 20}))
    evaluate(EvaluateConfig(run=work / "run", features=features, resamples=20))
    index = build_index(IndexConfig(run=str(work / "run"), features=features))
    for clip in index.ids[:50]:
        index.search(video=str(clip), k=10)


def counted(work: Path) -> dict[str, float]:
    """Count what this process holds, and what lies in its folders."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)  # what the allocator keeps is no leak
    me = psutil.Process()
    return {
        "resident MB": me.memory_info().rss / 1e6,
        "open files": me.num_fds(),
        "threads": me.num_threads(),
        "files left": sum(1 for _ in work.rglob("*")),
    }


def grown(rounds: list[dict[str, float]]) -> dict[str, tuple[float, float]]:
    """Return what grew: its medians in the second and in the last third of the rounds.

    The first third is left out: libraries are loaded, and buffers get their size.
    """
    third = len(rounds) // 3
    found = {}
    for name, slack in SLACK.items():
        values = [one[name] for one in rounds]
        before, after = median(values[third : 2 * third]), median(values[2 * third :])
        if after > slack * before:
            found[name] = (before, after)
    return found


def main() -> None:
    """Go round until the time is up, and say what grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=5)
    minutes, rounds = parser.parse_args().minutes, []
    spawn = multiprocessing.get_context("spawn")
    busy = [spawn.Process(target=compute, daemon=True) for _ in range(os.cpu_count() or 1)]
    with tempfile.TemporaryDirectory(prefix="xmodal-soak-") as folder:
        work = Path(folder)
        tempfile.tempdir = str(work / "temporary")  # what the libraries leave there is counted
        Path(tempfile.tempdir).mkdir()
        features = make_features(work)
        for process in busy:
            process.start()
        end = time.monotonic() + 60 * minutes
        while time.monotonic() < end or len(rounds) < 6:
            round_of_work(work, features, len(rounds) % 2)
            rounds.append(counted(work))
            told = ", ".join(f"{value:.0f} {name}" for name, value in rounds[-1].items())
            print(f"round {len(rounds)}: {told}", flush=True)
        tempfile.tempdir = None
    found = grown(rounds)
    for name, (before, after) in found.items():
        print(f"{name} grew: from {before:.1f} to {after:.1f}")
    print(f"{len(rounds)} rounds" if found else f"Nothing grew in {len(rounds)} rounds.")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
