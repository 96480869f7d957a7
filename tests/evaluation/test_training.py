"""Trainings as frames: what each run made, and its course; the plain loop."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.nn.functional import cosine_similarity

from xmodal.config import TrainConfig
from xmodal_suite.describe import TrainingConfig, measure_training
from xmodal_suite.figures import training_curves
from xmodal_suite.published import RecallConfig
from xmodal_suite.training import history_frame, plain_frame, plain_loop, training_frame


def test_training_frame_tells_each_run(runs: Path, related_features: Path):
    frame = training_frame(RecallConfig(runs_folder=runs).trained()).set_index("run")
    assert frame["dimension"].to_dict() == {"dim4-seed0": 4, "dim8-seed0": 8, "dim8-seed1": 8}
    assert frame["seed"].tolist() == [0, 0, 1]
    for name, row in frame.iterrows():
        result = json.loads((runs / str(name) / "result.json").read_text())
        assert row["validation R@1"] == 100 * result["best_recall"]
        assert (row["steps"], row["best step"]) == (40, result["best_step"])
        assert (row["training clips"], row["λ from step"]) == (256, 20)


def test_history_frame_is_in_percent(runs: Path):
    frame = history_frame([runs / "dim8-seed0", runs / "dim4-seed0"])
    assert frame["step"].tolist() == [10, 20, 30, 40] * 2
    assert frame["run"].tolist() == ["dim8-seed0"] * 4 + ["dim4-seed0"] * 4
    last = json.loads((runs / "dim4-seed0" / "history.jsonl").read_text().splitlines()[-1])
    assert frame["recall_at_5"].iloc[-1] == 100 * last["recall_at_5"]


def test_history_frame_takes_runs_that_noted_less(runs: Path, tmp_path: Path):
    new = runs / "dim8-seed0"
    lines = [json.loads(line) for line in (new / "history.jsonl").read_text().splitlines()]
    for line in lines:
        del line["alignment"], line["uniformity"]
    old = tmp_path / "old"
    old.mkdir()
    (old / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "alignment" not in history_frame([old])
    frame = history_frame([old, new])
    assert frame["uniformity"].isna().tolist() == [True] * 4 + [False] * 4
    training_curves(frame, "both")


def test_a_training_is_made_once_and_told(tiny: Callable[..., TrainConfig], runs: Path):
    config = TrainingConfig(**tiny(runs / "dim8-seed0").model_dump())
    before = (config.out / "model.safetensors").stat().st_mtime_ns
    found = measure_training(config)
    assert (config.out / "model.safetensors").stat().st_mtime_ns == before
    pd.testing.assert_frame_equal(found["history"], history_frame([config.out]))
    assert found["training"]["run"].tolist() == ["dim8-seed0"]
    pd.testing.assert_frame_equal(found["plain"], plain_frame(config.features))


def test_a_watched_training_shows_no_bar(
    tiny: Callable[..., TrainConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config = TrainingConfig(**tiny(tmp_path / "run", progress=True).model_dump())
    seen = []
    measure_training(config, lambda: seen.append(capsys.readouterr().err))
    assert len(seen) == 5 and not any("Recall@1" in told for told in seen)
    measure_training(config.model_copy(update={"out": tmp_path / "other"}))
    assert "best validation Recall@1" in capsys.readouterr().err


# --- the plain loop ------------------------------------------------------------------------------


def pairs(clips: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Both modalities are linear in the same eight numbers."""
    generator = torch.Generator().manual_seed(0)
    hidden, *maps = (
        torch.randn(*shape, generator=generator) for shape in ((clips, 8), (8, 1024), (8, 128))
    )
    visual, audio = (hidden @ to / 4 for to in maps)
    return visual, audio


def test_the_plain_loop_draws_clips_of_their_own_together():
    visual, audio = pairs(100)
    losses, visual_net, audio_net = plain_loop(visual, audio, steps=60)
    assert len(losses) == 60 and losses[-1] < losses[0] / 4
    with torch.no_grad():
        v, a = visual_net(visual), audio_net(audio)
    own, other = cosine_similarity(v, a), cosine_similarity(v, a.roll(1, 0))
    assert own.mean() > 0.8 and other.mean() < 0.3


def test_the_plain_loop_without_negatives_or_with_nothing_else():
    """By hand: cosine loss of a pair is 1 - cos; of a negative cos - margin, if that is above 0."""
    visual, audio = pairs(4)
    visual, audio = visual[:1].expand(4, -1), audio[:1].expand(4, -1)  # every pair is the same
    ((positive,), *_) = plain_loop(visual, audio, 1, p_negative=0, seed=1)
    ((negative,), *_) = plain_loop(visual, audio, 1, p_negative=1, margin=-1, seed=1)
    assert positive + negative == pytest.approx(2, abs=1e-5)  # 1 - cos, and cos + 1


def test_a_seed_repeats_the_plain_loop():
    visual, audio = pairs(40)
    first, again, other = (
        plain_loop(visual, audio, steps=3, batch=16, seed=seed)[0] for seed in (0, 0, 1)
    )
    assert first == again != other
    small = plain_loop(visual[:, :5], audio[:, :3], steps=2, batch=16)  # features of any lengths
    assert all(loss > 0 for loss in small[0])


def test_plain_frame_has_a_row_a_step_and_the_recall_in_the_last(related_features: Path):
    """Of 64 validation clips, chance finds 1.6 % first."""
    frame = plain_frame(related_features)
    assert frame.columns.tolist() == ["step", "loss", "recall_at_1", "gallery"]
    assert frame["step"].tolist() == list(range(1, 81))
    assert frame["recall_at_1"].notna().tolist() == [False] * 79 + [True]
    assert 20 < frame["recall_at_1"].iloc[-1] <= 100
    assert set(frame["gallery"]) == {64}
    assert set(plain_frame(related_features, gallery=16)["gallery"]) == {16}
    few = plain_frame(related_features, clips=64)  # so few that the first batch is another
    assert few["loss"][0] != frame["loss"][0]
