"""The batch: its profile, a notebook that fails, and progress told in lines."""

import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from pydantic import ValidationError

from xmodal.config import InputError, validated
from xmodal_suite.batch import INLINE, Ticker, cleaned, run_notebook
from xmodal_suite.profile import Profile
from xmodal_suite.stages import stage_config
from xmodal_suite.study import read_profile

PROFILE: dict[str, Any] = {
    **{"name": "tiny", "data": {}, "train": {"steps": 3}, "dimensions": [256]},
    "recipe": {"recipe": "best", "steps": 5},
}


def test_a_profile_names_its_models_the_papers_first():
    profile = Profile(**{**PROFILE, "dimensions": [1024, 250, 256], "seeds": [0, 2]})
    assert list(profile.model_runs()) == [
        *("dim250-seed0", "dim250-seed2"),
        *("dim1024-seed0", "dim1024-seed2", "dim256-seed0", "dim256-seed2"),
    ]
    assert list(Profile(**PROFILE).model_runs()) == ["dim250-seed0", "dim256-seed0"]


def test_a_profile_names_the_runs_of_its_studies_and_of_the_recipe():
    rows = {"best": {"about": "the best"}, "wide": {"about": "wider", "change": {"margin": 0}}}
    study = {"base": {"steps": 5}, "rows": rows, "seeds": [1]}
    profile = Profile(**{**PROFILE, "studies": {"paper": study, "recipe": study}, "members": 2})
    assert list(profile.study_runs()) == [
        *("paper/best-seed1", "paper/wide-seed1"),
        *("recipe/best-seed1", "recipe/wide-seed1"),
    ]
    assert profile.study_runs()["recipe/wide-seed1"] == {"steps": 5, "margin": 0, "seed": 1}
    assert profile.recipe_runs() == {
        f"best/member-seed{seed}": {"recipe": "best", "steps": 5, "seed": seed} for seed in (0, 1)
    }


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


@pytest.mark.parametrize(
    "change, said",
    [
        ({"dimensons": [1]}, "there is no parameter dimensons; did you mean dimensions?"),
        ({"train": {"stps": 20}}, "dim250-seed0: there is no parameter stps; did you mean steps?"),
        ({"train": {"margin": 5}}, "dim250-seed0: parameter margin: Input should be less than 1"),
        ({"recipe": {"mixup": 1}}, "best/member-seed0: mixup is for other objectives"),
        (
            {"studies": {"a": {"base": {}, "rows": {"b": {"about": "b", "change": {"x": 1}}}}}},
            "a/b-seed0: there is no parameter x",
        ),
        ({"studies": {"a": {"base": {}, "rows": {}, "y": 1}}}, "studies.a"),
    ],
)
def test_all_of_a_profile_is_told_of_at_once_and_in_one_line(change: dict[str, Any], said: str):
    with pytest.raises(InputError) as told:
        validated(Profile, {**PROFILE, **change})
    assert said in str(told.value) and "members" not in str(told.value).split("there are")[0]
    assert "\n" not in str(told.value) and "{" not in str(told.value)


def test_what_a_stage_is_told_is_checked_as_it_will_be():
    with pytest.raises(
        InputError, match="^03_recall: there is no parameter galeries; did you mean"
    ):
        stage_config("03_recall", {"galeries": [256]})


def test_a_word_of_a_profile_is_a_word(tmp_path: Path):
    path = tmp_path / "profile.yaml"
    path.write_text("a: 0200\nb: yes\nc: 1:30\nd: 2018-01-01\ne: [5, 3.0e-4, true, null, ~]\n7: x")
    assert read_profile(path) == {
        **{"a": "0200", "b": "yes", "c": "1:30", "d": "2018-01-01"},
        **{"e": [5, 3e-4, True, None, None], "7": "x"},
    }
    for one in Path(__file__).parents[2].glob("profiles/*.yaml"):  # where nothing is doubtful
        assert read_profile(one) == yaml.safe_load(one.read_text())


@pytest.mark.parametrize("text", ["a: 1\na: 2", "train: {steps: 2, steps: 3}", "a: [", "- a", ""])
def test_a_profile_that_is_none_is_told(tmp_path: Path, text: str):
    path = tmp_path / "profile.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="profile.yaml") as told:
        read_profile(path)
    assert "\n" not in str(told.value)


def write_notebook(path: Path, *cells: str) -> Path:
    """Write a notebook with a title and these cells, the first of them its parameters."""
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# Title"),
            *(nbformat.v4.new_code_cell(cell) for cell in cells),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}},
    )
    notebook.cells[1].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, path)
    return path


def printed(path: Path) -> list[str]:
    cells = nbformat.read(path, 4).cells
    return [o.text for cell in cells for o in cell.get("outputs", []) if "text" in o]


def test_an_executed_notebook_has_one_cell_of_parameters_with_its_remarks():
    own = 'seed = 0  # of the order\nrun = "a"  # model\nsizes = [\n    1,\n]  # π\nk = 5_000'
    values = {"seed": 0, "run": "b", "sizes": [2, 3], "k": 5000}
    kernel = {"name": "python3", "display_name": "Python 3"}
    book = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(own, metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell("seed = 0\n", metadata={"tags": ["injected-parameters"]}),
            nbformat.v4.new_code_cell("print(seed)"),
        ],
        metadata={"kernelspec": kernel},
    )
    text = nbformat.writes(book)
    given = 'seed = 0  # of the order\nrun = "b"  # model\nsizes = [2, 3]  # π\nk = 5_000'
    for given_values, expected in ((values, given), ({}, own)):
        executed = nbformat.reads(cleaned(text, given_values), 4)
        assert [cell.source for cell in executed.cells] == [expected, "print(seed)"]


def test_text_that_came_in_pieces_is_one(tmp_path: Path):
    pieces = "import sys, time\nfor n in '12':\n    print(n, flush=True)\n    time.sleep(0.5)\n"
    notebook = write_notebook(
        tmp_path / "a.ipynb", "a = 1", f"{pieces}    print(3, file=sys.stderr)"
    )
    run_notebook(notebook, tmp_path / "b.ipynb", {})
    assert printed(tmp_path / "b.ipynb") == ["1\n2\n"]


def test_links_that_a_cell_shows_are_those_of_the_executed_copy():
    link = nbformat.v4.new_output("display_data", {"text/markdown": "[a](../figures/a.html)"})
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("a", outputs=[link])],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    (kept,) = nbformat.reads(cleaned(nbformat.writes(book), {}), 4).cells[0].outputs
    assert kept.data["text/markdown"] == "[a](../../../figures/a.html)"


def test_notebooks_share_no_port(tmp_path: Path):
    """Two that start together would now and then be given the same one, and one would die."""
    notebook = write_notebook(
        tmp_path / "sockets.ipynb",
        "unused = 1",
        "from ipykernel.kernelapp import IPKernelApp as App\n"
        "print(App.instance().transport, App.instance().ip)",
    )
    said = []
    for number in range(2):
        out = tmp_path / f"{number}.ipynb"
        run_notebook(notebook, out, {})
        said += printed(out)
    transports, folders = zip(*(line.split() for line in said), strict=True)
    assert set(transports) == {"ipc"} and len(set(folders)) == 2
    assert not any(Path(folder).parent.exists() for folder in folders)


def test_a_notebook_runs_as_ours_whatever_surrounds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Not in another site's kernel, nor with a user's start-up files; sockets have short paths."""
    (tmp_path / "kernels/python3").mkdir(parents=True)
    other = {"argv": ["false", "{connection_file}"], "display_name": "", "language": "python"}
    (tmp_path / "kernels/python3/kernel.json").write_text(json.dumps(other))
    (tmp_path / "profile_default/startup").mkdir(parents=True)
    (tmp_path / "profile_default/startup/a.py").write_text("print('started')")
    deep = tmp_path / ("t" * 120)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    for name, value in {
        **dict.fromkeys(("JUPYTER_PATH", "IPYTHONDIR"), tmp_path),
        **{"TMPDIR": deep, "HOME": "/proc/none", "MPLBACKEND": "none"},
    }.items():
        monkeypatch.setenv(name, str(value))
    look = "import sys, matplotlib\nprint(sys.executable, matplotlib.get_backend())"
    run_notebook(write_notebook(tmp_path / "a.ipynb", "a = 1", look), tmp_path / "b.ipynb", {})
    assert printed(tmp_path / "b.ipynb") == [f"{sys.executable} {INLINE}\n"]
    assert not list(deep.iterdir())


def test_a_failing_notebook_is_told_in_a_few_lines_and_kept(tmp_path: Path):
    failing = write_notebook(
        tmp_path / "failing.ipynb",
        "steps = 1",
        "said = 'before'\nprint(said)",
        "number = 7\nraise ValueError('at step 3')",
    )
    out = tmp_path / "new" / "executed.ipynb"
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
    assert "before\n" in printed(out)
    assert any("steps = 2" in cell.source for cell in nbformat.read(out, 4).cells)


# --- progress ------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("xmodal_suite.batch.time.monotonic", lambda: now[0])
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
