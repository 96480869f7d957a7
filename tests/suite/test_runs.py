"""Trainings as frames: what each run made, and its course."""

import json
from collections.abc import Callable
from pathlib import Path

from xmodal.config import TrainConfig
from xmodal.train import train
from xmodal_suite.runs import history_frame, training_frame


def test_runs_become_rows_in_percent(tiny: Callable[..., TrainConfig], tmp_path: Path):
    new, old = tmp_path / "new", tmp_path / "old"
    result = train(tiny(new, seed=3))
    (row,) = training_frame([new]).to_dict("records")
    assert (row["run"], row["dimension"], row["seed"], row["training clips"]) == ("new", 8, 3, 256)
    assert (row["steps"], row["best step"], row["λ from step"]) == (40, result["best_step"], 20)
    assert row["validation R@1"] == 100 * result["best_recall"]

    lines = [json.loads(line) for line in (new / "history.jsonl").read_text().splitlines()]
    old.mkdir()  # a run that noted less
    less = [{k: v for k, v in line.items() if k != "alignment"} for line in lines]
    (old / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in less))
    frame = history_frame([old, new])
    assert frame["step"].tolist() == [10, 20, 30, 40] * 2 and frame["run"].iloc[3:5].tolist() == [
        "old",
        "new",
    ]
    assert frame["recall_at_5"].iloc[-1] == 100 * lines[-1]["recall_at_5"]
    assert frame["alignment"].isna().tolist() == [True] * 4 + [False] * 4
