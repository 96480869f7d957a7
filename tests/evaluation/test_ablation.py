"""Ablations: what is measured of many runs, gathered and summarised."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from by_hand import leave_run

from xmodal.config import InputError, TrainConfig
from xmodal.data.features import open_features
from xmodal.evaluation.recall import embed_run
from xmodal.train import train
from xmodal_suite.study import (
    Ablation,
    ablation_frame,
    ablation_table,
    embed_apart,
    named_recalls,
    panels,
    read_ablations,
)
from xmodal_suite.tables import ablation_layout, flat, runs_layout

ABLATION: dict[str, Any] = {
    "base": {"steps": 10},
    "rows": {"text": {"about": "nothing"}, "wide": {"about": "wider", "change": {"margin": 0.5}}},
    "seeds": [0, 1],
}


def test_every_row_is_trained_with_every_seed_the_first_seed_first():
    ablation = Ablation(**{**ABLATION, "seeds": [3, 4]})
    assert list(ablation.runs().items()) == [
        ("text-seed3", {"steps": 10, "seed": 3}),
        ("wide-seed3", {"steps": 10, "margin": 0.5, "seed": 3}),
        ("text-seed4", {"steps": 10, "seed": 4}),
        ("wide-seed4", {"steps": 10, "margin": 0.5, "seed": 4}),
    ]


def test_what_was_measured_is_gathered_in_the_order_of_the_rows(tmp_path: Path):
    leave_run(tmp_path / "wide-seed1", 20)
    leave_run(tmp_path / "text-seed0", 10)
    (tmp_path / "text-seed1").mkdir()  # not measured yet
    leave_run(tmp_path / "wide-seed0", 30)
    (tmp_path / "wide-seed0" / "result.json").unlink()  # measured once, but now it goes on
    frame = ablation_frame(tmp_path, Ablation(**ABLATION))
    assert list(frame["row"].unique()) == ["text", "wide"]
    one = frame[(frame["row"] == "wide") & (frame["gallery"] == 16) & (frame["k"] == 5)]
    assert one.set_index("split")["recall"].to_dict() == {"validation": 28, "evaluation": 27}
    assert set(frame["clips"]) == {99} and len(frame) == 2 * 2 * 2 * 3
    assert ablation_frame(tmp_path / "none", Ablation(**ABLATION)).empty


def test_a_profile_says_which_studies_there_are(tmp_path: Path):
    profile = tmp_path / "profile.yaml"
    profile.write_text(yaml.safe_dump({"studies": {"first": ABLATION, "second": ABLATION}}))
    found = read_ablations(profile)
    assert list(found) == ["first", "second"] and found["first"] == Ablation(**ABLATION)
    with pytest.raises(InputError, match="there is no profile"):
        read_ablations(tmp_path / "other.yaml")
    for studies, told in (
        ({"first": {**ABLATION, "sees": [0]}}, r"studies\.first\.sees: Extra inputs"),
        ([ABLATION], "studies: Input should be a valid dictionary"),
        ({"first": 3}, r"studies\.first: Input should be a valid dictionary"),
        ({"../first": ABLATION}, "studies.*String should match pattern"),
    ):
        profile.write_text(yaml.safe_dump({"studies": studies}))
        with pytest.raises(InputError, match=told):
            read_ablations(profile)


@pytest.fixture
def recalls(tmp_path: Path) -> pd.DataFrame:
    leave_run(tmp_path / "text-seed0", 10, step=100)
    leave_run(tmp_path / "text-seed1", 12, step=300)
    leave_run(tmp_path / "wide-seed0", 20.25)
    frame = ablation_frame(tmp_path, Ablation(**ABLATION))
    with pytest.raises(InputError, match="no run was measured among 9 candidates"):
        named_recalls(frame, Ablation(**ABLATION), 9)
    return named_recalls(frame, Ablation(**ABLATION), gallery=8)


def test_recalls_are_named_by_hand(recalls: pd.DataFrame):
    second = {"row": "text", "change": "nothing", "seed": 1, "clips": 99, "step": 300}
    values = {
        **{"validation R@1, N = 8": 15, "R@1, N = 8": 14, "R@5, N = 8": 18, "R@10, N = 8": 23},
        "R@1, N = 16": 15,
    }
    tidy = [{**second, "measure": name, "recall": value} for name, value in values.items()]
    assert recalls.to_dict("records")[5:10] == tidy
    shown = flat(runs_layout(recalls.assign(study="one")))
    second["training clips"] = second.pop("clips")
    assert shown.to_dict("records")[1] == {**second, **values, "study": "one"}


def test_seeds_are_summarised_by_hand(recalls: pd.DataFrame):
    table = ablation_table(recalls)
    text, wide = table[table["measure"] == "R@1, N = 8"].to_dict("records")
    assert (text["change"], text["seeds"], text["step"]) == ("nothing", 2, 200)
    assert (text["mean"], text["std"]) == pytest.approx((13, 2**0.5))  # 12 and 14
    assert (wide["mean"], wide["seeds"]) == (22.25, 1) and np.isnan(wide["std"])
    shown = flat(ablation_layout(table))
    assert shown["change"].tolist() == ["nothing", "wider"]
    assert shown["R@1, N = 8"].tolist() == ["13.0 ± 1.4", "22.2"]
    drawn = panels(recalls)
    assert set(drawn["panel"]) == {"R@1, N = 8", "R@1, N = 16"}
    assert drawn[drawn["about"] == "wider"]["recall"].tolist() == [22.25, 23.25]


def test_halves_scaled_apart_do_not_tell_each_others_length(
    tiny: Callable[..., TrainConfig], tmp_path: Path, related_features: Path
):
    """Scaled with its own half, a video moves as far as its sound is louder or softer than it was.

    Scaled apart, all videos move by the mean length of all, whatever their own sound."""
    run, clips = tmp_path / "run", open_features(related_features, "evaluation")
    train(tiny(run, joint_normalise=True))
    factor = np.linspace(0.5, 2, len(clips), dtype=np.float32)[:, None]
    uneven = dataclasses.replace(clips, audio=factor * np.asarray(clips.audio))
    heard = ~clips.silent
    louder = np.abs(np.log(factor[heard, 0]))
    told = {
        embed: np.corrcoef(
            (embed(run, clips).visual - embed(run, uneven).visual).norm(dim=1)[heard], louder
        )[0, 1]
        for embed in (embed_run, embed_apart)
    }
    assert told[embed_run] > 0.7 and abs(told[embed_apart]) < 0.3
