"""What the explorer shows: where every clip lies on the map, and what each retrieves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from xmodal.data.features import FeatureSet, open_features
from xmodal.evaluation.recall import directions, embed_run, nearest
from xmodal.metrics import ranks
from xmodal.model import Embeddings
from xmodal_suite.examples import RetrievalConfig
from xmodal_suite.projection import (
    FEWEST,
    ProjectionConfig,
    draw_clips,
    flatten,
    frequent_labels,
)


class ExplorerConfig(ProjectionConfig):
    """Which clips are explored, by which model, and how they are laid out; all is our choice."""

    run: Path = Field(
        Path("runs/sample/best/member-seed0"),
        description="training run, or weights of the package such as yt8m-recipe",
    )
    clips: int = Field(6000, ge=FEWEST, description="at most; each gives two points")
    k: int = Field(10, gt=0, description="neighbours that are kept of each query")


def explorer_config(config: RetrievalConfig) -> ExplorerConfig:
    """Return what the explorer beside some examples shows."""
    folders = config.model_dump(include={"features", "results", "figures"})
    return ExplorerConfig(run=config.explorer_run, **folders)


def measure_explorer(config: ExplorerConfig) -> dict[str, pd.DataFrame]:
    """Measure what the explorer of a run shows of the evaluation clips that are not silent.

    Returns
    -------
    dict
        ``points`` and ``neighbours``: see `explore`.

    Raises
    ------
    InputError
        As `measure_map` does.
    """
    features = draw_clips(open_features(config.features, "evaluation"), config)
    return explore(embed_run(config.run, features), features, config)


def explore(
    embedded: Embeddings,
    features: FeatureSet,
    config: ExplorerConfig,
    held_out: Sequence[tuple[np.ndarray, Embeddings]] = (),
) -> dict[str, pd.DataFrame]:
    """Lay clips out on one map of both modalities, and find what each retrieves, both ways.

    Of models by folds, ``held_out`` has the rows that each has not seen, int64, and all clips as it
    embeds them; each row stands there once. What these clips retrieve is then found by that model,
    and only the map is that of ``embedded``.

    ``points``, a row a clip: clip (id), labels (names, joined by "; "), label (a frequent one, or
    "other"), visual_x, visual_y, audio_x, audio_y (UMAP of both modalities in one fit), cosine (of
    its own pair), and for each direction the rank of its match, named after it.

    ``neighbours``, ``config.k`` rows a query and direction, or as many as there are clips:
    direction, query and item (rows of ``points``), rank (1 is nearest), cosine.
    """
    plane = flatten({"visual": embedded.visual, "audio": embedded.audio}, config)
    visual, audio = plane.reshape(2, -1, 2)
    points: dict[str, Any] = {
        "clip": [str(name) for name in features.ids],
        "labels": ["; ".join(features.labels_of(row)) for row in range(len(features))],
        "label": frequent_labels(features, config.labels),
        "visual_x": visual[:, 0],
        "visual_y": visual[:, 1],
        "audio_x": audio[:, 0],
        "audio_y": audio[:, 1],
    }
    k, found = min(config.k, len(features)), []
    for rows, by in held_out or [(np.arange(len(features)), embedded)]:
        cosine = (by.visual * by.audio).sum(dim=1).numpy().round(4)
        points.setdefault("cosine", np.zeros_like(cosine))[rows] = cosine[rows]
        both = ranks(by.audio, by.visual)
        for own, (direction, query, gallery) in zip(both, directions(by), strict=True):
            rank = own.average().numpy()
            points.setdefault(direction, np.zeros_like(rank))[rows] = rank[rows]
            cosine, item = (part.numpy() for part in nearest(query[rows], gallery, k))
            columns = {
                "direction": direction,
                "query": rows.repeat(k),
                "rank": np.tile(np.arange(1, k + 1), len(rows)),
                "item": item.ravel(),
                "cosine": cosine.ravel().round(4),
            }
            found.append(pd.DataFrame(columns))
    neighbours = pd.concat(found).sort_values(["direction", "query", "rank"], ignore_index=True)
    return {"points": pd.DataFrame(points), "neighbours": neighbours}
