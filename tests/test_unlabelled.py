"""Clips without labels go all the way: what needs no labels is measured."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse
from torch.nn.functional import normalize

from xmodal.data.features import FeatureSet, open_features
from xmodal.evaluation import relevance
from xmodal.evaluation.controls import labels
from xmodal.model import Embeddings


@pytest.fixture
def clips(related_features: Path) -> FeatureSet:
    labelled = open_features(related_features, "evaluation")
    nothing = sparse.csr_array((len(labelled), 0), dtype=np.float32)
    return dataclasses.replace(labelled, labels=nothing, label_names=[])


def test_clips_without_labels_are_measured(clips: FeatureSet) -> None:
    generator = torch.Generator().manual_seed(0)
    sides = torch.randn(2, len(clips), 5, generator=generator)
    embedded = Embeddings(*normalize(sides, dim=2))
    assert relevance.by_category(*embedded[:2], clips).empty
    wrong = relevance.errors({"random": embedded}, clips)
    assert wrong["misses with a shared label"].fillna(0).tolist() == [0] * len(wrong)
    by_label = labels(clips)
    for side in by_label[:2]:
        assert (side == side[:1]).all()  # no label tells two clips apart
