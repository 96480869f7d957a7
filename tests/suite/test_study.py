"""The ablation study: what is measured of many runs, gathered and summarised."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from by_hand import by_hand, leave_run

from xmodal.config import InputError, TrainConfig
from xmodal.data.features import open_features
from xmodal.model import JointEmbedding
from xmodal.train import train
from xmodal_suite.profile import Study
from xmodal_suite.study import embed_apart, named_recalls, study_frame, study_table, with_kept
from xmodal_suite.tables import ablation_layout

SETTINGS: dict[str, Any] = {
    "base": {"steps": 10},
    "rows": {"text": {"about": "nothing"}, "wide": {"about": "wider", "change": {"margin": 0.5}}},
    "seeds": [0, 1],
}
STUDY = Study(**SETTINGS)
CLIPS = by_hand([[0]] * 16)


def test_what_was_measured_is_gathered_in_the_order_of_the_rows(tmp_path: Path):
    leave_run(tmp_path / "wide-seed1", 20)
    leave_run(tmp_path / "text-seed0", 10)
    (tmp_path / "text-seed1").mkdir()  # not measured yet
    leave_run(tmp_path / "wide-seed0", 30)
    (tmp_path / "wide-seed0" / "result.json").unlink()  # measured once, but now it goes on
    frame = study_frame(tmp_path, STUDY, CLIPS)
    assert list(frame["row"].unique()) == ["text", "wide"]
    one = frame[(frame["row"] == "wide") & (frame["gallery"] == 16) & (frame["k"] == 5)]
    assert one.set_index("split")["recall"].to_dict() == {"validation": 28, "evaluation": 27}
    assert set(frame["clips"]) == {99} and len(frame) == 2 * 2 * 2 * 3
    assert study_frame(tmp_path / "none", STUDY, CLIPS).empty


def test_runs_that_are_gone_keep_their_numbers_and_their_commit(tmp_path: Path):
    for run, recall in (("text-seed0", 10), ("wide-seed0", 20), ("wide-seed1", 30)):
        leave_run(tmp_path / run, recall)
    kept = study_frame(tmp_path, STUDY, CLIPS).assign(study="a", commit="old")
    here = tmp_path / "here"
    leave_run(here / "text-seed0", 10)  # the same numbers again
    leave_run(here / "wide-seed0", 25)  # trained again, to others
    leave_run(here / "text-seed1", 11)
    found = study_frame(here, STUDY, CLIPS).assign(study="a", commit="new")
    both = with_kept(found, kept, {"a": STUDY})
    runs = both.drop_duplicates(["row", "seed"])
    assert runs[["row", "seed", "commit"]].values.tolist() == [
        ["text", 0, "old"],
        ["text", 1, "new"],
        ["wide", 0, "new"],
        ["wide", 1, "old"],
    ]
    assert len(both) == 4 * 12


@pytest.fixture
def recalls(tmp_path: Path) -> pd.DataFrame:
    leave_run(tmp_path / "text-seed0", 10, step=100)
    leave_run(tmp_path / "text-seed1", 12, step=300)
    leave_run(tmp_path / "wide-seed0", 20.25)
    frame = study_frame(tmp_path, STUDY, CLIPS)
    with pytest.raises(InputError, match="9"):
        named_recalls(frame, STUDY, 9)
    return named_recalls(frame, STUDY, gallery=8)


def test_recalls_are_named_by_hand(recalls: pd.DataFrame):
    second = {"row": "text", "change": "nothing", "seed": 1, "clips": 99, "step": 300}
    values = {"validation R@1, N = 8": 15, "R@1, N = 8": 14, "R@5, N = 8": 18, "R@10, N = 8": 23}
    values["R@1, N = 16"] = 15
    tidy = [{**second, "measure": name, "recall": value} for name, value in values.items()]
    assert recalls.to_dict("records")[5:10] == tidy


def test_seeds_are_summarised_by_hand(recalls: pd.DataFrame):
    table = study_table(recalls)
    text, wide = table[table["measure"] == "R@1, N = 8"].to_dict("records")
    assert (text["change"], text["seeds"], text["step"]) == ("nothing", 2, 200)
    assert (text["mean"], text["std"]) == pytest.approx((13, 2**0.5))  # 12 and 14
    assert (wide["mean"], wide["seeds"]) == (22.25, 1) and np.isnan(wide["std"])
    cells = ablation_layout(table).set_index("change")["R@1 (%), N = 8"]
    assert cells.to_dict() == {"nothing": "13.0 ± 1.4", "wider": "22.2"}


def test_scaled_apart_no_half_tells_the_length_of_the_other(
    tmp_path: Path, related_features: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = {"features": related_features, "steps": 2, "batch_size": 64, "validate_every": 2}
    settings |= {"visual_hidden": [8], "audio_hidden": [8], "progress": False}
    run = tmp_path / "run"
    train(TrainConfig(**settings, out=run, joint_normalise=True))
    clips = open_features(related_features, "evaluation").take(np.arange(8))
    together = np.hypot(*(np.linalg.norm(x, axis=1) for x in (clips.visual, clips.audio)))
    monkeypatch.setattr(JointEmbedding, "embed", lambda model, *both: (*both, model.config))
    *scaled, config = embed_apart(run, clips)
    assert not config.joint_normalise
    for given, plain in zip(scaled, (clips.visual, clips.audio), strict=True):
        length = (np.linalg.norm(plain, axis=1) / together).mean()
        found = np.linalg.norm(given, axis=1)[~clips.silent]
        assert found == pytest.approx(length, rel=1e-5)
