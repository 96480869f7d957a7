"""From runs to frames of recall: by hand, and against the metrics they are made of."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from by_hand import unit
from torch.nn.functional import normalize

from xmodal.data.features import open_features
from xmodal.evaluation.recall import (
    AUDIO_TO_VIDEO,
    RANKS,
    VIDEO_TO_AUDIO,
    EvaluateConfig,
    embed_run,
    ensemble,
    evaluate,
    mean_recall,
    rank_frame,
    recall_frame,
    recall_of,
)
from xmodal.metrics import gallery_ranks, recall
from xmodal.model import Embeddings
from xmodal.train import TrainConfig, train


def related(n: int, seed: int) -> Embeddings:
    visual = unit(n, seed)
    return Embeddings(visual, normalize(visual + unit(n, seed + 1), dim=1))


# --- recall --------------------------------------------------------------------------------------


def test_directions_are_not_swapped():
    """By hand: cosines of the videos (rows) with the audio (columns) are 1, 0.8 and 0, 0.6.

    Each video finds its audio. The second audio finds the first video.
    """
    visual = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    audio = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    frame = recall_frame([Embeddings(visual, audio)], [2], resamples=10)
    first = frame[frame["k"] == 1].set_index("direction")
    assert first["recall"].to_dict() == {VIDEO_TO_AUDIO: 100, AUDIO_TO_VIDEO: 50}
    assert first["mean_rank"].to_dict() == {VIDEO_TO_AUDIO: 1, AUDIO_TO_VIDEO: 1.5}


def test_recall_frame_is_the_metrics_in_percent():
    models = [related(50, 0), related(50, 5)]
    frame = recall_frame(models, [10, 25], seed=3, resamples=20)
    assert list(frame["galleries"].unique()) == [5, 2]
    for way, direction in enumerate((VIDEO_TO_AUDIO, AUDIO_TO_VIDEO)):
        for size in (10, 25):
            found = [gallery_ranks(m.visual, m.audio, size, 3)[way] for m in models]
            expected = recall(*found, resamples=20)
            part = frame[(frame["direction"] == direction) & (frame["gallery"] == size)]
            assert part["k"].tolist() == [1, 5, 10]
            for name in ("recall", "low", "high"):
                assert part[name].to_numpy() == pytest.approx(
                    100 * np.array(getattr(expected, name))
                )
            assert set(part["median_rank"]) == {expected.median_rank}
            assert set(part["mean_rank"]) == {expected.mean_rank} and set(part["queries"]) == {50}


def test_a_rank_is_kept_for_every_query():
    """Whoever has the ranks has the recall, of one model and of several."""
    models = {"one": [related(30, 0), related(30, 5)], "other": [related(30, 9)]}
    keep = np.arange(30) % 3 > 0
    parts = [rank_frame(m, [5, 20], keep, seed=2).assign(model=n) for n, m in models.items()]
    ranked = pd.concat(parts)
    assert set(ranked["clip"]) == set(np.flatnonzero(keep))
    assert ranked.groupby(["model", "member", "direction", "gallery"]).size().eq(20).all()
    found = recall_of(ranked, 10, ["model"])
    for name, members in models.items():
        part = found[found["model"] == name].drop(columns="model").reset_index(drop=True)
        pd.testing.assert_frame_equal(part, recall_frame(members, [5, 20], keep, 2, 10))


def test_a_rank_is_that_of_its_clip():
    """The query in row 2 alone finds its match; every other comes after it."""
    visual, audio = torch.eye(4), torch.eye(4)[[1, 0, 2, 3]]
    audio[3] = torch.tensor([0.0, 0.0, 1.0, 0.0])
    frame = rank_frame([Embeddings(visual, audio)], [4])
    one = frame[frame["direction"] == VIDEO_TO_AUDIO].set_index("clip").sort_index()
    assert one["better"].tolist() == [1, 1, 0, 0] and one["tied"].tolist() == [3, 3, 2, 4]


def test_clips_that_are_not_kept_are_neither_query_nor_candidate():
    whole, keep = related(40, 0), np.arange(40) % 3 > 0
    frame = recall_frame([whole], [10, 26, 27], keep, resamples=10)  # there are 26
    kept = Embeddings(*(x[np.flatnonzero(keep)] for x in whole[:2]))
    pd.testing.assert_frame_equal(frame, recall_frame([kept], [10, 26], resamples=10))
    assert set(frame["queries"]) == {20, 26}


@pytest.mark.parametrize("size", [16, 1024])
def test_mean_recall_is_that_of_both_directions_without_silent_clips(
    size: int, related_features: Path
):
    clips = open_features(related_features, "evaluation")
    embedded, keep = related(64, 0), ~clips.silent
    frame = recall_frame([embedded], [min(size, 61)], keep, resamples=0)
    expected = frame[frame["k"] == 1]["recall"].mean()
    assert 0 < expected < 100
    assert mean_recall(embedded, clips, size) == pytest.approx(expected)


# --- runs ----------------------------------------------------------------------------------------


def test_an_ensemble_has_the_mean_of_its_members_cosines():
    members = [related(20, 0), related(20, 5), related(20, 9)]
    both = ensemble(members)
    torch.testing.assert_close(both.visual.norm(dim=1), torch.ones(20))
    mean = sum(m.visual @ m.audio.T for m in members) / 3
    torch.testing.assert_close(both.visual @ both.audio.T, mean)


def test_a_run_is_evaluated_on_both_splits_without_silent_clips(
    tiny: Callable[..., TrainConfig], tmp_path: Path, related_features: Path
):
    train(tiny(tmp_path / "run", embedding_dim=4))
    config = EvaluateConfig(run=tmp_path / "run", features=related_features, galleries=[16])
    frame = evaluate(config)
    pd.testing.assert_frame_equal(frame, pd.read_csv(tmp_path / "run" / "recall.csv"))
    ranked = pd.read_parquet(tmp_path / "run" / RANKS)
    pd.testing.assert_frame_equal(frame, recall_of(ranked, by=["split"]))
    for split in ("validation", "evaluation"):
        clips = open_features(related_features, split)
        sound = int((~clips.silent).sum())
        part = frame[frame["split"] == split].drop(columns="split").reset_index(drop=True)
        expected = recall_frame([embed_run(tmp_path / "run", clips)], [16, sound], ~clips.silent)
        assert sound == 61 and set(part["gallery"]) == {16, 61}
        assert set(ranked.loc[ranked["split"] == split, "clip"]) == set(clips.ids[~clips.silent])
        pd.testing.assert_frame_equal(part, expected)
    assert set(frame["split"]) == {"validation", "evaluation"}
