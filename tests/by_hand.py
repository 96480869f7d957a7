"""Feature sets made by hand."""

from collections.abc import Sequence

import numpy as np

from xmodal.data.features import FeatureSet


def by_hand(
    labels: Sequence[Sequence[int]],
    visual: np.ndarray | None = None,
    audio: np.ndarray | None = None,
) -> FeatureSet:
    """Return clips with these labels (below 10) and features, zeros if not given."""
    n = len(labels)
    zeros = np.zeros((n, 2))
    return FeatureSet(
        visual=np.asarray(zeros if visual is None else visual, np.float32),
        audio=np.asarray(zeros if audio is None else audio, np.float32),
        ids=np.array([f"clip{i}" for i in range(n)]),
        label_indptr=np.cumsum([0, *map(len, labels)]),
        label_indices=np.array([c for row in labels for c in row], np.int32),
        label_names=[f"name {c}" for c in range(10)],
        fingerprint="",
        source="by hand",
        split="train",
    )
