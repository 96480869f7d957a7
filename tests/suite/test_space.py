"""The joint space: of which clips, from which weights, with which labels; and its numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from by_hand import by_hand

from xmodal.config import TrainConfig
from xmodal.data.features import FeatureSet, open_features
from xmodal.evaluation.recall import embed_run
from xmodal.evaluation.relevance import frequent_labels
from xmodal.model import Embeddings
from xmodal.train import train
from xmodal_suite.space import describe_space, draw_clips, embed_untrained

LABELS = [[0, 1], [0], [2, 1, 0], [3], [], [0, 2], [1]]  # counts: 4, 3, 2, 1


def clips() -> FeatureSet:
    return by_hand(LABELS, audio=np.arange(14).reshape(7, 2))


def test_silent_clips_are_not_drawn():
    features, rows = clips(), [0, 2, 3, 5, 6]
    features.audio[[1, 4]] = 7
    drawn = draw_clips(features, 7, 0)
    assert drawn.ids.tolist() == [f"clip{row}" for row in rows]
    np.testing.assert_array_equal(drawn.audio, features.audio[rows])


def test_some_clips_are_drawn_in_order_and_without_repeats():
    drawn = [draw_clips(clips(), 4, seed).ids.tolist() for seed in range(4)]
    assert all(len(set(ids)) == 4 and ids == sorted(ids) for ids in drawn)
    assert len({tuple(ids) for ids in drawn}) > 1
    assert drawn[0] == draw_clips(clips(), 4, 0).ids.tolist()


def test_frequent_labels_by_hand():
    """The rarest of a clip's labels among the most frequent ones names it."""
    zero, one, two = "name 0", "name 1", "name 2"
    assert frequent_labels(clips(), 2) == [one, zero, one, "other", "other", zero, one]
    assert frequent_labels(clips(), 3) == [one, zero, two, "other", "other", two, one]
    assert frequent_labels(by_hand([[3], [0, 3]]), 100) == ["name 3", "name 0"]


def test_space_by_hand():
    """Four clips on the axes of a plane; clips 0, 1 share a label, 2, 3 another."""
    visual = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    audio = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, -1.0], [1.0, 0.0]])
    found = describe_space(Embeddings(visual, audio), by_hand([[0], [0], [1], [1]]), k=1)
    values = found.set_index(["measure", "modality"])["value"]
    assert values["alignment", "both"] == pytest.approx((2 + 0 + 2 + 2) / 4)
    assert values["modality gap", "both"] == pytest.approx(np.hypot(1, 1) / 4)
    # The audio finds visual 1, 1, 3 and 0; clip 3 alone shares no label with what it finds.
    assert values["label agreement", "audio"] == 3 / 4
    assert values["label agreement by chance", "both"] == 1 / 2
    # squared distances of the visual: 2 four times, 4 twice; of the audio: 0, 4, 2, 4, 2, 2
    for modality, squares in {"visual": [2, 2, 2, 2, 4, 4], "audio": [0, 2, 2, 2, 4, 4]}.items():
        potential = np.exp(-2 * np.array(squares)).mean()
        assert values["uniformity", modality] == pytest.approx(np.log(potential), rel=1e-5)


@pytest.mark.parametrize("change", [{}, {"standardise": True, "initialisation": "he"}])
def test_a_run_that_learns_nothing_is_where_it_started(
    tiny: Callable[..., TrainConfig], tmp_path: Path, change: dict[str, Any]
):
    config = tiny(tmp_path / "run", steps=1, learning_rate=1e-12, seed=3, **change)
    train(config)
    features = draw_clips(open_features(config.features, "evaluation"), 30, 0)
    before, after = embed_untrained(config.out, features), embed_run(config.out, features)
    torch.testing.assert_close(before.visual, after.visual, atol=1e-6, rtol=0)
    torch.testing.assert_close(before.audio, after.audio, atol=1e-6, rtol=0)
