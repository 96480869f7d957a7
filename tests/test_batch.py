"""The batch: its profile, a notebook that fails, and progress told in lines."""

import io
from pathlib import Path
from typing import Any

import nbformat
import pytest
from pydantic import ValidationError

from xmodal.batch import Profile, Study, Ticker, run_notebook

PROFILE: dict[str, Any] = {"name": "tiny", "data": {}, "train": {"steps": 3}, "dimensions": [256]}


def test_a_profile_names_its_models_the_papers_first():
    profile = Profile(**{**PROFILE, "dimensions": [1024, 250, 256], "seeds": [0, 2]})
    assert profile.models() == [
        *("dim250-seed0", "dim250-seed2"),
        *("dim1024-seed0", "dim1024-seed2", "dim256-seed0", "dim256-seed2"),
    ]
    assert Profile(**PROFILE).models() == ["dim250-seed0", "dim256-seed0"]


def test_patience_is_for_the_other_models_alone():
    profile = Profile(**PROFILE, patience=7)
    assert profile.training(250) == {"steps": 3}
    assert profile.training(256) == {"steps": 3, "patience": 7}


@pytest.mark.parametrize(
    "change, said",
    [
        ({"dimensons": [1]}, "dimensons"),
        ({"name": "Upper/case"}, "name"),
        ({"seeds": []}, "seeds"),
        ({"threads": 0}, "threads"),
        ({"dimensions": None}, "dimensions"),
    ],
)
def test_a_wrong_profile_is_refused(change: dict[str, Any], said: str):
    with pytest.raises(ValidationError, match=said):
        Profile(**{**PROFILE, **change})


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    """Make a notebook whose third cell raises in its second line."""
    cells = [
        "steps = 1",
        "said = 'before'\nprint(said)",
        "number = 7\nraise ValueError('at step 3')",
    ]
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# Title"),
            *(nbformat.v4.new_code_cell(cell) for cell in cells),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}},
    )
    notebook.cells[1].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, tmp_path / "failing.ipynb")
    return tmp_path / "failing.ipynb"


def test_a_failing_notebook_is_told_in_a_few_lines_and_kept(failing: Path):
    out = failing.parent / "new" / "executed.ipynb"
    with pytest.raises(SystemExit) as raised:
        run_notebook(failing, out, {"steps": 2})
    told = str(raised.value)
    # the parameters' cell, papermill's own, the one that prints, the one that fails
    assert told.splitlines()[:4] == [
        "executed failed in cell 4:",
        "    number = 7",
        "    raise ValueError('at step 3')",
        "  ValueError: at step 3",
    ]
    assert str(out) in told.splitlines()[4] and len(told.splitlines()) == 5
    assert "\x1b" not in told
    kept = nbformat.read(out, 4)
    printed = [o.text for cell in kept.cells for o in cell.get("outputs", []) if "text" in o]
    assert "before\n" in printed
    assert any("steps = 2" in cell.source for cell in kept.cells)


# --- progress ------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("xmodal.batch.time.monotonic", lambda: now[0])
    return now


def test_the_ticker_passes_on_the_newest_state_now_and_then(clock: list[float]):
    stream = io.StringIO()
    ticker = Ticker("dim250", stream, seconds=10)
    ticker.write("\rrun:  10%|#   | 1/10\rrun:  20%|##  | 2/10")
    clock[0] += 5
    ticker.write("\rrun:  30%|### | 3/10")
    clock[0] += 6
    ticker.write("\rrun:  40%|####| 4/10\n")
    ticker.flush()
    assert stream.getvalue() == "dim250: run:  20%|##  | 2/10\ndim250: run:  40%|####| 4/10\n"


def test_the_ticker_keeps_other_remarks_to_itself(clock: list[float]):
    stream = io.StringIO()
    ticker = Ticker("dim250", stream)
    ticker.write("UserWarning: 100% harmless\n")
    assert stream.getvalue() == ""
    ticker.write("run: 100%|####| 1/1")
    assert stream.getvalue() == "dim250: run: 100%|####| 1/1\n"


def test_a_study_trains_every_row_with_every_seed_the_first_seed_first():
    study = Study(
        base={"steps": 10, "margin": 0.2}, rows={"text": {}, "wide": {"margin": 0.5}}, seeds=[3, 4]
    )
    assert list(study.runs().items()) == [
        ("text-seed3", {"steps": 10, "margin": 0.2, "seed": 3}),
        ("wide-seed3", {"steps": 10, "margin": 0.5, "seed": 3}),
        ("text-seed4", {"steps": 10, "margin": 0.2, "seed": 4}),
        ("wide-seed4", {"steps": 10, "margin": 0.5, "seed": 4}),
    ]
