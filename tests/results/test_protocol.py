"""The protocol card: what it says, when it refuses, and where it is kept."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from xmodal.config import InputError
from xmodal_suite.protocol import Protocol, recall_protocol
from xmodal_suite.provenance import Provenance
from xmodal_suite.tables import save_table

CARD: dict[str, Any] = {
    "clips": "5,904 clips",
    "galleries": {1024: 5, 256: 23},
    "ties": "in all orders",
    "direction": "both",
    "seeds": "the galleries",
    "interval": "95 %",
    "tolerance": 0.3,
}
NOTE: dict[str, Any] = {
    "source": "three clips",
    "fingerprint": "12ab",
    "parameters": {"patience": None},
    "seeds": {},
    "command": "make paper",
    "commit": "abc1234",
}
FRAME = pd.DataFrame({"gallery": [256, 256, 1024], "galleries": [23, 23, 5], "k": [1, 5, 1]})


@pytest.mark.parametrize("missing", CARD)
def test_every_field_must_be_said(missing: str):
    with pytest.raises(ValidationError, match=missing):
        Protocol(**{name: value for name, value in CARD.items() if name != missing})


@pytest.mark.parametrize(
    "wrong",
    [
        {"tolerance": -0.1},
        {"tolerance": float("nan")},
        {"tolerance": float("inf")},
        {"galleries": {}},
        {"galleries": {256: 0}},
        {"clips": ""},
        {"margin": 0.2},
    ],
)
def test_what_says_nothing_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ValidationError):
        Protocol(**CARD | wrong)


def test_a_frame_of_recalls_gives_its_galleries():
    card = recall_protocol("all clips", FRAME, "the weights", 0.5)
    assert card.galleries == {256: 23, 1024: 5}
    assert (card.clips, card.seeds, card.tolerance) == ("all clips", "the weights", 0.5)
    assert "cosine in float32" in card.ties and "average over their orders" in card.ties
    assert card.interval == "95 % percentile bootstrap over queries"


def test_resamples_are_told_if_known():
    card = recall_protocol("all clips", FRAME, "the weights", 0.5, resamples=1000)
    assert card.interval.endswith(", 1,000 resamples")


def test_rows_that_were_not_measured_count_for_nothing():
    told = pd.DataFrame({"gallery": [512], "galleries": [float("nan")]})
    card = recall_protocol("all clips", pd.concat([FRAME, told]), "the weights", 0.5)
    assert card.galleries == {256: 23, 1024: 5}


def test_two_sets_of_clips_have_no_common_protocol():
    other = pd.DataFrame({"gallery": [1024], "galleries": [2]})
    with pytest.raises(InputError, match="5 of 1024, 2 of 1024"):
        recall_protocol("all clips", pd.concat([FRAME, other]), "the weights", 0.5)


@pytest.mark.parametrize("frame", [pd.DataFrame(), FRAME.iloc[:0], FRAME[["k"]]])
def test_no_recalls_have_no_protocol(frame: pd.DataFrame):
    with pytest.raises(InputError, match="galleries: none"):
        recall_protocol("all clips", frame, "the weights", 0.5)


def test_a_note_without_a_protocol_is_as_it_was():
    expected = json.dumps(NOTE, sort_keys=True, indent=2) + "\n"
    assert Provenance(**NOTE).as_json() == expected
    assert Provenance(**NOTE, protocol=None).as_json() == expected


def test_a_note_keeps_its_protocol_in_the_json_file(tmp_path: Path):
    origin = Provenance(**NOTE).model_copy(update={"protocol": Protocol(**CARD)})
    save_table(pd.DataFrame({"R@1": [9.0]}), tmp_path / "t", origin, "c")
    text = (tmp_path / "t.json").read_text()
    assert json.loads(text)["protocol"]["galleries"] == {"256": 23, "1024": 5}
    assert Provenance.model_validate_json(text) == origin
