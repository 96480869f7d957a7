"""What the explorer shows, by hand: neighbours, ranks, cosines, places."""

import sys
from collections.abc import Callable
from pathlib import Path

import no_umap
import numpy as np
import pytest
import torch
from by_hand import by_hand

from xmodal.config import InputError
from xmodal.data.features import open_features
from xmodal.evaluation.recall import embed_run
from xmodal.metrics import ranks
from xmodal.model import Embeddings
from xmodal.train import TrainConfig, train
from xmodal_suite.examples import RetrievalConfig
from xmodal_suite.explored import ExplorerConfig, explore, explorer_config, measure_explorer


@pytest.fixture(autouse=True)
def no_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", no_umap)


#: Cosines of the videos (rows) with the sounds (columns): 0.6 0.8 0, 0.8 0.6 1, 0 0 0.
VISUAL = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
AUDIO = torch.tensor([[0.8, 0.6, 0.0], [0.6, 0.8, 0.0], [1.0, 0.0, 0.0]])


def found(k: int = 2) -> dict:
    features = by_hand([[0, 1], [0], []])
    return explore(Embeddings(VISUAL, AUDIO), features, ExplorerConfig(k=k, labels=1))


def test_every_clip_has_its_labels_two_places_and_its_own_cosine():
    points = found()["points"]
    assert points["clip"].tolist() == ["clip0", "clip1", "clip2"]
    assert points["labels"].tolist() == ["name 0; name 1", "name 0", ""]
    assert points["label"].tolist() == ["name 0", "name 0", "other"]
    assert points[["visual_x", "visual_y"]].to_numpy().tolist() == [[0, 1], [1, 0], [0, 0]]
    np.testing.assert_allclose(points[["audio_x", "audio_y"]], [[0.8, 0.6], [0.6, 0.8], [1, 0]])
    np.testing.assert_allclose(points["cosine"], [0.6, 0.6, 0], atol=1e-4)


def test_the_rank_of_the_match_counts_ties_half():
    points = found()["points"]
    assert points["video→audio"].tolist() == [2, 3, 2]  # the third video is as far from all sounds
    assert points["audio→video"].tolist() == [2, 2, 2.5]


def test_the_nearest_come_first_both_ways():
    lines = found()["neighbours"]
    assert list(lines) == ["direction", "query", "rank", "item", "cosine"]
    there = lines[(lines["direction"] == "video→audio") & (lines["query"] < 2)]
    assert there["query"].tolist() == [0, 0, 1, 1] and there["rank"].tolist() == [1, 2, 1, 2]
    assert there["item"].tolist() == [1, 0, 2, 0]
    np.testing.assert_allclose(there["cosine"], [0.8, 0.6, 1, 0.8], atol=1e-4)
    back = lines[(lines["direction"] == "audio→video") & (lines["rank"] == 1)]
    assert back["item"].tolist() == [1, 0, 1]


def test_no_more_neighbours_than_clips():
    assert found(k=10)["neighbours"].groupby(["direction", "query"]).size().tolist() == [3] * 6


def test_silent_clips_are_left_out_as_queries_and_as_items(
    related_features: Path, tiny: Callable[..., TrainConfig], tmp_path: Path
):
    run = tmp_path / "run"
    train(tiny(run, steps=20))
    frames = measure_explorer(ExplorerConfig(run=run, features=related_features, k=5))
    clips = open_features(related_features, "evaluation")
    sound = np.flatnonzero(~clips.silent)
    assert len(sound) == 61
    assert frames["points"]["clip"].tolist() == clips.ids[sound].tolist()
    visual, audio, *_ = embed_run(run, clips)
    expected = ranks(visual[sound], audio[sound])[0].average()
    np.testing.assert_allclose(frames["points"]["video→audio"], expected)
    assert frames["neighbours"]["item"].max() < 61 and len(frames["neighbours"]) == 2 * 61 * 5


def test_the_explorer_shows_the_run_that_the_notebook_names():
    given = RetrievalConfig(run="runs/a", features="f", results="r", explorer_run="yt8m-recipe")
    config = explorer_config(given)
    assert (config.run, config.features) == (Path("yt8m-recipe"), Path("f"))
    assert config.trained() == [Path("yt8m-recipe")]


def test_without_a_run_it_says_so(related_features: Path):
    config = ExplorerConfig(run="runs/none", features=related_features)
    with pytest.raises(InputError, match="runs/none holds no finished training run"):
        measure_explorer(config)
