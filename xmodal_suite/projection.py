"""The joint space drawn in two dimensions with UMAP, and measured (our addition)."""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from xmodal.checkpoint import RunFolder, build_model, find_run, load_run
from xmodal.config import InputError
from xmodal.data.features import FeatureSet, open_features, read_rows
from xmodal.evaluation.recall import embed_run, nearest
from xmodal.evaluation.relevance import chance_precision, most_frequent, relevant
from xmodal.metrics import alignment, uniformity
from xmodal.model import Embeddings
from xmodal_suite.figure_config import RunFigureConfig

BEFORE, AFTER = "before training", "after training"
FEWEST = 4
"""Points that UMAP can lay out."""


class ProjectionConfig(RunFigureConfig):
    """How the maps are made; all is our choice."""

    clips: int = Field(2000, ge=FEWEST, description="clips drawn at random; each gives two points")
    labels: int = Field(8, gt=0, description="most frequent labels that get a colour")
    neighbours: int = Field(15, gt=1, description="UMAP's n_neighbors")
    minimum_distance: float = Field(0.1, ge=0, description="UMAP's min_dist")
    seed: int = Field(0, ge=0, description="of the clips drawn and of UMAP")


def measure_map(config: ProjectionConfig) -> dict[str, pd.DataFrame]:
    """Lay some evaluation clips out by a run's embeddings, before and after its training.

    Silent clips are left out: their audio embeddings are one point, far from all others. The fits
    take a minute or two, and their coordinates differ from machine to machine.

    Returns
    -------
    dict
        ``points``, a line for each point of a map: x, y, modality ("audio", "visual"), label (a
        frequent one, or "other"), clip (id) and map: "before training" and "after training" have
        both modalities in one fit, "visual alone" and "audio alone" are of the trained embeddings.

        ``space``, a line for each number: state ("before training", "after training"), measure,
        modality ("audio", "visual", "both") and value: those of `describe_space`, and for each map
        its "trustworthiness": 1 if what is near on the map is near in the space (Venna & Kaski,
        2001).

    Raises
    ------
    InputError
        If there is no finished run, it was trained on features of other sizes, or there are fewer
        than 4 clips that are not silent.
    """
    features = draw_clips(open_features(config.features, "evaluation"), config)
    after = embed_run(config.run, features)
    before = embed_untrained(config.run, features)
    maps: dict[str, dict[str, Tensor]] = {
        BEFORE: {"audio": before.audio, "visual": before.visual},
        AFTER: {"audio": after.audio, "visual": after.visual},
        "visual alone": {"visual": after.visual},
        "audio alone": {"audio": after.audio},
    }
    space = [
        describe_space(embedded, features).assign(state=state)
        for state, embedded in ((BEFORE, before), (AFTER, after))
    ]
    points = []
    for name, parts in maps.items():
        points.append(project(parts, features, config).assign(map=name))
        line = {
            "measure": "trustworthiness",
            "modality": "both" if len(parts) == 2 else next(iter(parts)),
            "value": trustworthiness(parts, points[-1], config.neighbours),
            "state": BEFORE if name == BEFORE else AFTER,
        }
        space.append(pd.DataFrame([line]))
    columns = ["state", "measure", "modality", "value"]
    return {
        "points": pd.concat(points, ignore_index=True),
        "space": pd.concat(space, ignore_index=True)[columns],
    }


def draw_clips(features: FeatureSet, config: ProjectionConfig) -> FeatureSet:
    """Draw clips that are not silent at random; they keep their order."""
    sound = np.flatnonzero(~features.silent)
    if len(sound) < FEWEST:
        raise InputError(
            f"a map needs {FEWEST} evaluation clips that are not silent, {config.features} has "
            f"{len(sound)}: use a larger feature set"
        )
    rows = np.sort(np.random.default_rng(config.seed).permutation(sound)[: config.clips])
    return replace(
        features,
        visual=read_rows(features.visual, rows),
        audio=read_rows(features.audio, rows),
        ids=features.ids[rows],
        labels=features.labels[rows],
    )


def embed_untrained(run: Path, features: FeatureSet) -> Embeddings:
    """Embed clips with the weights that a run started from, scaled as the trained network does."""
    trained, config = load_run(run)
    sizes = RunFolder(find_run(run)).read("config.json")["sizes"]
    sizes["classes"] = features.labels.shape[1]  # weights that come with the package have only one
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = build_model(config, sizes)
    model.load_state_dict(dict(trained.named_buffers()), strict=False)  # the scalers
    return model.eval().embed(features.visual, features.audio)


def project(
    embedded: Mapping[str, Tensor], features: FeatureSet, config: ProjectionConfig
) -> pd.DataFrame:
    """Lay embeddings, by modality, of all clips out in one plane; points stand in that order."""
    plane = flatten(embedded, config)
    return pd.DataFrame(
        {
            "x": plane[:, 0],
            "y": plane[:, 1],
            "modality": np.repeat(list(embedded), len(features)),
            "label": frequent_labels(features, config.labels) * len(embedded),
            "clip": [str(name) for name in features.ids] * len(embedded),
        }
    )


def flatten(embedded: Mapping[str, Tensor], config: ProjectionConfig) -> np.ndarray:
    """Fit all embeddings into one plane: float32, (points, 2), to four decimals."""
    from umap import UMAP  # compiles for a while on import: only when there is something to fit

    points = torch.cat(list(embedded.values())).numpy()
    with warnings.catch_warnings():  # a seeded fit uses one thread, and says so every time
        warnings.filterwarnings("ignore", message="n_jobs value")
        plane = UMAP(
            n_neighbors=min(config.neighbours, len(points) - 1),
            min_dist=config.minimum_distance,
            metric="cosine",
            random_state=config.seed,
        ).fit_transform(points)
    return plane.round(4)


def trustworthiness(embedded: Mapping[str, Tensor], points: pd.DataFrame, neighbours: int) -> float:
    """Tell how far the nearest points of a map are among the nearest of the space: at most 1."""
    from sklearn import manifold  # comes with umap, and is imported by it

    most = (len(points) - 1) // 2
    space, plane = torch.cat(list(embedded.values())).numpy(), points[["x", "y"]].to_numpy()
    return float(
        manifold.trustworthiness(space, plane, n_neighbors=min(neighbours, most), metric="cosine")
    )


def describe_space(embedded: Embeddings, features: FeatureSet, k: int = 10) -> pd.DataFrame:
    """Put in numbers what a map of both modalities shows.

    Columns measure, modality (of the query; "both" if the measure knows none) and value:
    "alignment" and "uniformity" (Wang & Isola, 2020); "modality gap", the distance between the
    centroids of the two modalities (Liang et al., 2022); "label agreement", the share of the k
    nearest items of the other modality that have a label in common with the query; "label agreement
    by chance", the share of all items that have. The query's own clip counts like any other.
    """
    gap = (embedded.visual.mean(dim=0) - embedded.audio.mean(dim=0)).norm().item()
    lines = [
        ("alignment", "both", alignment(embedded.visual, embedded.audio)),
        ("modality gap", "both", gap),
        ("label agreement by chance", "both", chance_precision(features).mean()),
    ]
    for modality, query, items in (
        ("audio", embedded.audio, embedded.visual),
        ("visual", embedded.visual, embedded.audio),
    ):
        found = nearest(query, items, min(k, len(items)))[1].numpy()
        lines.append(("label agreement", modality, relevant(found, features).mean(axis=1).mean()))
        lines.append(("uniformity", modality, uniformity(query)))
    return pd.DataFrame(lines, columns=["measure", "modality", "value"])


def frequent_labels(features: FeatureSet, n: int) -> list[str]:
    """Name each clip by the rarest of its labels that is among the n most frequent, or "other"."""
    order = most_frequent(features.labels, n)
    names = []
    for carried in features.labels[:, order].toarray():
        places = carried.nonzero()[0]
        names.append(features.label_names[order[places[-1]]] if len(places) else "other")
    return names
