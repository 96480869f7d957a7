"""How far does it go? A million clips prepared and trained on: clips/s, memory, disk.

Real shards are repeated under new ids. Preparation is timed as it is,
then killed half-way and started again; training is timed on the large set and, in turn, on the
small one that it was made from, so that the ratio says what reading from disk costs.

    python benchmarks/scale.py SHARDS VOCABULARY WORK [--copies 28]

WORK needs about 15 GB a million clips and is left for a look. The numbers are those of the machine
it runs on; `benchmarks/scale.json` and `benchmarks/scale.md` keep them.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import psutil

from xmodal.checkpoint import read_history
from xmodal.data.features import read_manifest
from xmodal.data.framing import write_records
from xmodal.data.schema import encode_example, read_shard

HERE = Path(__file__).parent
ALL_VIDEOS = 6_100_000
STEPS = 130
"""Steps of a timed training: two windows of 65,536 clips, and a little of the third."""
ROUNDS = 3
HELD_OUT = {"evaluation_clips": 6000, "validation_clips": 3000}
PARTS = ".*.partial/parts/*[0-9].npz"


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


def watched(command: str, kill_after: int | None = None, **options: Any) -> dict[str, float]:
    """Run an `xmodal` command; return its seconds and its peak memory in MB.

    Memory is the proportional set size of it and its children: pages that several share count once.
    With ``kill_after`` all of them are killed when so many shards are converted.
    """
    words = [sys.executable, "-m", "xmodal", command, *(f"--{k}={v}" for k, v in options.items())]
    began, peak = time.perf_counter(), 0
    process = psutil.Popen(words, stdout=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None:
        peak = max(peak, memory(process))
        if kill_after and len(list(Path(options["out"]).parent.glob(PARTS))) >= kill_after:
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(0.1)
    if process.returncode and not kill_after:
        sys.exit(f"{' '.join(words)}: ended with status {process.returncode}")
    return {"seconds": time.perf_counter() - began, "memory_mb": peak / 1e6}


def memory(process: psutil.Process) -> int:
    """Return the proportional set size of a process and its children: bytes."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.Error:  # it ended meanwhile
            continue
    return total


def size(folder: Path) -> int:
    """Return what the files below a folder take on the disk: bytes."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def forget(folder: Path) -> None:
    """Drop what memory holds of the files, so that they are read from the disk."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def prepare(work: Path, source: Path, vocabulary: Path, storage: str, **how: Any) -> dict[str, Any]:
    """Prepare a feature set, from files that are not in memory yet."""
    forget(source)
    out = work / f"{source.name}-{storage}"
    shutil.rmtree(out, ignore_errors=True)
    told = watched(
        "prepare",
        shards=source,
        vocabulary=vocabulary,
        out=out,
        storage=storage,
        **HELD_OUT,
        **how,
    )
    return {**told, "disk_gb": size(out) / 1e9} if out.exists() else told


def train(work: Path, features: Path) -> dict[str, float]:
    """Train the paper's network for a moment, from files that are not in memory yet."""
    forget(features)
    out = work / "run"
    shutil.rmtree(out, ignore_errors=True)
    told = watched(
        "train",
        features=features,
        out=out,
        steps=STEPS,
        validate_every=STEPS,
        progress=False,
    )
    assert read_history(out)[-1]["step"] == STEPS
    return told


def measure(shards: Path, vocabulary: Path, work: Path, copies: int) -> dict[str, Any]:
    """Take all measurements."""
    large, small = work / "large", work / "small"
    repeat(shards, small, 1)
    repeat(shards, large, copies)
    files = len(list(large.iterdir()))

    prepared = {"small, float32": prepare(work, small, vocabulary, "float32")}
    prepared["large, float32"] = prepare(work, large, vocabulary, "float32")
    rounds = [
        {name: train(work, work / f"{name}-float32") for name in ("small", "large")}
        for _ in range(ROUNDS)
    ]
    whole = read_manifest(work / "large-float32")
    prepared["large, float32, one process"] = prepare(work, large, vocabulary, "float32", jobs=1)
    assert read_manifest(work / "large-float32") == whole, "one process made another set"

    prepared["large, float16"] = prepare(work, large, vocabulary, "float16")
    half = read_manifest(work / "large-float16")
    killed = prepare(work, large, vocabulary, "float16", kill_after=files // 2)
    resumed = prepare(work, large, vocabulary, "float16")
    assert read_manifest(work / "large-float16") == half, "going on made another set"
    return {
        "clips": {
            name: sum(split["clips"] for split in read_manifest(folder)["splits"].values())
            for name, folder in (
                ("small", work / "small-float32"),
                ("large", work / "large-float32"),
            )
        },
        "shards": files,
        "shards_gb": size(large) / 1e9,
        "cores": os.cpu_count(),
        "prepare": prepared,
        "killed_seconds": killed["seconds"],
        "resumed_seconds": resumed["seconds"],
        "steps": STEPS,
        "train": rounds,
    }


PAGE = """# A million clips

{large:,} clips in {shards:,} shards ({shards_gb:.1f} GB): real ones, repeated under new ids, on
{cores} cores. Files were dropped from memory before each measurement. Every checksum is verified.
Memory counts all processes.

## Preparation

{prepared}

Killed when half of the shards were converted, after {killed_seconds:.0f} s, the same command then
needed {resumed_seconds:.0f} s instead of {half_seconds:.0f} s, and made the same set.

## Training

The paper's network, {steps} steps of 1,024 clips, as whole commands, in turn:

{trained}

The large set took {ratio:.2f} times as long as the small one (median of {rounds} rounds).

## All of YouTube-8M

6.1 million clips are {times:.2f} times as many. At the same rate that is

- {times:.2f} × {seconds:.0f} s = {all_minutes:.0f} minutes of preparation,
- {times:.2f} × {full_gb:.1f} GB = {all_full_gb:.0f} GB of features, or as float16
  {times:.2f} × {half_gb:.1f} GB = {all_half_gb:.0f} GB, beside {all_shards_gb:.0f} GB of shards,
- {small_mb:.0f} MB of memory for {small:,} clips, and from there to {large:,} another
  {growth_mb:.0f} MB, {slope:.0f} MB a million, for ids and labels:
  {small_mb:.0f} MB + {millions:.2f} × {slope:.0f} MB = {all_mb:.0f} MB.

Training holds two windows of 65,536 clips, whatever the number of clips.
"""


def page(found: dict[str, Any]) -> str:
    """Write the measurements, and what follows for all of YouTube-8M, as Markdown."""
    clips, told = found["clips"], found["prepare"]
    prepared = pd.DataFrame(
        [
            [name, n, n / one["seconds"], one["memory_mb"], one["disk_gb"]]
            for name, one in told.items()
            for n in [clips[name.split(",")[0]]]
        ],
        columns=["feature set", "clips", "clips/s", "peak memory (MB)", "disk (GB)"],
    )
    trained = pd.DataFrame(
        [
            {"feature set": name, "clips": clips[name]}
            | {
                what: median(one[name][what] for one in found["train"])
                for what in found["train"][0][name]
            }
            for name in clips
        ]
    ).rename(columns={"seconds": "seconds (median)", "memory_mb": "memory (MB, median)"})
    small, full, half = (
        told[name] for name in ("small, float32", "large, float32", "large, float16")
    )
    times, growth = ALL_VIDEOS / clips["large"], full["memory_mb"] - small["memory_mb"]
    slope = growth / (clips["large"] - clips["small"]) * 1e6
    millions = (ALL_VIDEOS - clips["small"]) / 1e6
    return PAGE.format(
        **{name: found[name] for name in ("shards", "shards_gb", "cores", "steps")},
        **{name: found[name] for name in ("killed_seconds", "resumed_seconds")},
        **clips,
        prepared=prepared.to_markdown(index=False, floatfmt=(",.0f",) * 4 + (".1f",), intfmt=","),
        trained=trained.to_markdown(index=False, floatfmt=".0f", intfmt=","),
        ratio=median(one["large"]["seconds"] / one["small"]["seconds"] for one in found["train"]),
        rounds=len(found["train"]),
        times=times,
        seconds=full["seconds"],
        half_seconds=half["seconds"],
        all_minutes=times * full["seconds"] / 60,
        full_gb=full["disk_gb"],
        half_gb=half["disk_gb"],
        all_full_gb=times * full["disk_gb"],
        all_half_gb=times * half["disk_gb"],
        all_shards_gb=times * found["shards_gb"],
        small_mb=small["memory_mb"],
        growth_mb=growth,
        slope=slope,
        millions=millions,
        all_mb=small["memory_mb"] + millions * slope,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards", type=Path, help="folder of real shards")
    parser.add_argument("vocabulary", type=Path)
    parser.add_argument("work", type=Path, help="folder for some 15 GB a million clips")
    parser.add_argument("--copies", type=int, default=28, help="of every shard")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    told = parser.parse_args()
    found = measure(told.shards, told.vocabulary, told.work, told.copies)
    (told.out / "scale.json").write_text(json.dumps(found, indent=1) + "\n")
    (told.out / "scale.md").write_text(page(found))
    print(page(found))
