"""Nearest neighbours in the joint space, and the examples to look at (paper, section 4.2)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from xmodal.config import InputError
from xmodal.data.features import FeatureSet, open_features
from xmodal.evaluation.config import RunFigureConfig
from xmodal.evaluation.recall import directions, embed_run, nearest
from xmodal.metrics import ranks
from xmodal.model import Embeddings


class RetrievalConfig(RunFigureConfig):
    """Which examples are shown; all is our choice."""

    seeded: int = Field(3, ge=0, description="queries drawn at random, in each direction")
    extremes: int = Field(1, ge=0, description="best and worst queries, in each direction")
    seed: int = Field(0, ge=0, description="of the queries drawn")
    youtube_ids: Path = Field(
        Path("data/youtube_ids.csv"), description="what `xmodal resolve` found; may be missing"
    )


def measure_examples(config: RetrievalConfig) -> dict[str, pd.DataFrame]:
    """Pick queries among the evaluation clips by a run's embeddings: see `examples`."""
    evaluation = open_features(config.features, "evaluation")
    return {"examples": examples(embed_run(config.run, evaluation), evaluation, config)}


def examples(embedded: Embeddings, features: FeatureSet, config: RetrievalConfig) -> pd.DataFrame:
    """Pick queries in both directions and what they retrieve, as figure 2 of the paper shows.

    Queries are clips drawn at random (seeded), those whose true match leads the other
    candidates by most (best) and those whose true match ranks last (worst). Silent clips are no
    queries: their audio is the same. As in section 4.2, where the most similar item is the query's
    own clip the second is taken.

    Returns
    -------
    DataFrame
        Columns kind ("seeded", "best", "worst"), direction, query_id, query_labels, match_id,
        match_labels (names, joined by "; "), cosine, rank (of the true match among all clips of
        the split), own_was_first.
    """
    sound = np.flatnonzero(~features.silent)
    if len(sound) < max(config.seeded, config.extremes):
        raise InputError(
            f"{len(sound)} clips with sound are too few to choose examples from: "
            "prepare more shards or ask for fewer"
        )
    rows: list[dict] = []
    for number, (direction, query, gallery) in enumerate(directions(embedded)):
        cosine, item = nearest(query, gallery, 2)
        rank = ranks(query, gallery).average().numpy()
        own = (item[:, 0] == torch.arange(len(query))).numpy()
        lead = np.where(own, (cosine[:, 0] - cosine[:, 1]).numpy(), -1.0)
        chosen = {
            "seeded": np.random.default_rng([config.seed, number]).permutation(sound),
            "best": sound[np.argsort(-lead[sound], kind="stable")],
            "worst": sound[np.argsort(-rank[sound], kind="stable")],
        }
        wanted = {"seeded": config.seeded, "best": config.extremes, "worst": config.extremes}
        for kind, row in [(k, row) for k, order in chosen.items() for row in order[: wanted[k]]]:
            place = int(own[row])
            match = int(item[row, place])
            rows.append(
                {
                    "kind": kind,
                    "direction": direction,
                    "query_id": str(features.ids[row]),
                    "query_labels": "; ".join(features.labels_of(row)),
                    "match_id": str(features.ids[match]),
                    "match_labels": "; ".join(features.labels_of(match)),
                    "cosine": float(cosine[row, place]),
                    "rank": float(rank[row]),
                    "own_was_first": bool(own[row]),
                }
            )
    return pd.DataFrame(rows)


def examples_table(
    found: pd.DataFrame, youtube_ids: Mapping[str, str | None] | None = None
) -> pd.DataFrame:
    """Return `examples` as a table to read.

    With ``youtube_ids`` (clip id → YouTube id, None: a deleted video) of some of the clips, each
    clip's stands beside its id: the video is at youtu.be/<YouTube id>.
    """
    table = found.copy()
    for role in ("query", "match"):
        table[f"{role}_labels"] = table[f"{role}_labels"].str.replace("; ", ", ")
        known = {clip: name or "deleted" for clip, name in (youtube_ids or {}).items()}
        ids = table[f"{role}_id"].map(known)
        if ids.notna().any():
            table.insert(table.columns.get_loc(f"{role}_id") + 1, f"{role}_on_youtube", ids)
    return table.rename(columns=lambda name: name.replace("_", " "))
