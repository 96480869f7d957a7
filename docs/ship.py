"""Write the weights that come with the package: a network and kernel CCA beside it, in 8 bits.

    python docs/ship.py OUT FEATURES YOUTUBE_IDS RUN...

OUT is a folder named as the weights will be called; of the runs, trained on the feature set
FEATURES, the best on validation clips is taken. Embedded clips with their hubness correction, the
names of their labels and those YouTube ids that the CSV file YOUTUBE_IDS knows, and a card, stand
beside the weights.
"""

import argparse
import json
import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save

from xmodal.checkpoint import NOTED, SCALE, RunFolder, build_model, load_run
from xmodal.config import InputError
from xmodal.data.features import SPLITS, FeatureSet, evenly, open_features
from xmodal.evaluation import hubness
from xmodal.evaluation.cca import choose_kernel_cca, kernel_module
from xmodal.evaluation.recall import embed_run, mean_recall, rank_frame, recall_of
from xmodal.files import WEIGHTS, atomic, digest, locked
from xmodal.fourier import KernelCCA
from xmodal.index import BANK
from xmodal.model import Embeddings, JointEmbedding
from xmodal.search import CLIPS
from xmodal.youtube8m.resolve import read_youtube_ids

CARD = Path(__file__).with_name("card.template")
FILES = (WEIGHTS, "config.json", "result.json", CLIPS, "README.md")
GALLERIES = (256, 512, 1024)
WEIGHTS_OF_KERNEL = (0.0, 0.125, 0.25, 0.5, 1.0)
"""The grid for kernel CCA beside the network, whose weight is 1."""
RANDOM_FEATURES, DIRECTIONS = 3072, 256
"""Of kernel CCA; more directions would take more room than they give recall."""
ALLOWED = 0.1
"""Points of recall that storing weights in 8 bits may move."""


def ship(out: Path, features: Path, youtube_ids: Path, runs: list[Path]) -> None:
    """Write the best run; InputError if 8 bits move a recall by more than `ALLOWED` points."""
    train, validation, clips = (open_features(features, name) for name in SPLITS)
    scores = {run: mean_recall(embed_run(run, validation), validation) for run in runs}
    best = max(scores, key=scores.__getitem__)
    stored, result = RunFolder(best).read("config.json"), RunFolder(best).read("result.json")
    stored["sizes"]["classes"] = 1  # the classifier was never trained: λ is 0
    stored["config"].update(features="data/yt8m/features", out=f"runs/{out.name}")
    result = {key: result[key] for key in result if key not in NOTED}  # of weights in float32

    some = train.take(evenly(len(train), BANK))
    model, choice = with_kernel(best, runs, features, some, validation)
    stored["sizes"] |= {"random_features": RANDOM_FEATURES, "directions": model.directions}
    result["chosen"] = choice
    weights = model.state_dict()
    weights |= {f"classifier.{n}": weights[f"classifier.{n}"][:1] for n in ("weight", "bias")}
    for name in [name for name, weight in weights.items() if weight.ndim > 1]:
        scale = weights[name].abs().amax(dim=1, keepdim=True).clamp_min(1e-12) / 127
        weights |= {name: (weights[name] / scale).round().to(torch.int8), name + SCALE: scale}
    with locked(out), atomic(out) as fresh:
        fresh.mkdir()
        (fresh / WEIGHTS).write_bytes(save(weights))
        RunFolder(fresh).write("config.json", stored)
        RunFolder(fresh).write("result.json", result)
        both = [ranked(one, choice, some, clips) for one in (load_run(fresh)[0], model)]
        found, before = (recalls(corrected, clips) for _, _, corrected in both)
        moved = (found["recall"] - before["recall"]).abs().max()
        if moved > ALLOWED:
            raise InputError(f"8 bits move a recall of {best} by {moved:.2f} points")
        embedded, penalty, _ = both[0]
        known = read_youtube_ids(youtube_ids)
        (fresh / CLIPS).write_bytes(save(as_stored(embedded, penalty, clips, known)))
        config, git = stored["config"], ["git", "rev-parse", "--short", "HEAD"]
        units = ", ".join(f"{units:,}" for units in config["visual_hidden"])
        text = CARD.read_text(encoding="utf-8").format(
            **{"name": out.name, "config": config, "result": result, "clips": len(clips)},
            **{"data": stored["data"], "runs": len(runs), "moved": moved, "table": table(found)},
            **{"dim": model.dim, "sizes": stored["sizes"], "chosen": choice},
            hidden=f"{units} {config['activation'].upper()}",
            epochs=result["step"] * config["batch_size"] / result["training_clips"],
            queries=int((~clips.silent).sum()),
            commit=subprocess.check_output(git, text=True).strip(),
        )
        (fresh / "README.md").write_text(text, encoding="utf-8")
        manifest = {name: digest(fresh / name) for name in FILES}
        (fresh / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def with_kernel(
    run: Path, runs: list[Path], features: Path, bank: FeatureSet, validation: FeatureSet
) -> tuple[JointEmbedding, dict[str, float]]:
    """Put kernel CCA beside the network of a run; return both, and what validation clips chose.

    They choose its weight and the correction for all runs together, since of one run alone they
    would choose by chance.
    """
    (fitted, _), grid = choose_kernel_cca(features, RANDOM_FEATURES)
    fitted = fitted.first(DIRECTIONS)
    same = grid["directions"] == len(fitted.correlation)
    power = float(grid[same & (grid["random features"] == RANDOM_FEATURES)].iloc[0]["power"])
    grids = []
    for one, weight in product(runs, WEIGHTS_OF_KERNEL):
        model = beside(one, kernel_module(fitted, power, weight))
        both = (model.embed(some.visual, some.audio) for some in (validation, bank))
        grids.append(hubness.correction_grid(*both, validation).assign(kernel=weight))
    mean = pd.concat(grids).groupby(["kernel", "sharpness", "weight"])["validation R@1"].mean()
    best = mean.reset_index().loc[mean.argmax()].to_dict()
    return beside(run, kernel_module(fitted, power, best["kernel"])), best


def beside(run: Path, kernel: KernelCCA) -> JointEmbedding:
    """Return the network of a run with kernel CCA beside it."""
    network, config = load_run(run)
    sizes = {
        "random_features": RANDOM_FEATURES,
        "directions": kernel.visual.projection.out_features,
    }
    model = build_model(config, RunFolder(run).read("config.json")["sizes"] | sizes).eval()
    model.load_state_dict(network.state_dict(), strict=False)
    model.kernel_cca = kernel
    return model


def ranked(
    model: JointEmbedding, choice: dict[str, float], bank: FeatureSet, clips: FeatureSet
) -> tuple[Embeddings, list[torch.Tensor], Embeddings]:
    """Embed clips; return the embeddings, the penalty of each item, and both for ranking."""
    embedded, known = (model.embed(some.visual, some.audio) for some in (clips, bank))
    pulled = hubness.attraction(embedded, known, choice["sharpness"])
    corrected = hubness.corrected(embedded, pulled, choice["weight"])
    return embedded, [choice["weight"] * values[:, 0] for values in pulled], corrected


def as_stored(
    embedded: Embeddings,
    penalty: list[torch.Tensor],
    clips: FeatureSet,
    youtube_ids: dict[str, str | None],
) -> dict[str, torch.Tensor]:
    """Return embedded clips as `xmodal.search.open_gallery` reads them.

    Coordinates are whole numbers to 127, as a share of the largest of their clip; no text has a
    line break.
    """
    texts = {
        "ids": clips.ids,
        "label_names": clips.label_names,
        "youtube_ids": [youtube_ids.get(clip) or "" for clip in clips.ids],
    }
    visual, audio = (
        (127 * side / side.abs().amax(dim=1, keepdim=True)).round().to(torch.int8)
        for side in embedded[:2]
    )
    return {
        "visual": visual,
        "audio": audio,
        "visual_penalty": penalty[0],
        "audio_penalty": penalty[1],
        "label_indptr": torch.from_numpy(np.array(clips.labels.indptr, np.int32)),
        "label_indices": torch.from_numpy(np.array(clips.labels.indices, np.int32)),
        **{
            name: torch.frombuffer(bytearray("\n".join(some).encode()), dtype=torch.uint8)
            for name, some in texts.items()
        },
    }


def recalls(corrected: Embeddings, clips: FeatureSet) -> pd.DataFrame:
    """Measure recall over the clips that are not silent."""
    sizes = [*GALLERIES, int((~clips.silent).sum())]
    return recall_of(rank_frame([corrected], sizes, ~clips.silent, cosine=False))


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
    parser.add_argument("youtube_ids", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    ship(**vars(parser.parse_args()))
