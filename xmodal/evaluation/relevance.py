"""Errors that are not errors: what is retrieved instead of the one true match.

Recall@K knows a single right answer. Here an item is also *relevant* when it shares a label with
the query. None of this is in the paper, but for its section 4.2, which looks at examples.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from torch import Tensor

from xmodal.data.features import FeatureSet
from xmodal.metrics import nearest, ranks
from xmodal.model import Embeddings


class Relevance(NamedTuple):
    """How relevant the first K items of each query are; float64, (queries,) each.

    ``found``: whether any of them shares a label with the query (0 or 1). ``precision``: the share
    of them that do.
    """

    found: np.ndarray
    precision: np.ndarray


def relevance(query: Tensor, gallery: Tensor, features: FeatureSet, k: int) -> Relevance:
    """Judge the first k items of each query by their labels.

    The query's own clip counts like any other: it shares all labels, if there are any.

    Parameters
    ----------
    query, gallery : Tensor, float32, (clips, embedding_dim)
        Unit vectors of the two modalities; row i of both belongs to clip i.
    features : FeatureSet
        The clips, for their labels.
    k : int
        Items looked at.
    """
    return _judged(nearest(query, gallery, k)[1].numpy(), features)


def _judged(items: np.ndarray, features: FeatureSet) -> Relevance:
    """Judge what was retrieved: int64, (queries, k)."""
    labels = features.labels
    queries = np.arange(len(items)).repeat(items.shape[1])
    common = labels[queries].multiply(labels[items.ravel()]).sum(axis=1)
    relevant = (np.asarray(common).reshape(items.shape) > 0).astype(float)
    return Relevance(relevant.max(axis=1), relevant.mean(axis=1))


def chance_precision(features: FeatureSet, chunk: int = 1024) -> np.ndarray:
    """Return the share of all items that share a label with each clip: what chance would find.

    float64, (clips,); ``chunk`` clips are compared with all others at a time.
    """
    labels = features.labels
    parts = [
        ((labels[start : start + chunk] @ labels.T) > 0).sum(axis=1) / len(features)
        for start in range(0, len(features), chunk)
    ]
    return np.asarray(np.concatenate(parts)).ravel()


def by_category(
    query: Tensor, gallery: Tensor, features: FeatureSet, most: int = 30, k: int = 10
) -> pd.DataFrame:
    """Tell easy categories from hard ones.

    Parameters
    ----------
    query, gallery, features
        As for `relevance`.
    most : int
        How many labels are looked at, the most frequent first.
    k : int
        Items looked at.

    Returns
    -------
    DataFrame
        One line a label: label, clips, recall (percent, of the clip's own match among the first k),
        relevant (percent of the first k that share any label with the query).
    """
    labels = features.labels
    counts = np.asarray(labels.sum(axis=0)).ravel()
    own = ranks(query, gallery).hits(k).numpy()
    precision = relevance(query, gallery, features, k).precision
    lines = []
    for column in np.argsort(-counts, kind="stable")[:most]:
        clips = labels[:, [column]].nonzero()[0]
        lines.append(
            {
                "label": features.label_names[column],
                "clips": len(clips),
                "recall": 100 * own[clips].mean(),
                "relevant": 100 * precision[clips].mean(),
            }
        )
    return pd.DataFrame(lines)


def summary(models: Mapping[str, Embeddings], features: FeatureSet, k: int = 10) -> pd.DataFrame:
    """Tell, for each model, what stands where its own match does not.

    Parameters
    ----------
    models : mapping
        By name: embeddings of the split.
    features : FeatureSet
        The clips, all of them the gallery.
    k : int
        Items looked at.

    Returns
    -------
    DataFrame
        One line a model, all but the skewness in percent, the mean of both directions: R@1; misses
        (of the queries whose first item is not their own) that share a label with it; R@k; the
        queries with any item among the first k that shares a label; the share of the first k that
        do; the skewness of how often items are found, see `hubs`; the items never found. The last
        line is what chance would find.
    """
    lines = []
    for name, embedded in models.items():
        both = [
            _one_way(query, gallery, features, k)
            for query, gallery in (embedded[:2], embedded[1::-1])
        ]
        lines.append({"method": name, **pd.DataFrame(both).mean().to_dict()})
    expected = 100 * chance_precision(features).mean()
    count = len(features)
    lines.append({"method": "chance", "R@1": 100 / count, f"R@{k}": 100 * k / count})
    lines[-1] |= {"misses with a shared label": expected, f"precision@{k} of labels": expected}
    return pd.DataFrame(lines)


def _one_way(query: Tensor, gallery: Tensor, features: FeatureSet, k: int) -> dict[str, float]:
    own, items = ranks(query, gallery), nearest(query, gallery, k)[1].numpy()
    missed = items[:, 0] != np.arange(len(items))
    first, judged = _judged(items[:, :1], features), _judged(items, features)
    found = _counted(items, len(gallery))
    return {
        "R@1": 100 * own.hits(1).mean().item(),
        "misses with a shared label": 100 * first.found[missed].mean(),
        f"R@{k}": 100 * own.hits(k).mean().item(),
        f"R@{k} of labels": 100 * judged.found.mean(),
        f"precision@{k} of labels": 100 * judged.precision.mean(),
        "hubs, skewness": found.skewness,
        "never found": 100 * found.never,
    }


class Hubs(NamedTuple):
    """How unevenly items are retrieved.

    ``counts``: int64, (items,), how many queries have the item among their first k. ``skewness`` of
    the counts, 0 being even (Radovanović et al., 2010). ``never``: share of items no query finds.
    """

    counts: np.ndarray
    skewness: float
    never: float


def hubs(query: Tensor, gallery: Tensor, k: int = 10) -> Hubs:
    """Count how often each item is among the first k of a query; arguments as for `relevance`."""
    return _counted(nearest(query, gallery, k)[1].numpy(), len(gallery))


def _counted(items: np.ndarray, size: int) -> Hubs:
    """Count what was retrieved, (queries, k), from a gallery of some size."""
    counts = np.bincount(items.ravel(), minlength=size)
    skewness = float(stats.skew(counts)) if np.ptp(counts) else 0.0
    return Hubs(counts, skewness, float((counts == 0).mean()))
