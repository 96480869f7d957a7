"""Nearest neighbours in the joint space, and the examples to look at (paper, section 4.2)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from xmodal.config import InputError
from xmodal.data.features import FeatureSet, open_features
from xmodal.evaluation.recall import directions, embed_run, nearest
from xmodal.evaluation.relevance import most_frequent
from xmodal.metrics import ranks
from xmodal.model import Embeddings
from xmodal_suite.figure_config import RunFigureConfig

SHOWN = 3
"""Items shown for each query, the nearest first; our choice, the paper shows one."""


class RetrievalConfig(RunFigureConfig):
    """Which examples are shown; all is our choice."""

    seeded: int = Field(3, ge=0, description="queries drawn at random, in each direction")
    extremes: int = Field(1, ge=0, description="best, median and worst queries, in each direction")
    seed: int = Field(0, ge=0, description="of the queries drawn")
    youtube_ids: Path = Field(
        Path("data/youtube_ids.csv"), description="what `xmodal resolve` found; may be missing"
    )
    explorer_run: Path = Field(
        Path("runs/sample/best/member-seed0"), description="run that the explorer shows (06_beyond)"
    )


def measure_examples(config: RetrievalConfig) -> dict[str, pd.DataFrame]:
    """Look at what the evaluation clips retrieve by a run: `examples` and `near_misses`."""
    evaluation = open_features(config.features, "evaluation")
    embedded = embed_run(config.run, evaluation)
    return {
        "examples": examples(embedded, evaluation, config),
        "near_misses": near_misses(embedded, evaluation),
    }


EXAMPLES = ["kind", "direction", "query_id", "query_labels", "rank", "candidates", "place"]
EXAMPLES += ["match_id", "match_labels", "cosine", "own", "shared"]


def examples(embedded: Embeddings, features: FeatureSet, config: RetrievalConfig) -> pd.DataFrame:
    """Pick queries in both directions and what they retrieve, as figure 2 of the paper shows.

    Queries are those whose true match leads the other candidates by most (best), is at the median
    of all ranks (median) or ranks last (worst), and clips drawn at random (random). Silent clips
    are no queries: their audio is the same. The paper skips the query's own clip (section 4.2);
    here it is kept and marked.

    A row a retrieved item, `SHOWN` a query: kind ("best", "median", "worst", "random"), direction,
    query_id, query_labels (names, joined by "; "), rank (of the true match), candidates (among how
    many), place (of the item, 1 is nearest), match_id, match_labels, cosine, own (whether the item
    is the query's own clip), shared (labels in common).
    """
    sound = np.flatnonzero(~features.silent)
    if len(sound) < max(config.seeded, config.extremes):
        raise InputError(
            f"{len(sound)} clips with sound are too few to choose examples from: "
            "prepare more shards or ask for fewer"
        )
    rows: list[dict] = []
    both = ranks(embedded.audio, embedded.visual)
    for number, (direction, query, gallery) in enumerate(directions(embedded)):
        shown = min(SHOWN, len(gallery))
        cosine, item = (found.numpy() for found in nearest(query, gallery, shown))
        rank = both[number].average().numpy()
        lead = np.where(
            item[:, 0] == np.arange(len(item)), cosine[:, 0] - cosine[:, :2][:, -1], -1.0
        )
        from_median = np.abs(rank - np.median(rank[sound]))
        chosen = {
            kind: sound[np.argsort(order[sound], kind="stable")][: config.extremes]
            for kind, order in (("best", -lead), ("median", from_median), ("worst", -rank))
        }
        drawn = np.random.default_rng([config.seed, number]).permutation(sound)
        chosen["random"] = drawn[: config.seeded]
        for kind, row in [(kind, row) for kind, some in chosen.items() for row in some]:
            for place, match in enumerate(item[row]):
                common = features.labels[[row]].multiply(features.labels[[match]])
                rows.append(
                    {
                        "kind": kind,
                        "direction": direction,
                        "query_id": str(features.ids[row]),
                        "query_labels": "; ".join(features.labels_of(row)),
                        "rank": float(rank[row]),
                        "candidates": len(item),
                        "place": place + 1,
                        "match_id": str(features.ids[match]),
                        "match_labels": "; ".join(features.labels_of(match)),
                        "cosine": float(cosine[row, place]),
                        "own": bool(match == row),
                        "shared": int(common.sum()),
                    }
                )
    return pd.DataFrame(rows, columns=EXAMPLES)


NEAR_MISSES = ["label", "queries", "own first", "same label first", "same label by chance"]
NEAR_MISSES += ["most often instead"]


def near_misses(embedded: Embeddings, features: FeatureSet, most: int = 10) -> pd.DataFrame:
    """Say, label by label, what comes first where the query's own clip does not.

    Both directions count together; silent clips are no queries. A row for each of the ``most``
    frequent labels of the queries: label, queries (that carry it), own first (percent of the
    queries), same label first (percent of those whose own clip is not first: the first item carries
    the label too), same label by chance (percent of all clips that carry it), most often instead
    (where the first item lacks the label: the label that it carries most often and the query does
    not; "" if there is none).
    """
    labels, sound = features.labels, np.flatnonzero(~features.silent)
    query = np.tile(sound, 2)
    first = np.concatenate(
        [nearest(one, items, 1)[1].numpy()[sound, 0] for _, one, items in directions(embedded)]
    )
    lines = []
    for column in most_frequent(labels[sound], most):
        carries = labels[:, [column]].toarray()[:, 0] > 0
        asked = carries[query]
        missed = asked & (first != query)
        lost = missed & ~carries[first]
        found = labels[first[lost]]
        instead = (found - found.multiply(labels[query[lost]])).sum(axis=0)
        same = float(carries[first[missed]].mean()) if missed.any() else np.nan
        other = features.label_names[instead.argmax()] if instead.any() else ""
        lines.append(
            {
                "label": features.label_names[column],
                "queries": int(asked.sum()),
                "own first": 100 * float((first == query)[asked].mean()),
                "same label first": 100 * same,
                "same label by chance": 100 * float(carries.mean()),
                "most often instead": other,
            }
        )
    return pd.DataFrame(lines, columns=NEAR_MISSES)


def examples_table(
    found: pd.DataFrame, youtube_ids: Mapping[str, str | None] | None = None
) -> pd.DataFrame:
    """Return `examples` as a table to read, query by query; the own clip is marked in words.

    With ``youtube_ids`` (clip id → YouTube id, None: a deleted video) of some of the clips, each
    clip's stands beside its id: the video is at youtu.be/<YouTube id>.
    """
    table = found.assign(own=np.where(found["own"], "own clip", ""))
    table = table.rename(columns={"match_id": "item_id", "match_labels": "item_labels"})
    first = ["query_id", "query_labels"]  # a table groups its rows by its first column
    table = table[[*first, *table.columns.drop(first)]]
    for role in ("query", "item"):
        table[f"{role}_labels"] = table[f"{role}_labels"].str.replace("; ", ", ")
        known = {clip: name or "deleted" for clip, name in (youtube_ids or {}).items()}
        ids = table[f"{role}_id"].map(known)
        if ids.notna().any():
            table.insert(table.columns.get_loc(f"{role}_id") + 1, f"{role}_on_youtube", ids)
    return table.rename(columns=lambda name: name.replace("_", " "))
