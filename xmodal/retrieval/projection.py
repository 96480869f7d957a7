"""The joint space drawn in two dimensions with UMAP (our addition; the paper shows no such map)."""

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from pydantic import Field

from xmodal.data.features import FeatureSet, open_features
from xmodal.evaluation.config import RunFigureConfig
from xmodal.evaluation.recall import embed_run
from xmodal.model import Embeddings


class ProjectionConfig(RunFigureConfig):
    """How the map is made; all is our choice."""

    clips: int = Field(2000, gt=1, description="clips drawn at random; each gives two points")
    labels: int = Field(8, gt=0, description="most frequent labels that get a colour")
    neighbours: int = Field(15, gt=1, description="UMAP's n_neighbors")
    minimum_distance: float = Field(0.1, ge=0, description="UMAP's min_dist")
    seed: int = Field(0, ge=0, description="of the clips drawn and of UMAP")


def measure_map(config: ProjectionConfig) -> dict[str, pd.DataFrame]:
    """Lay the evaluation clips out by a run's embeddings: ``points``, see `project`."""
    evaluation = open_features(config.features, "evaluation")
    return {"points": project(embed_run(config.run, evaluation), evaluation, config)}


def project(embedded: Embeddings, features: FeatureSet, config: ProjectionConfig) -> pd.DataFrame:
    """Lay the audio and the visual embeddings of some clips out in one plane.

    Silent clips are left out: their audio embeddings are one point, far from all others. A fit
    takes a minute, and its coordinates differ from machine to machine.

    Returns
    -------
    DataFrame
        Columns x, y, modality ("audio", "visual"), label (a frequent one, or "other"), clip (id);
        the audio points first, the clips in the same order in both halves.
    """
    from umap import UMAP  # compiles for a while on import: only when there is something to fit

    sound = np.flatnonzero(~features.silent)
    rows = np.sort(np.random.default_rng(config.seed).permutation(sound)[: config.clips])
    points = np.concatenate([embedded.audio.numpy()[rows], embedded.visual.numpy()[rows]])
    with warnings.catch_warnings():  # a seeded fit uses one thread, and says so every time
        warnings.filterwarnings("ignore", message="n_jobs value")
        plane = UMAP(
            n_neighbors=min(config.neighbours, len(points) - 1),
            min_dist=config.minimum_distance,
            metric="cosine",
            random_state=config.seed,
        ).fit_transform(points)
    return pd.DataFrame(
        {
            "x": plane[:, 0].round(4),
            "y": plane[:, 1].round(4),
            "modality": ["audio"] * len(rows) + ["visual"] * len(rows),
            "label": frequent_labels(features, rows, config.labels) * 2,
            "clip": [str(features.ids[row]) for row in rows] * 2,
        }
    )


def frequent_labels(features: FeatureSet, rows: Sequence[int] | np.ndarray, n: int) -> list[str]:
    """Name each clip by the rarest of its labels that is among the n most frequent, or "other"."""
    order = np.argsort(-features.labels.sum(axis=0), kind="stable")[:n]
    names = []
    for carried in features.labels[np.asarray(rows)][:, order].toarray():
        places = carried.nonzero()[0]
        names.append(features.label_names[order[places[-1]]] if len(places) else "other")
    return names
