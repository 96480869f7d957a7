"""Feature sets, ``tf.train.Example`` messages and runs made by hand."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch.nn.functional import normalize

from xmodal.data.features import FeatureSet
from xmodal.negatives import Labels


def incidence(labels: Sequence[Sequence[int]], classes: int = 10) -> sparse.csr_array:
    """Return the labels of some clips, each as a list, as a feature set holds them."""
    indices = np.array([c for row in labels for c in row], np.int32)
    indptr = np.cumsum([0, *map(len, labels)])
    ones = np.ones(len(indices), np.float32)
    return sparse.csr_array((ones, indices, indptr), shape=(len(labels), classes))


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
        labels=incidence(labels),
        label_names=[f"name {c}" for c in range(10)],
        fingerprint="",
        source="by hand",
        split="train",
    )


def unit(n: int, seed: int = 0, dim: int = 8) -> torch.Tensor:
    """Draw vectors of length one."""
    return normalize(torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def labels_of(*clips: list[int]) -> Labels:
    """Return the labels of some clips as the losses take them."""
    indptr = torch.tensor([0, *map(len, clips)]).cumsum(0)
    return Labels(indptr, torch.tensor([c for labels in clips for c in labels]).long())


# The protocol-buffer wire format, byte by byte (protobuf encoding guide).


def varint(value: int) -> bytes:
    """Write a number: seven bits a byte, the least significant first, the last byte below 128."""
    groups = []
    while value >= 128:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])


def delimited(number: int, content: bytes) -> bytes:
    """Write a field that holds a text, a message or packed values."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def entry(key: str, kind: int, values: bytes) -> bytes:
    """Write a key of ``tf.train.Features``; kind 1 is one text, 2 packed floats, 3 varints."""
    feature = delimited(kind, delimited(1, values))
    return delimited(1, delimited(1, key.encode()) + delimited(2, feature))


def example(*entries: bytes) -> bytes:
    """Write a ``tf.train.Example`` of these entries."""
    return delimited(1, b"".join(entries))


def leave_run(
    run: Path, recall: float, clips: int = 99, step: int = 10, sizes: Sequence[int] = (8, 16)
) -> None:
    """Leave what a run that was measured leaves, in a new folder or in one that is there.

    Its recalls are recall + k + size / 8, both directions one point apart, one more in validation.
    """
    run.mkdir(parents=True, exist_ok=True)
    (run / "result.json").write_text(json.dumps({"training_clips": clips, "best_step": step}))
    (run / "config.json").write_text(
        json.dumps({"config": {"joint_normalise": False}, "sizes": {}})
    )
    rows = [
        {"split": split, "direction": direction, "gallery": size, "galleries": 1, "k": k}
        | {"recall": recall + k + size / 8 + off + (split == "validation")}
        for split in ("validation", "evaluation")
        for direction, off in (("a", -0.5), ("b", 0.5))
        for size in sizes
        for k in (1, 5, 10)
    ]
    pd.DataFrame(rows).to_csv(run / "recall.csv", index=False)
