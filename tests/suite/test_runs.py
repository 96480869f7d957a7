"""Trainings as frames: what each run made, and its course."""

import json
from collections.abc import Callable
from pathlib import Path

from xmodal.config import TrainConfig
from xmodal.train import train
from xmodal_suite.runs import history_frame, training_frame


def test_runs_become_rows_in_percent(tiny: Callable[..., TrainConfig], tmp_path: Path):
    new = tmp_path / "new"
    result = train(tiny(new, seed=3))
    (row,) = training_frame([new]).to_dict("records")
    assert (row["run"], row["dimension"], row["seed"], row["training clips"]) == ("new", 8, 3, 256)
    assert (row["steps"], row["best step"], row["λ from step"]) == (40, result["best_step"], 20)
    assert row["validation R@1"] == 100 * result["best_recall"]

    lines = [json.loads(line) for line in (new / "history.jsonl").read_text().splitlines()]
    frame = history_frame([new, new])
    assert frame["step"].tolist() == [10, 20, 30, 40] * 2 and set(frame["run"]) == {"new"}
    assert frame["recall_at_5"].iloc[-1] == 100 * lines[-1]["recall_at_5"]
