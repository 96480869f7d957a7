"""How long a search among many clips takes, exact and by an inverted file, beside faiss.

    python benchmarks/search.py WORK [--clips 1000000] [--dimension 256]

Features are drawn around random centres, as those of clips lie in groups, and embedded by a small
network that is trained for a moment. Times are medians of single queries, taken in turns; the
results go to `benchmarks/search.json` and `.md`.
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
from side_by_side import in_turns, machine

from xmodal.config import TrainConfig
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.index import build_index
from xmodal.search import open_gallery
from xmodal.search_options import IndexConfig
from xmodal.train import train

HERE = Path(__file__).parent


def make_run(work: Path, clips: int, dimension: int) -> None:
    """Prepare clips whose two modalities lie near each other, and train a small network."""
    rng = np.random.default_rng(0)
    group = rng.integers(clips // 500 + 1, size=clips)
    centres = rng.normal(size=(group.max() + 1, 32))
    hidden = (centres[group] + 0.5 * rng.normal(size=(clips, 32))).astype(np.float32)
    noise = 0.1 * rng.normal(size=(2, clips, 32)).astype(np.float32)
    np.savez(work / "pairs.npz", visual=hidden + noise[0], audio=hidden + noise[1])
    sizes = {"evaluation_clips": clips // 10, "validation_clips": clips // 10}
    prepare(PrepareConfig(shards=work / "pairs.npz", out=work / "features", **sizes))
    steps = {"steps": 50, "validate_every": 50, "progress": False, "batch_size": 256}
    sizes = {"visual_hidden": (64,), "audio_hidden": (64,), "embedding_dim": dimension}
    train(TrainConfig(features=work / "features", out=work / "run", **steps, **sizes))


def main() -> None:
    """Build both indexes, search in turns, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    make_run(given.work, given.clips, given.dimension)
    indexes, seconds = {}, {}
    for name, exact in {"exact": given.clips, "inverted file": 0}.items():
        made = {"run": str(given.work / "run"), "features": given.work / "features"}
        begun = time.perf_counter()
        build_index(IndexConfig(**made, out=given.work / name, exact=exact))
        seconds[f"seconds to build: {name}"] = round(time.perf_counter() - begun, 1)
        begun = time.perf_counter()
        indexes[name] = open_gallery(given.work / name)
        seconds[f"milliseconds to open: {name}"] = round(1000 * (time.perf_counter() - begun), 1)
    visual, audio = indexes["exact"].embedded
    flat = faiss.IndexFlatIP(given.dimension)
    flat.add(audio)

    queries = visual[:: max(1, given.clips // 40), None]

    def searches(search: Callable[..., Any], *asked: Any) -> Callable[[], Any]:
        left = iter(queries)
        return lambda: search(next(left), *asked)

    ways = {"faiss flat, in memory, hubness not corrected": searches(flat.search, 10)}
    for name, index in indexes.items():
        ways[f"index, {name}, memory-mapped"] = searches(index.nearest, "audio", 10)
    middle = 1000 * pd.Series(in_turns(ways, len(queries), first=0)).map(np.median)
    frame = pd.DataFrame({"median ms": middle, "of faiss flat": middle / middle.iloc[0]}).round(3)
    note = {"clips": given.clips, "dimension": given.dimension, **seconds}
    found = indexes["inverted file"].about["found"]  # of sounds, and of videos
    note["share of the ten nearest that the inverted file finds"] = round(min(found), 3)
    note["peak memory (GB)"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)
    note["threads"] = machine()["threads"]
    rows = frame.rename_axis("search").reset_index()
    content = {**note, "rows": rows.to_dict("records")}
    (given.out / "search.json").write_text(json.dumps(content, indent=1) + "\n")
    lines = "\n".join(f"- {name}: {value:,}" for name, value in note.items())
    page = f"# Search among many clips\n\n{lines}\n\n{rows.to_markdown(index=False)}\n"
    (given.out / "search.md").write_text(page)


if __name__ == "__main__":
    main()
