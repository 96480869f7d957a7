"""Weights to use without training: a run in float16 with its card, and clips to search among."""

from pathlib import Path

import pandas as pd
from pydantic import Field
from safetensors.torch import load_file, save

from xmodal.checkpoint import WEIGHTS, RunFolder, digest
from xmodal.config import InputError, StageConfig
from xmodal.data.features import SPLITS, FeatureSet, open_features
from xmodal.evaluation.recall import embed_run, mean_recall, recall_frame
from xmodal.files import atomic, locked, require_empty
from xmodal.model import Embeddings
from xmodal.retrieval.gallery import save_gallery
from xmodal_suite.provenance import project_commit
from xmodal_suite.render import without_tags
from xmodal_suite.tables import RECALL_COLUMNS, flat, recall_layout

ALLOWED = 0.1
"""Points of recall that float16 may move."""


class ShipConfig(StageConfig):
    """Which weights are shipped."""

    runs: list[Path] = Field(min_length=1, description="the best on validation clips is taken")
    features: Path = Field(description="feature set that they were trained on")
    out: Path = Field(description="folder for the weights, named as they will be called")
    galleries: list[int] = Field([256, 512, 1024], description="candidates per query, in the card")


CARD = Path(__file__).with_name("card.md")
"""What is said of the weights, with a place for each number."""


def ship(config: ShipConfig) -> str:
    """Write the best of some runs in float16, with the embedded evaluation clips; return the card.

    InputError if float16 moves a recall by more than `ALLOWED` points, a run is not finished, or
    ``out`` holds something else.
    """
    if not (config.out / "manifest.json").exists():
        require_empty(config.out, "weights to ship")
    with locked(config.out):
        with atomic(config.out) as fresh:
            card = _write(config, fresh)
        return card


def _write(config: ShipConfig, out: Path) -> str:
    """Write what `ship` says to a folder; return the card."""
    validation, clips = (open_features(config.features, split) for split in SPLITS[1:])
    scores = {run: mean_recall(embed_run(run, validation), validation) for run in config.runs}
    best = max(scores, key=scores.__getitem__)
    out.mkdir()
    half = {
        name: weight[:1] if name.startswith("classifier.") else weight.half()  # λ is 0
        for name, weight in load_file(best / WEIGHTS).items()
    }
    stored, result = RunFolder(best).read("config.json"), RunFolder(best).read("result.json")
    stored["sizes"]["classes"] = 1  # the classifier was never trained
    settings = stored["config"]
    settings.update(features="data/yt8m/features", out=f"runs/{config.out.name}")
    (out / WEIGHTS).write_bytes(save(half))
    folder = RunFolder(out)
    folder.write("config.json", stored)
    result.pop("weights", None)  # which were in float32
    folder.write("result.json", result)

    embedded, before = embed_run(out, clips), embed_run(best, clips)
    save_gallery(out, embedded, clips.ids, (clips.labels.indptr, clips.labels.indices))
    frame = recalls(embedded, clips, config)
    moved = (frame["recall"] - recalls(before, clips, config)["recall"]).abs().max()
    if moved > ALLOWED:
        raise InputError(f"float16 moves a recall of {best} by {moved:.2f} points: ship float32")
    hidden = settings["visual_hidden"]
    card = CARD.read_text(encoding="utf-8").format(
        name=config.out.name,
        dimension=settings["embedding_dim"],
        layers=f"{', '.join(f'{n:,}' for n in hidden)} {settings['activation'].upper()} units, "
        f"{settings['embedding_dim']} linear ones",
        clips=result["training_clips"],
        source=without_tags(clips.source),
        fingerprint=stored["data"][:16],
        objective=settings["objective"],
        passes=result["step"] * settings["batch_size"] / result["training_clips"],
        steps=result["step"],
        best=result["best_step"],
        seed=settings["seed"],
        runs=len(config.runs),
        moved=moved,
        commit=project_commit(),
        queries=int((~clips.silent).sum()),
        evaluation=len(clips),
        table=flat(
            recall_layout(frame[["gallery", *RECALL_COLUMNS]].rename(columns={"gallery": "N"}))
        ).to_markdown(index=False),
    )
    (out / "README.md").write_text(card, encoding="utf-8")
    folder.write("manifest.json", {path.name: digest(path) for path in sorted(out.iterdir())})
    return card


def recalls(embedded: Embeddings, clips: FeatureSet, config: ShipConfig) -> pd.DataFrame:
    """Measure recall over the clips that are not silent."""
    sizes = [*config.galleries, int((~clips.silent).sum())]
    return recall_frame([embedded], sizes, ~clips.silent)
