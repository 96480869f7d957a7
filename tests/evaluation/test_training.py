"""Trainings as frames: what each run made, and its course."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from xmodal.config import TrainConfig
from xmodal.evaluation.recall import RecallConfig, find_runs
from xmodal.evaluation.training import history_frame, training_frame
from xmodal.pipeline.describe import TrainingConfig, measure_training
from xmodal.plots import training_curves


def test_training_frame_tells_each_run(runs: Path, related_features: Path):
    frame = training_frame(find_runs(RecallConfig(runs_folder=runs))).set_index("run")
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
