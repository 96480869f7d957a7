"""How far does it go? A million clips prepared and trained on: clips/s, memory, disk.

Real shards are repeated under new ids. Training is timed on the large set and, in turn, on the
small one that it was made from, so that the ratio says what reading from disk costs.

    python benchmarks/scale.py SHARDS VOCABULARY WORK [--copies 28]

WORK needs about 15 GB a million clips and is left for a look. The numbers are those of the machine
it runs on; `benchmarks/scale.json` and `benchmarks/scale.md` keep them.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from xmodal.data.features import read_manifest
from xmodal.data.schema import encode_example, read_shard
from xmodal.data.tfrecord import write_records

HERE = Path(__file__).parent
ALL_VIDEOS = 6_100_000
STEPS, ROUNDS = 130, 3
"""Steps of a timed training (two windows of 65,536 clips, and a little of the third); trainings."""
SPLIT = {"evaluation_clips": 6000, "validation_clips": 3000}
SETS = {"small, float32": "small", "large, float32": "large", "large, float16": "large"}


def repeat(shards: Path, target: Path, copies: int) -> None:
    """Write copies of all shards, each with ids of its own, unless that was done before."""
    if target.exists():
        return
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for copy in range(copies):
        for path in sorted(shards.rglob("*.tfrecord")):
            renamed = (clip._replace(id=f"{clip.id}-{copy}") for clip in read_shard(path))
            write_records(partial / f"copy{copy:03d}-{path.name}", map(encode_example, renamed))
    partial.rename(target)


def watched(source: Path, command: str, **options: Any) -> dict[str, float]:
    """Run an `xmodal` command on files that are not in memory yet: its seconds and peak memory."""
    os.sync()
    for path in [path for path in source.rglob("*") if path.is_file()]:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    shutil.rmtree(options["out"], ignore_errors=True)
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    line, begun = [sys.executable, "-m", "xmodal", command, *words], time.perf_counter()
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"xmodal {command} {' '.join(words)}: ended with wait status {status}")
    return {"seconds": time.perf_counter() - begun, "memory_mb": used.ru_maxrss * 1024 / 1e6}


def size(folder: Path) -> float:
    """Return what the files below a folder take on the disk: GB."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()) / 1e9


def measure(shards: Path, vocabulary: Path, work: Path, copies: int) -> dict[str, Any]:
    """Prepare all sets, and train on the small and on the large one in turn."""
    repeat(shards, work / "small", 1)
    repeat(shards, work / "large", copies)
    prepared: dict[str, dict[str, float]] = {}
    for name, folder in SETS.items():
        out, storage = work / name.replace(", ", "-"), name.split(", ")[1]
        given = {"shards": work / folder, "vocabulary": vocabulary, "storage": storage, "out": out}
        told = watched(work / folder, "prepare", **given, **SPLIT)
        clips = sum(split["clips"] for split in read_manifest(out)["splits"].values())
        prepared[name] = {"clips": clips, **told, "disk_gb": size(out)}

    def train(name: str) -> dict[str, float]:
        features, steps = work / f"{name}-float32", {"steps": STEPS, "validate_every": STEPS}
        given = {"features": features, "out": work / "run", "progress": "false"}
        return watched(features, "train", **given, **steps)

    return {
        "shards": len(list((work / "large").iterdir())),
        "shards_gb": size(work / "large"),
        "cores": os.cpu_count(),
        "prepare": prepared,
        "steps": STEPS,
        "train": [{name: train(name) for name in ("small", "large")} for _ in range(ROUNDS)],
    }


PAGE = """# A million clips

{large:,.0f} clips in {shards:,} shards ({shards_gb:.1f} GB): real ones, repeated under new ids, on
{cores} cores. Files were dropped from memory before each measurement. Every checksum is verified.

## Preparation

{prepared}

## Training

The paper's network, {steps} steps of 1,024 clips, as whole commands, in turn:

{trained}

The large set took {ratio:.2f} times as long as the small one (median of {rounds} rounds).

## All of YouTube-8M

6.1 million clips are {times:.2f} times as many. At the same rate that is

- {times:.2f} × {seconds:.0f} s = {all_minutes:.0f} minutes of preparation,
- {times:.2f} × {full:.1f} GB = {all_full:.0f} GB of features, or as float16
  {times:.2f} × {half:.1f} GB = {all_half:.0f} GB, beside {all_shards:.0f} GB of shards.

Training holds two windows of 65,536 clips, whatever the number of clips.
"""


def page(found: dict[str, Any]) -> str:
    """Write the measurements, and what follows for all of YouTube-8M, as Markdown."""
    prepared = pd.DataFrame(found["prepare"]).T
    prepared.insert(1, "clips/s", prepared["clips"] / prepared["seconds"])
    large = prepared.loc["large, float32", "clips"]
    both = pd.concat({n: pd.DataFrame(one).T for n, one in enumerate(found["train"])}, names=["n"])
    trained = both.groupby(level=1, sort=False).median()
    heads = {"seconds": "seconds (median)", "memory_mb": "peak memory (MB)", "disk_gb": "disk (GB)"}
    times = ALL_VIDEOS / large
    seconds, full = prepared.loc["large, float32", ["seconds", "disk_gb"]]
    half = prepared.loc["large, float16", "disk_gb"]
    form = {"floatfmt": (None, ",.0f", ",.0f", ",.0f", ".1f")}
    return PAGE.format(
        **{name: found[name] for name in ("shards", "shards_gb", "cores", "steps")},
        **{"large": large, "times": times, "seconds": seconds, "full": full, "half": half},
        prepared=prepared.drop(columns="seconds").rename(columns=heads).to_markdown(**form),
        trained=trained.rename(columns=heads).to_markdown(floatfmt=",.0f"),
        ratio=median(one["large"]["seconds"] / one["small"]["seconds"] for one in found["train"]),
        rounds=len(found["train"]),
        all_minutes=times * seconds / 60,
        all_full=times * full,
        all_half=times * half,
        all_shards=times * found["shards_gb"],
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards", type=Path, help="folder of real shards")
    parser.add_argument("vocabulary", type=Path)
    parser.add_argument("work", type=Path, help="folder for some 15 GB a million clips")
    parser.add_argument("--copies", type=int, default=28, help="of every shard")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    given = parser.parse_args()
    found = measure(given.shards, given.vocabulary, given.work, given.copies)
    (given.out / "scale.json").write_text(json.dumps(found, indent=1) + "\n")
    (given.out / "scale.md").write_text(page(found))
