"""Time ways of doing the same in turns, so that a busy machine is as busy for each of them."""

import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch

from xmodal.train import bf16_is_fast

Times = dict[str, list[float]]
"""Seconds of each way, by round."""


def in_turns(ways: Mapping[str, Callable[[], Any]], rounds: int, first: int = 1) -> Times:
    """Time each way once a round, after ``first`` rounds that do not count."""
    times: Times = {name: [] for name in ways}
    for number in range(first + rounds):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            if number >= first:
                times[name].append(time.perf_counter() - begun)
    return times


def ratio(times: Times, way: str, against: str) -> dict[str, float]:
    """Return how many times as long a way takes as another: median and range over the rounds."""
    each = [ours / theirs for ours, theirs in zip(times[way], times[against], strict=True)]
    return {"ratio": median(each), "low": min(each), "high": max(each), "rounds": len(each)}


def machine() -> dict[str, Any]:
    """Describe the machine and what computes on it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": (models or [platform.processor()])[0],
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "bf16_units": bf16_is_fast(),
        "load_before": os.getloadavg()[0],
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **{
            name: version(name) for name in ("torch", "numpy", "numba", "faiss-cpu", "torchmetrics")
        },
    }
