"""Write the weights that come with the package: a run in float16, its card, and embedded clips.

    python docs/ship.py OUT FEATURES RUN...

OUT is a folder named as the weights will be called; of the runs, trained on the feature set
FEATURES, the best on validation clips is taken.
"""

import argparse
import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save

from xmodal.checkpoint import WEIGHTS, RunFolder
from xmodal.config import InputError
from xmodal.data.features import FeatureSet, open_features
from xmodal.evaluation.recall import embed_run, mean_recall, recall_frame
from xmodal.files import atomic, digest, locked
from xmodal.model import Embeddings
from xmodal.search import CLIPS

CARD = Path(__file__).with_name("card.template")
FILES = (WEIGHTS, "config.json", "result.json", CLIPS, "README.md")
GALLERIES = (256, 512, 1024)
ALLOWED = 0.1
"""Points of recall that float16 may move."""


def ship(out: Path, features: Path, runs: list[Path]) -> None:
    """Write the best run; InputError if float16 moves a recall by more than `ALLOWED` points."""
    validation, clips = (open_features(features, name) for name in ("validation", "evaluation"))
    scores = {run: mean_recall(embed_run(run, validation), validation) for run in runs}
    best = max(scores, key=scores.__getitem__)
    stored, result = RunFolder(best).read("config.json"), RunFolder(best).read("result.json")
    stored["sizes"]["classes"] = 1  # the classifier was never trained: λ is 0
    stored["config"].update(features="data/yt8m/features", out=f"runs/{out.name}")
    result.pop("weights", None)  # which were in float32
    half = {
        name: weight[:1] if name.startswith("classifier.") else weight.half()
        for name, weight in load_file(best / WEIGHTS).items()
    }
    with locked(out), atomic(out) as fresh:
        fresh.mkdir()
        (fresh / WEIGHTS).write_bytes(save(half))
        RunFolder(fresh).write("config.json", stored)
        RunFolder(fresh).write("result.json", result)
        embedded = embed_run(fresh, clips)
        (fresh / CLIPS).write_bytes(save(as_stored(embedded, clips)))
        found, before = recalls(embedded, clips), recalls(embed_run(best, clips), clips)
        moved = (found["recall"] - before["recall"]).abs().max()
        if moved > ALLOWED:
            raise InputError(f"float16 moves a recall of {best} by {moved:.2f} points")
        config, git = stored["config"], ["git", "rev-parse", "--short", "HEAD"]
        units = ", ".join(f"{units:,}" for units in config["visual_hidden"])
        text = CARD.read_text(encoding="utf-8").format(
            **{"name": out.name, "config": config, "result": result, "clips": len(clips)},
            **{"data": stored["data"], "runs": len(runs), "moved": moved, "table": table(found)},
            hidden=f"{units} {config['activation'].upper()}",
            epochs=result["step"] * config["batch_size"] / result["training_clips"],
            queries=int((~clips.silent).sum()),
            commit=subprocess.check_output(git, text=True).strip(),
        )
        (fresh / "README.md").write_text(text, encoding="utf-8")
        manifest = {name: digest(fresh / name) for name in FILES}
        (fresh / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def as_stored(embedded: Embeddings, clips: FeatureSet) -> dict[str, torch.Tensor]:
    """Return embedded clips as `xmodal.search.open_gallery` reads them; no id has a line break."""
    return {
        "visual": embedded.visual.half().contiguous(),
        "audio": embedded.audio.half().contiguous(),
        "ids": torch.frombuffer(bytearray("\n".join(clips.ids).encode()), dtype=torch.uint8),
        "label_indptr": torch.from_numpy(np.array(clips.labels.indptr, np.int32)),
        "label_indices": torch.from_numpy(np.array(clips.labels.indices, np.int32)),
    }


def recalls(embedded: Embeddings, clips: FeatureSet) -> pd.DataFrame:
    """Measure recall over the clips that are not silent."""
    return recall_frame([embedded], [*GALLERIES, int((~clips.silent).sum())], ~clips.silent)


def table(frame: pd.DataFrame) -> str:
    """Lay recalls out in Markdown with a line a gallery."""
    bounds = zip(frame["recall"], frame["low"], frame["high"], strict=True)
    cells = [f"{recall:.1f} [{low:.1f}, {high:.1f}]" for recall, low, high in bounds]
    frame = frame.assign(cell=cells, head=frame["direction"] + " R@" + frame["k"].astype(str))
    wide = frame.pivot(index="gallery", columns="head", values="cell")[frame["head"].unique()]
    return wide.rename_axis(index="N").reset_index().to_markdown(index=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("features", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    ship(**vars(parser.parse_args()))
