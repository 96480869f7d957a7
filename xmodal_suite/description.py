"""What a feature set looks like (notebook 01): its splits, labels, lengths and correlations."""

from pathlib import Path

import numpy as np
import pandas as pd

from xmodal.data import statistics
from xmodal.data.features import SPLITS, open_features
from xmodal.evaluation.cca import canonical_correlations


def describe(features: Path, shown: int = 8, named: int = 30) -> dict[str, pd.DataFrame]:
    """Describe a feature set.

    ``splits``: see `xmodal.data.statistics.overview`. Of the training clips ``labels`` (number of
    the label, clips that carry it, the most frequent first, ``named`` of these with their name),
    ``labels_per_clip`` (labels, clips that carry so many) and ``clips`` (id and labels of the first
    ``shown``). Of the evaluation clips ``norms`` (visual, audio: lengths of the feature vectors, a
    line a clip). ``components`` (kind, value): canonical correlations, in the order of their
    directions, and the variances of the principal components of either modality, largest first.
    """
    splits = {name: open_features(features, name) for name in SPLITS}
    train, evaluation = splits["train"], splits["evaluation"]
    counts = statistics.label_counts(train)
    order = [label for label in np.argsort(-counts, kind="stable") if counts[label]]
    carried, clips = np.unique(np.diff(train.labels.indptr), return_counts=True)
    rows = range(min(shown, len(train)))
    measured = statistics.moments(train)
    components = {
        "canonical": canonical_correlations(measured, evaluation),
        "visual": statistics.spectrum(measured.visual),
        "audio": statistics.spectrum(measured.audio),
    }
    return {
        "splits": statistics.overview(splits),
        "labels": pd.DataFrame(
            {
                "label": order,
                "clips": counts[order],
                "name": [train.label_names[label] for label in order[:named]]
                + [None] * len(order[named:]),
            }
        ),
        "labels_per_clip": pd.DataFrame({"labels": carried, "clips": clips}),
        "clips": pd.DataFrame(
            {
                "clip": [str(train.ids[row]) for row in rows],
                "labels": ["; ".join(train.labels_of(row)) for row in rows],
            }
        ),
        "norms": pd.DataFrame(
            {
                "visual": statistics.norms(evaluation.visual),
                "audio": statistics.norms(evaluation.audio),
            }
        ),
        "components": pd.concat(
            [pd.DataFrame({"kind": kind, "value": values}) for kind, values in components.items()],
            ignore_index=True,
        ),
    }
