"""Whether anything grows: train, resume, measure and search, again and again, under pressure.

    python benchmarks/soak.py [minutes]

Meanwhile a process on each core computes, and one more holds half of the free memory and rewrites
it. After each round memory, open files, threads and temporary files are counted; at the end the
exit status is 1 if one of them grew.
"""

import argparse
import ctypes
import gc
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import psutil

from xmodal.config import TrainConfig
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.evaluation.recall import MeasureConfig, measure_run
from xmodal.search import IndexConfig, build_index
from xmodal.synthetic.sample import SampleConfig, write_sample
from xmodal.train import train

SLACK = {"resident MB": 1.05, "open files": 1, "threads": 1, "files left": 1}
"""By what factor the last third of the rounds may exceed the second; memory comes in steps."""
CLIPS = 2_000


def compute() -> None:
    """Keep a core busy, after all others."""
    os.nice(10)
    values = np.random.default_rng(0).normal(size=(300, 300))
    while os.getppid() != 1:
        np.tanh(values @ values)


def hold(share: float) -> None:
    """Hold a share of the free memory, and rewrite it once a second."""
    os.nice(10)
    held = np.zeros(int(share * psutil.virtual_memory().available), np.uint8)
    while os.getppid() != 1:
        held[::4096] += 1
        time.sleep(1)


@contextmanager
def pressure(cores: int, share: float) -> Iterator[None]:
    """Compute on so many cores and hold a share of the memory as long as the block runs."""
    spawn = multiprocessing.get_context("spawn")
    work = [spawn.Process(target=compute, daemon=True) for _ in range(cores)]
    work.append(spawn.Process(target=hold, args=(share,), daemon=True))
    for process in work:
        process.start()
    try:
        yield
    finally:
        for process in work:
            process.kill()
            process.join()


def round_of_work(work: Path, seed: int) -> None:
    """Train, resume, measure and search once; the run of the round before is replaced."""
    run, features = work / "run", work / "features"
    sizes = {"visual_hidden": (64,), "audio_hidden": (64,), "embedding_dim": 32, "batch_size": 256}
    config = TrainConfig(
        **{"features": features, "out": run, "seed": seed, "overwrite": True, "progress": False},
        **{"steps": 10, "validate_every": 5, "class_start_step": 5, **sizes},
    )
    train(config)
    train(config.model_copy(update={"steps": 20}))
    measure_run(MeasureConfig(run=run, features=features, resamples=20))
    index = build_index(IndexConfig(run=str(run), features=features, exact=500))
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
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="kept busy meanwhile")
    parser.add_argument("--memory", type=float, default=0.5, help="share of the free memory held")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xmodal-soak-") as folder:
        work = Path(folder)
        tempfile.tempdir = str(work / "temporary")  # what the libraries leave there is counted
        Path(tempfile.tempdir).mkdir()
        write_sample(SampleConfig(out=work / "sample", clips=CLIPS, clips_per_shard=100))
        shards = {"shards": work / "sample/shards", "vocabulary": work / "sample/vocabulary.csv"}
        sizes = {"evaluation_clips": 400, "validation_clips": 400}
        prepare(PrepareConfig(out=work / "features", **shards, **sizes))
        rounds: list[dict[str, float]] = []
        end = time.monotonic() + 60 * given.minutes
        with pressure(given.cores, given.memory):
            while time.monotonic() < end or len(rounds) < 6:
                round_of_work(work, len(rounds) % 2)
                rounds.append(counted(work))
                numbers = ", ".join(f"{value:.0f} {name}" for name, value in rounds[-1].items())
                print(f"round {len(rounds)}: {numbers}", flush=True)
        tempfile.tempdir = None
    found = grown(rounds)
    for name, (before, after) in found.items():
        print(f"{name} grew: from {before:.1f} to {after:.1f}")
    if not found:
        print(f"Nothing grew in {len(rounds)} rounds.")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
