"""The joint space in numbers: which clips are drawn from it, and how they lie (our addition)."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from xmodal.checkpoint import RunFolder, build_model, load_run
from xmodal.data.features import FeatureSet
from xmodal.evaluation.recall import directions, nearest
from xmodal.evaluation.relevance import chance_precision, relevant
from xmodal.files import find_run
from xmodal.metrics import alignment, uniformity
from xmodal.model import Embeddings


def draw_clips(features: FeatureSet, clips: int, seed: int) -> FeatureSet:
    """Draw clips that are not silent at random; they keep their order."""
    audible = np.flatnonzero(~features.silent)
    rows = np.sort(np.random.default_rng(seed).permutation(audible)[:clips])
    return features.take(rows)


def embed_untrained(run: Path | str, features: FeatureSet) -> Embeddings:
    """Embed clips with the weights that a run started from, scaled as the trained network does."""
    trained, config = load_run(run)
    sizes = RunFolder(find_run(run)).read("config.json")["sizes"]
    sizes["classes"] = features.labels.shape[1]  # weights that come with the package have only one
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = build_model(config, sizes)
    model.load_state_dict(dict(trained.named_buffers()), strict=False)  # the scalers
    return model.eval().embed(features.visual, features.audio)


def describe_space(embedded: Embeddings, features: FeatureSet, k: int = 10) -> pd.DataFrame:
    """Measure how the embeddings of both modalities lie: columns measure, modality and value.

    Alignment and uniformity (Wang & Isola, 2020); the modality gap between the two centroids (Liang
    et al., 2022); label agreement, the share of the k nearest items that have a label in common
    with the query, and of all items. The modality is the query's, or "both".
    """
    visual, audio, *_ = embedded
    lines = [
        ("alignment", "both", alignment(visual, audio)),
        ("modality gap", "both", (visual.mean(dim=0) - audio.mean(dim=0)).norm().item()),
        ("label agreement by chance", "both", chance_precision(features).mean()),
    ]
    for modality, (_, query, items) in zip(("audio", "visual"), directions(embedded), strict=True):
        found = nearest(query, items, min(k, len(items)))[1].numpy()
        lines.append(("label agreement", modality, relevant(found, features).mean(axis=1).mean()))
        lines.append(("uniformity", modality, uniformity(query)))
    return pd.DataFrame(lines, columns=["measure", "modality", "value"])
