"""How long a search among many clips takes, exact and by an inverted file: beside faiss and torch.

    python benchmarks/search.py WORK [--clips 1000000] [--dimension 256]

The vectors are drawn around random centres, as embeddings of clips lie in groups. Times are medians
of single queries, taken in turns; the results go to `benchmarks/search.json` and `.md`.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch.nn.functional import normalize

from xmodal.model import Embeddings
from xmodal.search import SIDES, Index, write_parts

HERE = Path(__file__).parent


def draw(folder: Path, clips: int, dimension: int) -> None:
    """Write vectors of both modalities, the two of a clip near each other."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = (clips, dimension)
    stored = [
        np.lib.format.open_memmap(folder / f"{s}.npy", "w+", np.float32, shape) for s in SIDES
    ]
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(clips // 500 + 1, dimension)).astype(np.float32)
    for start in range(0, clips, 50_000):
        rows = slice(start, min(start + 50_000, clips))
        size = (rows.stop - start, dimension)
        clip = centres[rng.integers(len(centres), size=size[0])]
        clip = clip + rng.normal(size=size).astype(np.float32)
        for values in stored:
            noisy = clip + 0.5 * rng.normal(size=size).astype(np.float32)
            values[rows] = noisy / np.linalg.norm(noisy, axis=1, keepdims=True)
    np.save(folder / "penalty.npy", (0.05 * rng.random(clips)).astype(np.float32))


def main() -> None:
    """Build, search in turns, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=256)
    given = parser.parse_args()
    draw(given.work, given.clips, given.dimension)
    visual, audio = (np.load(given.work / f"{s}.npy", mmap_mode="c") for s in SIDES)
    penalty = np.load(given.work / "penalty.npy", mmap_mode="c")
    begun = time.perf_counter()
    found = write_parts(given.work / "audio.faiss", audio, penalty, visual)
    built = time.perf_counter() - begun

    begun = time.perf_counter()
    parts = faiss.read_index(str(given.work / "audio.faiss"), faiss.IO_FLAG_MMAP)
    opened = time.perf_counter() - begun
    embedded = torch.from_numpy(visual), torch.from_numpy(audio)
    taken = (torch.from_numpy(penalty),) * 2
    nothing = sparse.csr_array((given.clips, 0), dtype=np.float32)
    common = (Embeddings(*embedded), np.arange(given.clips).astype(str), nothing, (), taken)
    exact, partly = Index(*common), Index(*common, parts=(parts, parts))
    flat = faiss.IndexFlatIP(given.dimension)
    flat.add(audio)

    queries = [embedded[0][row] for row in range(0, given.clips, given.clips // 40)]
    ways: dict[str, Callable[[torch.Tensor], Any]] = {
        "faiss flat, in memory, hubs not corrected": lambda q: flat.search(q[None].numpy(), 10),
        "index, exact, memory-mapped": lambda q: exact.found(q, "audio", 10),
        "index, inverted file, memory-mapped": lambda q: partly.found(q, "audio", 10),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for query in queries:
        for way, search in ways.items():
            begun = time.perf_counter()
            search(normalize(query, dim=0))
            times[way].append(time.perf_counter() - begun)
    frame = pd.DataFrame(
        {
            "search": list(ways),
            "median ms": [1000 * np.median(some) for some in times.values()],
            "of faiss flat": [
                np.median(some) / np.median(times[next(iter(ways))]) for some in times.values()
            ],
            "share of the ten nearest": [1.0, 1.0, found],
        }
    ).round(3)
    note = {
        "clips": given.clips,
        "dimension": given.dimension,
        "seconds to build the inverted file": round(built, 1),
        "milliseconds to open it": round(1000 * opened, 1),
        "peak memory, GB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "threads": torch.get_num_threads(),
    }
    (HERE / "search.json").write_text(
        json.dumps({**note, "rows": frame.to_dict("records")}, indent=1) + "\n"
    )
    lines = [f"- {name}: {value:,}" for name, value in note.items()]
    (HERE / "search.md").write_text(
        "# Search among many clips\n\n"
        + "\n".join(lines)
        + "\n\n"
        + frame.to_markdown(index=False)
        + "\n"
    )
    print((HERE / "search.md").read_text())


if __name__ == "__main__":
    main()
