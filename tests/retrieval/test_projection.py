"""The maps: of which clips, from which weights, with which labels; and the space in numbers."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import no_umap
import numpy as np
import pandas as pd
import pytest
import torch
from by_hand import incidence
from torch.nn.functional import normalize

from xmodal.config import InputError, TrainConfig
from xmodal.data.features import FeatureSet, open_features
from xmodal.evaluation.recall import embed_run
from xmodal.model import Embeddings
from xmodal.train import train
from xmodal_suite.projection import (
    ProjectionConfig,
    describe_space,
    draw_clips,
    embed_untrained,
    frequent_labels,
    measure_map,
    project,
    trustworthiness,
)

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


def by_modality(embedded: Embeddings) -> dict[str, torch.Tensor]:
    return {"audio": embedded.audio, "visual": embedded.visual}


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Note the points UMAP is asked to fit; a stand-in gives their first two coordinates."""
    monkeypatch.setitem(sys.modules, "umap", no_umap)
    monkeypatch.setattr(no_umap.UMAP, "fitted", [])
    return no_umap.UMAP.fitted


def test_silent_clips_are_left_out():
    features = clips(LABELS)
    features.audio[[1, 4]] = 7
    drawn = draw_clips(features, ProjectionConfig(clips=7))
    assert drawn.ids.tolist() == ["0000", "0002", "0003", "0005", "0006"]
    assert drawn.labels.toarray().tolist() == incidence(
        [LABELS[row] for row in (0, 2, 3, 5, 6)], classes=4
    ).toarray().tolist()  # fmt: skip
    np.testing.assert_array_equal(drawn.audio, features.audio[[0, 2, 3, 5, 6]])


def test_some_clips_are_drawn_without_repeats():
    drawn = [draw_clips(clips(LABELS), ProjectionConfig(clips=4, seed=seed)) for seed in range(4)]
    assert all(len(features) == len(set(features.ids)) == 4 for features in drawn)
    assert len({tuple(features.ids) for features in drawn}) > 1


def test_too_few_clips_are_said():
    features = clips(LABELS)
    features.audio[:4] = 7
    with pytest.raises(InputError, match="needs 4 evaluation clips.*some/set has 3: "):
        draw_clips(features, ProjectionConfig(features=Path("some/set")))


def test_frequent_labels_by_hand():
    """The rarest of a clip's labels among the most frequent ones names it."""
    names = frequent_labels(clips(LABELS), 2)
    assert names == ["Car", "Game", "Car", "other", "other", "Game", "Car"]
    names = frequent_labels(clips(LABELS), 3)
    assert names == ["Car", "Game", "None", "other", "other", "None", "Car"]
    assert frequent_labels(clips([LABELS[3], LABELS[0]]), 100) == ["12", "Car"]


def test_points_are_in_the_order_of_the_modalities(fits: list[np.ndarray]):
    embedded = embeddings(7)
    frame = project(by_modality(embedded), clips(LABELS), ProjectionConfig())
    assert frame["modality"].tolist() == ["audio"] * 7 + ["visual"] * 7
    assert frame["clip"].tolist() == [f"{i:04}" for i in range(7)] * 2
    assert frame["label"].tolist() == frequent_labels(clips(LABELS), 8) * 2
    points = torch.cat([embedded.audio, embedded.visual]).numpy()
    np.testing.assert_allclose(frame[["x", "y"]], points[:, :2], atol=5e-5)
    np.testing.assert_array_equal(fits[0], points)


def test_space_by_hand():
    """Four clips on the axes of a plane; clips 0, 1 share a label, 2, 3 another."""
    visual = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    audio = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, -1.0], [1.0, 0.0]])
    found = describe_space(Embeddings(visual, audio), clips([[0], [0], [1], [1]]), k=1)
    values = found.set_index(["measure", "modality"])["value"]
    assert values["alignment", "both"] == pytest.approx((2 + 0 + 2 + 2) / 4)
    assert values["modality gap", "both"] == pytest.approx(np.hypot(1, 1) / 4)
    # The audio finds visual 1, 1, 3 and 0; clip 3 alone shares no label with what it finds.
    assert values["label agreement", "audio"] == 3 / 4
    assert values["label agreement by chance", "both"] == 1 / 2
    # squared distances of the visual: 2 four times, 4 twice; of the audio: 0, 4, 2, 4, 2, 2
    expected = {"visual": [2, 2, 2, 2, 4, 4], "audio": [0, 2, 2, 2, 4, 4]}
    for modality, squares in expected.items():
        potential = np.exp(-2 * np.array(squares)).mean()
        assert values["uniformity", modality] == pytest.approx(np.log(potential), rel=1e-5)


def test_a_map_that_keeps_neighbours_is_trusted_and_another_is_not():
    """Points on an arc, no two pairs equally far apart: in order on a line, or shuffled."""
    angles = torch.linspace(0, 1.7, 40).exp() / 2
    arc = {"audio": torch.stack([angles.cos(), angles.sin()], dim=1)}
    line = pd.DataFrame({"x": angles.numpy(), "y": 0.0})
    assert trustworthiness(arc, line, 5) == 1
    assert trustworthiness(arc, line.sample(frac=1, random_state=0), 5) < 0.7
    assert trustworthiness({"audio": arc["audio"][:4]}, line[:4], 5) == 1  # of so few, 1 neighbour


@pytest.mark.parametrize("change", [{}, {"standardise": True, "initialisation": "he"}])
def test_a_run_that_learns_nothing_is_where_it_started(
    tiny: Callable[..., TrainConfig], tmp_path: Path, change: dict[str, Any]
):
    config = tiny(tmp_path / "run", steps=1, learning_rate=1e-12, seed=3, **change)
    train(config)
    features = draw_clips(open_features(config.features, "evaluation"), ProjectionConfig())
    before = embed_untrained(config.out, features)
    for start, end in zip(before[:2], embed_run(config.out, features)[:2], strict=True):
        torch.testing.assert_close(start, end, atol=1e-6, rtol=0)


def test_maps_and_numbers_of_a_run(
    tiny: Callable[..., TrainConfig], tmp_path: Path, fits: list[np.ndarray]
):
    config = tiny(tmp_path / "run", steps=40)
    train(config)
    found = measure_map(ProjectionConfig(run=config.out, features=config.features, clips=50))
    points, space = found["points"], found["space"]
    assert list(points) == ["x", "y", "modality", "label", "clip", "map"]
    sizes = points.groupby(["map", "modality"], sort=False).size().to_dict()
    assert sizes == {
        ("before training", "audio"): 50,
        ("before training", "visual"): 50,
        ("after training", "audio"): 50,
        ("after training", "visual"): 50,
        ("visual alone", "visual"): 50,
        ("audio alone", "audio"): 50,
    }
    before, after, visual, audio = fits
    np.testing.assert_array_equal(np.concatenate([audio, visual]), after)
    assert not np.allclose(before, after)
    values = space.set_index(["state", "measure", "modality"])["value"]
    assert values.index.is_unique and values.notna().all() and len(values) == 2 * 7 + 4
    assert (
        values["after training", "alignment", "both"]
        < values["before training", "alignment", "both"]
    )
    shared = "label agreement"
    assert values["after training", shared, "audio"] > values["before training", shared, "audio"]
    trusted = values.xs("trustworthiness", level="measure").index.tolist()
    assert trusted == [
        ("before training", "both"),
        ("after training", "both"),
        ("after training", "visual"),
        ("after training", "audio"),
    ]


def test_umap_keeps_two_groups_apart_and_repeats_itself():
    """A real fit: two tight groups of embeddings come out as two groups of points."""
    side = torch.tensor([[1.0, 0, 0, 0, 0, 0], [-1.0, 0, 0, 0, 0, 0]]).repeat_interleave(30, dim=0)
    noise = embeddings(60)
    embedded = Embeddings(*(normalize(side + 0.3 * part, dim=1) for part in noise[:2]))
    features = clips([[0]] * 30 + [[1]] * 30)
    one, two = (
        project(by_modality(embedded), features, ProjectionConfig(neighbours=10)) for _ in range(2)
    )
    pd.testing.assert_frame_equal(one, two)
    places = one.groupby("label")[["x", "y"]]
    apart = np.linalg.norm(places.mean().loc["Game"] - places.mean().loc["Car"])
    assert apart > 2 * places.std().to_numpy().max()
