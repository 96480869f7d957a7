"""The map: when it is made again, and how its points are labelled."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from by_hand import incidence
from torch.nn.functional import normalize

from xmodal.data.features import FeatureSet
from xmodal.model import Embeddings
from xmodal.retrieval.projection import ProjectionConfig, frequent_labels, project

LABELS = [[0, 1], [0], [2, 1, 0], [3], [], [0, 2], [1]]  # counts: 4, 3, 2, 1


def clips(labels: list[list[int]]) -> FeatureSet:
    n = len(labels)
    return FeatureSet(
        visual=np.zeros((n, 2), np.float32),
        audio=np.arange(2 * n, dtype=np.float32).reshape(n, 2),
        ids=np.array([f"{i:04}" for i in range(n)]),
        labels=incidence(labels, classes=4),
        label_names=["Game", "Car", "None", "12"],
        fingerprint="",
        source="by hand",
        split="evaluation",
    )


def embeddings(n: int, seed: int = 0) -> Embeddings:
    draw = torch.randn(2, n, 6, generator=torch.Generator().manual_seed(seed))
    return Embeddings(*normalize(draw, dim=2))


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Note the points UMAP is asked to fit; a stand-in gives their first two coordinates."""
    seen: list[np.ndarray] = []

    class StandIn:
        def __init__(self, **settings: Any) -> None:
            assert settings["metric"] == "cosine"

        def fit_transform(self, points: np.ndarray) -> np.ndarray:
            seen.append(points)
            return points[:, :2]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=StandIn))
    return seen


def test_silent_clips_are_left_out(fits: list[np.ndarray], tmp_path: Path):
    features = clips(LABELS)
    features.audio[[1, 4]] = 7
    frame = project(embeddings(7), features, ProjectionConfig(run=tmp_path, clips=7))
    assert sorted(set(frame["clip"])) == ["0000", "0002", "0003", "0005", "0006"]


def test_frequent_labels_by_hand():
    """The rarest of a clip's labels among the most frequent ones names it."""
    every = range(len(LABELS))
    names = frequent_labels(clips(LABELS), every, 2)
    assert names == ["Car", "Game", "Car", "other", "other", "Game", "Car"]
    names = frequent_labels(clips(LABELS), every, 3)
    assert names == ["Car", "Game", "None", "other", "other", "None", "Car"]
    names = frequent_labels(clips(LABELS), [3, 0], 100)
    assert names == ["12", "Car"]


def test_points_are_audio_then_visual_of_the_same_clips(tmp_path: Path, fits: list[np.ndarray]):
    embedded = embeddings(7)
    frame = project(embedded, clips(LABELS), ProjectionConfig(run=tmp_path))
    assert frame["modality"].tolist() == ["audio"] * 7 + ["visual"] * 7
    assert frame["clip"].tolist() == [f"{i:04}" for i in range(7)] * 2
    assert frame["label"].tolist() == frequent_labels(clips(LABELS), range(7), 8) * 2
    points = torch.cat([embedded.audio, embedded.visual]).numpy()
    np.testing.assert_allclose(frame[["x", "y"]], points[:, :2], atol=5e-5)
    np.testing.assert_array_equal(fits[0], points)


def test_some_clips_are_drawn_without_repeats(tmp_path: Path, fits: list[np.ndarray]):
    drawn = [
        project(embeddings(7), clips(LABELS), ProjectionConfig(run=tmp_path, clips=3, seed=seed))
        for seed in range(4)
    ]
    assert all(len(set(frame["clip"])) == 3 and len(frame) == 6 for frame in drawn)
    assert len({tuple(frame["clip"]) for frame in drawn}) > 1


@pytest.mark.slow
def test_umap_keeps_two_groups_apart_and_repeats_itself(tmp_path: Path):
    """A real fit: two tight groups of embeddings come out as two groups of points."""
    side = torch.tensor([[1.0, 0, 0, 0, 0, 0], [-1.0, 0, 0, 0, 0, 0]]).repeat_interleave(30, dim=0)
    noise = embeddings(60)
    embedded = Embeddings(*(normalize(side + 0.3 * part, dim=1) for part in noise[:2]))
    features = clips([[0]] * 30 + [[1]] * 30)
    one, two = (
        project(embedded, features, ProjectionConfig(run=folder, neighbours=10))
        for folder in (tmp_path / "one", tmp_path / "two")
        if not folder.mkdir()
    )
    pd.testing.assert_frame_equal(one, two)
    places = one.groupby("label")[["x", "y"]]
    apart = np.linalg.norm(places.mean().loc["Game"] - places.mean().loc["Car"])
    assert apart > 2 * places.std().to_numpy().max()
