"""What queries retrieve: examples to look at (paper, section 4.2), and the neighbours of clips."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from xmodal.config import InputError
from xmodal.data.features import FeatureSet
from xmodal.evaluation.recall import directions, nearest
from xmodal.evaluation.relevance import most_frequent
from xmodal.metrics import ranks
from xmodal.model import Embeddings

SHOWN = 3
"""Items shown for each query, the nearest first; our choice, the paper shows one."""


def examples(
    embedded: Embeddings, clips: FeatureSet, seeded: int, extremes: int, seed: int
) -> pd.DataFrame:
    """Choose queries in both directions, and say what each retrieves, as figure 2 of the paper.

    ``extremes`` queries each are those whose match leads the other candidates by most (best), is
    at the median of all ranks (median) or ranks last (worst); ``seeded`` are drawn at random
    (random). A silent clip is no query. The paper skips the query's own clip; here it is marked.
    There is a row for each retrieved item; ``rank`` is that of the match.
    """
    audible = np.flatnonzero(~clips.silent)
    if len(audible) < max(seeded, extremes):
        raise InputError(f"{len(audible)} clips with sound are too few: ask for fewer examples")
    ids = clips.ids.astype(object)
    names = pd.Series([clips.labels_of(row) for row in range(len(ids))])
    both, parts = ranks(embedded.audio, embedded.visual), []
    for number, (direction, query, gallery) in enumerate(directions(embedded)):
        cosine, item = (x.numpy() for x in nearest(query, gallery, min(SHOWN, len(gallery))))
        rank = both[number].average().numpy()
        lead = np.where(item[:, 0] == np.arange(len(item)), cosine[:, 0] - cosine[:, :2][:, -1], -1)
        off_median = np.abs(rank - np.median(rank[audible]))
        drawn = np.random.default_rng([seed, number]).permutation(audible)
        chosen = [
            (kind, row)
            for kind, order in (("best", -lead), ("median", off_median), ("worst", -rank))
            for row in audible[np.argsort(order[audible], kind="stable")][:extremes]
        ]
        chosen += [("random", row) for row in drawn[:seeded]]
        for kind, row in chosen:
            matches = item[row]
            shared = (clips.labels[matches] @ clips.labels[[row]].T).toarray()[:, 0]
            part = {"kind": kind, "direction": direction, "query_id": ids[row]}
            part |= {
                "query_labels": [names[row]] * len(matches),
                "rank": float(rank[row]),
                "candidates": len(item),
            }
            part |= {"place": np.arange(len(matches)) + 1, "match_id": ids[matches]}
            part |= {"match_labels": names[matches].to_list(), "cosine": cosine[row].astype(float)}
            parts.append(pd.DataFrame(part | {"own": matches == row, "shared": shared.astype(int)}))
    return pd.concat(parts, ignore_index=True)


def examples_table(
    found: pd.DataFrame, youtube_ids: Mapping[str, str | None] | None = None
) -> pd.DataFrame:
    """Return `examples` as a table to read, with YouTube ids, None if the video was deleted."""
    table = found.assign(own=np.where(found["own"], "own clip", ""))
    table = table.rename(columns={"match_id": "item_id", "match_labels": "item_labels"})
    first = ["query_id", "query_labels"]  # a table groups its rows by its first column
    table = table[[*first, *table.columns.drop(first)]]
    known = {clip: name or "deleted" for clip, name in (youtube_ids or {}).items()}
    for role in ("query", "item"):
        table[f"{role}_labels"] = table[f"{role}_labels"].map(", ".join)
        ids = table[f"{role}_id"].map(known)
        if ids.notna().any():
            table.insert(table.columns.get_loc(f"{role}_id") + 1, f"{role}_on_youtube", ids)
    return table.rename(columns=lambda name: name.replace("_", " "))


def near_misses(embedded: Embeddings, clips: FeatureSet) -> pd.DataFrame:
    """Say, label by label, what comes first where the query's own clip does not.

    Both directions count together; silent clips are no queries. There is a row for each of the ten
    most frequent labels, with shares in percent, and the label that comes most often instead.
    """
    labels, audible = clips.labels, np.flatnonzero(~clips.silent)
    query = np.tile(audible, 2)
    first = np.concatenate(
        [nearest(one, items, 1)[1].numpy()[audible, 0] for _, one, items in directions(embedded)]
    )
    lines = []
    for column in most_frequent(labels[audible], 10):
        carries = labels[:, [column]].toarray()[:, 0] > 0
        asked = carries[query]
        missed = asked & (first != query)
        lost = missed & ~carries[first]
        found = labels[first[lost]]
        instead = (found - found.multiply(labels[query[lost]])).sum(axis=0)
        same = float(carries[first[missed]].mean()) if missed.any() else np.nan
        own, chance = (first == query)[asked].mean(), carries.mean()
        other = clips.label_names[instead.argmax()] if instead.any() else ""
        percent = 100 * own, 100 * same, 100 * chance
        lines.append((clips.label_names[column], asked.sum(), *percent, other))
    names = ["label", "queries", "own first", "same label first", "same label by chance"]
    return pd.DataFrame(lines, columns=[*names, "most often instead"])
