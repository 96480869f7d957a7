"""Studies: what is measured of many runs, told as a table."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from by_hand import leave_run

from xmodal.config import InputError
from xmodal.evaluation.ablation import (
    Study,
    StudyConfig,
    measured,
    panels,
    study_frame,
    study_runs,
    study_table,
)

STUDY: dict[str, Any] = {
    "base": {"steps": 10},
    "rows": {"text": {"about": "nothing"}, "wide": {"about": "wider", "change": {"margin": 0.5}}},
    "seeds": [0, 1],
}


def test_every_row_is_trained_with_every_seed_the_first_seed_first():
    study = Study(**{**STUDY, "seeds": [3, 4]})
    assert list(study.runs().items()) == [
        ("text-seed3", {"steps": 10, "seed": 3}),
        ("wide-seed3", {"steps": 10, "margin": 0.5, "seed": 3}),
        ("text-seed4", {"steps": 10, "seed": 4}),
        ("wide-seed4", {"steps": 10, "margin": 0.5, "seed": 4}),
    ]
    assert list(study.reference([7])) == ["text-seed7"]


def test_what_was_measured_is_gathered_in_the_order_of_the_rows(tmp_path: Path):
    leave_run(tmp_path / "wide-seed1", 20)
    leave_run(tmp_path / "text-seed0", 10)
    (tmp_path / "text-seed1").mkdir()  # not measured yet
    leave_run(tmp_path / "wide-seed0", 30)
    (tmp_path / "wide-seed0" / "result.json").unlink()  # measured once, but now it goes on
    frame = study_frame(tmp_path, Study(**STUDY))
    assert list(frame["row"].unique()) == ["text", "wide"]
    one = frame[(frame["row"] == "wide") & (frame["gallery"] == 16) & (frame["k"] == 5)]
    assert one.set_index("split")["recall"].to_dict() == {"validation": 28, "evaluation": 27}
    assert set(frame["clips"]) == {99} and len(frame) == 2 * 2 * 2 * 3
    with pytest.raises(InputError, match="holds no measured run of this study"):
        study_frame(tmp_path / "none", Study(**STUDY))


def test_a_profile_says_which_studies_there_are(tmp_path: Path):
    leave_run(tmp_path / "first" / "text-seed0", 10)
    leave_run(tmp_path / "second" / "wide-seed0", 20)
    profile = tmp_path / "profile.yaml"
    profile.write_text(yaml.safe_dump({"studies": {"first": STUDY, "second": STUDY}}))
    first, second = measured(StudyConfig(profile=profile, runs_folder=tmp_path))
    assert set(first["about"]) == {"nothing"} and set(second["about"]) == {"wider"}
    with pytest.raises(InputError, match="there is no profile"):
        measured(StudyConfig(profile=tmp_path / "other.yaml"))


def test_runs_and_table_by_hand(tmp_path: Path):
    leave_run(tmp_path / "text-seed0", 10, step=100)
    leave_run(tmp_path / "text-seed1", 12, step=300)
    leave_run(tmp_path / "wide-seed0", 20.25)
    runs = study_runs(study_frame(tmp_path, Study(**STUDY)), gallery=8)
    assert runs.to_dict("records")[1] == {
        **{"row": "text", "change": "nothing", "seed": 1, "training clips": 99, "step": 300},
        **{"validation R@1, N = 8": 15, "R@1, N = 8": 14, "R@5, N = 8": 18, "R@10, N = 8": 23},
        "R@1, N = 16": 15,
    }
    text, wide = study_table(runs).to_dict("records")
    assert text["change"] == "nothing" and text["seeds"] == 2 and text["step"] == 200
    assert text["R@1, N = 8"] == "13.0 ± 1.4"  # 12 and 14
    assert wide["R@1, N = 8"] == "22.2" and wide["seeds"] == 1
    drawn = panels(runs)
    assert set(drawn["panel"]) == {"R@1, N = 8", "R@1, N = 16"}
    assert drawn[drawn["about"] == "wider"]["recall"].tolist() == [22.25, 23.25]
