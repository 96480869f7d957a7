"""The study's measurements outlive its runs."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from by_hand import leave_run

from xmodal.config import InputError
from xmodal.evaluation.cca import LINEAR
from xmodal.model import Embeddings
from xmodal_suite import study_runs as study
from xmodal_suite.measurements import measure_now
from xmodal_suite.study import AblationConfig
from xmodal_suite.study_runs import measure_study

ABLATION = {
    "base": {},
    "rows": {"text": {"about": "nothing"}, "wide": {"about": "wider"}},
    "seeds": [0, 1],
}


@pytest.fixture
def config(
    tmp_path: Path, related_features: Path, monkeypatch: pytest.MonkeyPatch
) -> AblationConfig:
    """Configure a study whose linear CCA, which takes ten seconds to fit, finds anything at all."""
    one = torch.ones(64, 1)
    monkeypatch.setattr(study, "choose_cca", lambda _: ({LINEAR: (None, 1.0)}, None))
    monkeypatch.setattr(study, "embed_cca", lambda *_: Embeddings(one, one))
    monkeypatch.setattr(study, "cca_points", lambda *_: pd.DataFrame({"clips": [99]}))
    profile = tmp_path / "profile.yaml"
    profile.write_text(yaml.safe_dump({"studies": {"paper": ABLATION, "recipe": ABLATION}}))
    return AblationConfig(
        profile=profile,
        runs_folder=tmp_path / "runs",
        features=related_features,
        results=tmp_path / "results",
        gallery=16,
    )


def keep(config: AblationConfig) -> pd.DataFrame:
    return measure_now("07_study", config, measure_study)["runs"]


def test_a_run_that_is_gone_keeps_its_numbers_and_their_commit(
    config: AblationConfig, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(study, "project_commit", lambda: "0012345")
    leave_run(config.runs_folder / "paper" / "wide-seed0", 10, clips=99)
    leave_run(config.runs_folder / "paper" / "text-seed0", 20, clips=99)
    before = keep(config)
    shutil.rmtree(config.runs_folder / "paper" / "wide-seed0")
    leave_run(config.runs_folder / "recipe" / "text-seed1", 30, clips=99)
    monkeypatch.setattr(study, "project_commit", lambda: "later")
    after = keep(config)
    assert after.drop_duplicates(["study", "row", "seed"])[
        ["study", "row", "seed", "commit"]
    ].values.tolist() == [
        ["paper", "text", 0, "0012345"],  # measured again, to the same numbers
        ["paper", "wide", 0, "0012345"],  # gone
        ["recipe", "text", 1, "later"],
    ]
    same = after[after["study"] == "paper"].reset_index(drop=True)
    pd.testing.assert_frame_equal(same, before, check_dtype=False)


def test_a_run_that_was_trained_again_has_its_new_numbers(
    config: AblationConfig, monkeypatch: pytest.MonkeyPatch
):
    leave_run(config.runs_folder / "paper" / "text-seed0", 20, clips=99)
    monkeypatch.setattr(study, "project_commit", lambda: "before")
    keep(config)
    monkeypatch.setattr(study, "project_commit", lambda: "after")
    leave_run(config.runs_folder / "paper" / "text-seed0", 25, clips=99)
    found = keep(config)
    assert set(found["commit"]) == {"after"} and found["recall"].min() >= 25


def test_a_row_that_the_profile_has_no_more_is_left_out(config: AblationConfig):
    for row in ABLATION["rows"]:
        leave_run(config.runs_folder / "paper" / f"{row}-seed0", 20, clips=99)
    keep(config)
    fewer = {**ABLATION, "rows": {"wide": {"about": "wider"}}}
    config.profile.write_text(yaml.safe_dump({"studies": {"paper": fewer}}))
    assert set(keep(config)["row"]) == {"wide"}


def test_numbers_of_other_clips_are_not_kept(config: AblationConfig):
    leave_run(config.runs_folder / "paper" / "text-seed0", 20, clips=99)
    keep(config)
    shutil.rmtree(config.runs_folder)
    manifest = config.results / "07_study" / "manifest.json"
    noted = json.loads(manifest.read_text())
    noted["origin"]["fingerprint"] = "of other clips"
    manifest.write_text(json.dumps(noted))
    with pytest.raises(InputError, match="holds no measured run of a study"):
        measure_study(config)


def test_a_study_of_nothing_is_refused(config: AblationConfig):
    with pytest.raises(InputError, match="holds no measured run of a study"):
        measure_study(config)
