"""Clips without labels go all the way: what needs labels says so, everything else is measured."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from torch.nn.functional import normalize

from xmodal.data.features import FeatureSet, open_features
from xmodal.evaluation import relevance
from xmodal.evaluation.controls import controls
from xmodal.metrics import ranks
from xmodal.model import Embeddings
from xmodal_suite import figures as plots
from xmodal_suite import findings
from xmodal_suite.examples import near_misses
from xmodal_suite.tables import styled


@pytest.fixture
def clips(related_features: Path) -> FeatureSet:
    labelled = open_features(related_features, "evaluation")
    nothing = sparse.csr_array((len(labelled), 0), dtype=np.float32)
    return dataclasses.replace(labelled, labels=nothing, label_names=[])


@pytest.fixture
def embedded(clips: FeatureSet) -> Embeddings:
    generator = torch.Generator().manual_seed(0)
    sides = torch.randn(2, len(clips), 5, generator=generator)
    return Embeddings(*normalize(sides, dim=2))


def test_labels_of_none_are_told(clips: FeatureSet, embedded: Embeddings) -> None:
    none = pd.DataFrame({"label": [], "clips": [], "name": []})
    assert findings.labels(none, none) == findings.UNLABELLED
    missed = near_misses(embedded, clips)
    assert missed.empty and findings.near_misses(missed) == findings.UNLABELLED
    assert "label" in styled(missed, "Near misses").to_html()
    by_label = relevance.by_category(*embedded[:2], clips)
    assert by_label.empty and findings.categories(by_label) == findings.UNLABELLED
    assert plots.categories(by_label, "x").findobj(lambda a: "No clip" in str(a))


def test_what_needs_no_labels_is_measured(clips: FeatureSet, embedded: Embeddings) -> None:
    wrong = relevance.errors({"random": embedded}, clips)
    assert wrong["misses with a shared label"].fillna(0).tolist() == [0] * len(wrong)
    by_label = controls(clips, embedded)["true labels"]
    found = ranks(by_label.visual, by_label.audio)[0]
    assert set(found.better.tolist()) == {0}  # no label tells two clips apart: all are tied
    assert set(found.tied.tolist()) == {len(clips)}  # itself among them
