"""Relevance by label: what is retrieved instead of the ground-truth match.

Recall@K knows a single right answer. Here an item is also *relevant* when it shares a label with
the query. None of this is in the paper, except that its section 4.2 looks at examples.
"""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import Tensor
from torch.nn.functional import pad

from xmodal.data.features import FeatureSet
from xmodal.evaluation.hubness import occurrence
from xmodal.evaluation.recall import directions, nearest
from xmodal.metrics import TOLERANCE, bootstrap, galleries, ranks
from xmodal.model import Embeddings

MEASURES = ("nDCG@10", "mAP", "R-precision")


def relevant(retrieved: np.ndarray, features: FeatureSet) -> np.ndarray:
    """Tell which retrieved items, int64 (clips, k), share a label with the query: bool, (clips, k).

    The query's own clip counts like any other: it shares all labels, if there are any.
    """
    labels = features.labels
    queries = np.arange(len(retrieved)).repeat(retrieved.shape[1])
    shared = labels[queries].multiply(labels[retrieved.ravel()]).sum(axis=1)
    return shared.reshape(retrieved.shape) > 0


def chance_precision(features: FeatureSet) -> np.ndarray:
    """Return the share of all items that share a label with each clip: float64, (clips,)."""
    labels, count = features.labels, len(features)
    chunks = (labels[start : start + 1024] @ labels.T for start in range(0, count, 1024))
    return np.concatenate([(shared > 0).sum(axis=1) / count for shared in chunks])


def label_scores(similarity: Tensor, shared: Tensor, k: int = 10) -> Tensor:
    """Return nDCG@k, average precision and R-precision of each query: float64, (queries, 3).

    Of the ``similarity``, float32, to each item, and whether a label is ``shared``: (queries,
    items). They are means over all orders of ties, which are neighbours closer than `TOLERANCE`
    (McSherry & Najork, 2008); NaN where nothing is shared.
    """
    value, order = similarity.sort(dim=1, descending=True)
    gain, place = shared.gather(1, order).double(), torch.arange(1, 1 + shared.shape[1]).double()
    tie = pad(-value.diff(dim=1) > TOLERANCE, (1, 0)).cumsum(dim=1)  # the number of each item's
    size, hits = (torch.zeros_like(gain).scatter_add(1, tie, x) for x in (gain * 0 + 1, gain))
    first, before = ((x.cumsum(dim=1) - x).gather(1, tie) for x in (size, hits))
    chance = (hits / size).gather(1, tie)  # that a relevant item comes to this place
    others = ((hits - 1) / (size - 1).clamp(min=1)).gather(1, tie)  # the same of the rest of a tie
    precision = (before + 1 + (place - 1 - first) * others) / place
    total, discount = gain.sum(dim=1), (place <= k) / (place + 1).log2()
    last = total.long().clamp(min=1) - 1
    ndcg = chance @ discount / discount.cumsum(dim=0)[last]
    found = chance.cumsum(dim=1).gather(1, last[:, None])[:, 0]
    scores = torch.stack([ndcg, (chance * precision).sum(dim=1) / total, found / total], dim=1)
    return scores.where(total[:, None] > 0, torch.nan)


def relevance_frame(
    embedded: Embeddings, labels: sparse.csr_array, sizes: Sequence[int], seed: int, resamples: int
) -> pd.DataFrame:
    """Score retrieval by shared labels within the galleries that `rank_frame` draws.

    Queries without labels are left out; a query's own clip counts like any other. Columns
    direction, gallery, queries, measure (of `MEASURES`), value, low, high (percent; 95% interval).
    """
    lines = []
    for (direction, query, items), size in product(directions(embedded), sizes):
        parts = []
        for members in galleries(len(query), size, seed):
            for rows in members.split(max(1, 2**22 // size)):
                shared = (labels[rows.numpy()] @ labels[members.numpy()].T).toarray() > 0
                parts.append(label_scores(query[rows] @ items[members].T, torch.from_numpy(shared)))
        scores = 100 * torch.cat(parts)
        scores = scores[~scores.isnan().any(dim=1)]
        mean = scores.mean(dim=0)
        bounds = bootstrap(scores, resamples) if len(scores) else (mean, mean)
        for name, values in zip(
            MEASURES, torch.stack([mean, *bounds], dim=1).tolist(), strict=True
        ):
            lines.append((direction, size, len(scores), name, *values))
    columns = "direction gallery queries measure value low high"
    return pd.DataFrame(lines, columns=columns.split())


def most_frequent(labels: sparse.csr_array, most: int) -> np.ndarray:
    """Return the columns of the labels that most clips carry, the most frequent first."""
    counts = labels.sum(axis=0)
    return np.argsort(-counts, kind="stable")[: min(most, np.count_nonzero(counts))]


def frequent_labels(features: FeatureSet, n: int) -> list[str]:
    """Name each clip by the rarest of its labels that is among the n most frequent, or "other"."""
    order = most_frequent(features.labels, n)
    names = []
    for carried in features.labels[:, order].toarray():
        places = carried.nonzero()[0]
        names.append(features.label_names[order[places[-1]]] if len(places) else "other")
    return names


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
