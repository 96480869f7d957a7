"""Relevance by label: what is retrieved instead of the ground-truth match.

Recall@K knows a single right answer. Here an item is also *relevant* when it shares a label with
the query. None of this is in the paper, except that its section 4.2 looks at examples.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import sparse
from torch import Tensor

from xmodal.data.features import FeatureSet
from xmodal.evaluation.hubness import occurrence
from xmodal.evaluation.recall import directions, nearest
from xmodal.metrics import ranks
from xmodal.model import Embeddings


def relevant(retrieved: np.ndarray, features: FeatureSet) -> np.ndarray:
    """Tell which retrieved items, int64 (clips, k), share a label with the query: bool, (clips, k).

    The query's own clip counts like any other: it shares all labels, if there are any.
    """
    labels = features.labels
    queries = np.arange(len(retrieved)).repeat(retrieved.shape[1])
    shared = labels[queries].multiply(labels[retrieved.ravel()]).sum(axis=1)
    return shared.reshape(retrieved.shape) > 0


def chance_precision(features: FeatureSet, chunk: int = 1024) -> np.ndarray:
    """Return the share of all items that share a label with each clip: float64, (clips,)."""
    labels = features.labels
    parts = [
        ((labels[start : start + chunk] @ labels.T) > 0).sum(axis=1) / len(features)
        for start in range(0, len(features), chunk)
    ]
    return np.concatenate(parts)


def most_frequent(labels: sparse.csr_array, most: int) -> np.ndarray:
    """Return the columns of the labels that most clips carry, the most frequent first."""
    counts = labels.sum(axis=0)
    return np.argsort(-counts, kind="stable")[: min(most, np.count_nonzero(counts))]


def by_category(
    query: Tensor, gallery: Tensor, features: FeatureSet, most: int = 30, k: int = 10
) -> pd.DataFrame:
    """Measure retrieval label by label, to tell easy categories from hard ones.

    Queries and items are float32, (clips, embedding_dim); row i of both belongs to clip i. A line
    for each of the ``most`` frequent labels: label, clips, recall (percent, of the clip's own match
    among the first k), relevant (percent of the first k that share any label with the query).
    """
    own = ranks(query, gallery, cosine=False)[0].hits(k).numpy()  # lengths other than 1, too
    found = nearest(query, gallery, min(k, len(gallery)))[1].numpy()
    precision = relevant(found, features).mean(axis=1)
    lines = []
    for column in most_frequent(features.labels, most):
        clips = features.labels[:, [column]].nonzero()[0]
        means = 100 * own[clips].mean(), 100 * precision[clips].mean()
        lines.append((features.label_names[column], len(clips), *means))
    return pd.DataFrame(lines, columns=["label", "clips", "recall", "relevant"])


def errors(models: Mapping[str, Embeddings], features: FeatureSet, k: int = 10) -> pd.DataFrame:
    """Say, for each model, what is retrieved where the own match is not, among all clips.

    A line a model, all but the skewness in percent, the mean of both directions: R@1; misses (of
    the queries whose first item is not their own) that share a label with it; R@k; the queries with
    any item among the first k that shares a label; the share of the first k that do; the skewness
    of how often items are found, see `occurrence`; the items never found. The last line is what
    chance would find.
    """
    lines, count = [], len(features)
    for name, embedded in models.items():
        both = []
        own = ranks(embedded.audio, embedded.visual, cosine=False)
        for ranked, (_, query, gallery) in zip(own, directions(embedded), strict=True):
            retrieved = nearest(query, gallery, min(k, count))[1].numpy()
            missed = retrieved[:, 0] != np.arange(count)
            shared = relevant(retrieved, features)
            skewness, never = occurrence(retrieved, count)
            both.append(
                {
                    "R@1": 100 * ranked.hits(1).mean().item(),
                    "misses with a shared label": 100 * pd.Series(shared[missed, 0]).mean(),
                    f"R@{k}": 100 * ranked.hits(k).mean().item(),
                    f"R@{k} of labels": 100 * shared.any(axis=1).mean(),
                    f"precision@{k} of labels": 100 * shared.mean(axis=1).mean(),
                    "hubs, skewness": skewness,
                    "never found": 100 * never,
                }
            )
        lines.append({"method": name, **pd.DataFrame(both).mean().to_dict()})
    expected = 100 * chance_precision(features).mean()
    chance = {"method": "chance", "R@1": 100 / count, f"R@{k}": 100 * min(k / count, 1)}
    shared_by_chance = ("misses with a shared label", f"precision@{k} of labels")
    return pd.DataFrame([*lines, chance | dict.fromkeys(shared_by_chance, expected)])
