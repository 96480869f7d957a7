"""The batch: its profile, and notebooks that run as ours, fail in a few lines, and are cleaned."""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import pytest

from xmodal.config import InputError, validated
from xmodal_suite.batch import INLINE, cleaned, run_notebook
from xmodal_suite.profile import Profile, read_profile

ROOT = Path(__file__).parents[2]
PROFILE: dict[str, Any] = {
    **{"name": "tiny", "prepare": {}, "train": {"steps": 3}, "dimensions": [256]},
    "recipe": {"recipe": "best", "steps": 5},
}


def test_a_profile_names_its_models_the_papers_first():
    profile = Profile(**{**PROFILE, "dimensions": [1024, 250], "seeds": [0, 2]})
    names = ["dim250-seed0", "dim250-seed2", "dim1024-seed0", "dim1024-seed2"]
    assert list(profile.models()) == names


def test_a_profile_names_the_runs_of_its_studies_and_of_the_recipe():
    rows = {"best": {"about": "the best"}, "wide": {"about": "wider", "change": {"margin": 0}}}
    study = {"base": {"steps": 5}, "rows": rows, "seeds": [1]}
    profile = Profile(**{**PROFILE, "studies": {"paper": study, "recipe": study}, "members": 2})
    names = ["paper/best-seed1", "paper/wide-seed1", "recipe/best-seed1", "recipe/wide-seed1"]
    assert list(profile.study_runs()) == names
    assert profile.study_runs()["recipe/wide-seed1"] == {"steps": 5, "margin": 0, "seed": 1}
    assert profile.members_of_recipe() == {
        f"best/member-seed{seed}": {"recipe": "best", "steps": 5, "seed": seed} for seed in (0, 1)
    }


@pytest.mark.parametrize(
    "change, said",
    [
        ({"dimensons": [1]}, "dimensions"),
        ({"name": "Upper/case"}, "name"),
        ({"threads": 0}, "threads"),
        ({"train": {"stps": 20}}, "dim250-seed0: .*steps"),
        ({"train": {"margin": 5}}, "dim250-seed0: .*margin"),
        ({"recipe": {"mixup": 1}}, "member-seed0: .*mixup"),
        ({"studies": {"a": {"base": {}, "rows": {}, "y": 1}}}, "studies.a"),
    ],
)
def test_a_wrong_profile_is_refused_in_one_line(change: dict[str, Any], said: str):
    with pytest.raises(InputError, match=said) as told:
        validated(Profile, {**PROFILE, **change})
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "profile", sorted((ROOT / "profiles").glob("*.yaml")), ids=lambda p: p.stem
)
def test_committed_profiles_are_valid(profile: Path):
    assert read_profile(profile).name == profile.stem


@pytest.mark.parametrize("text", ["a: [", "- a", "", "prepare: {}"])
def test_a_profile_that_is_none_is_refused(tmp_path: Path, text: str):
    (tmp_path / "profile.yaml").write_text(text)
    with pytest.raises(InputError):
        read_profile(tmp_path / "profile.yaml")


def write_notebook(path: Path, *cells: str) -> Path:
    """Write a notebook with a title and these cells, the first of them its parameters."""
    kernel = {"name": "python3", "display_name": "", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    notebook.cells = [nbformat.v4.new_markdown_cell("# Title")]
    notebook.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    notebook.cells[1].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, path)
    return path


def printed(path: Path) -> list[str]:
    cells = nbformat.read(path, 4).cells
    return [o.text for cell in cells for o in cell.get("outputs", []) if "text" in o]


def test_an_executed_notebook_has_one_cell_of_parameters_with_its_remarks(tmp_path: Path):
    own = 'seed: int = 0  # of the order\nrun = "a"  # model\nsizes = [\n    1,\n]  # π\nk = 5_0'
    values = {"seed": 0, "run": "b", "sizes": [2, 3], "k": 50}
    book = nbformat.read(write_notebook(tmp_path / "a.ipynb", own, "seed = 0", "print(seed)"), 4)
    book.cells[2].metadata["tags"] = ["injected-parameters"]
    text = nbformat.writes(book)
    given = 'seed: int = 0  # of the order\nrun = "b"  # model\nsizes = [2, 3]  # π\nk = 5_0'
    for given_values, expected in ((values, given), ({}, own)):
        executed = nbformat.reads(cleaned(text, given_values), 4)
        assert [cell.source for cell in executed.cells[1:]] == [expected, "print(seed)"]


def test_a_notebook_runs_as_ours_whatever_surrounds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Not in another site's kernel, with a user's start-up files, or at a port that others take."""
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
    look = "import sys, matplotlib\nfrom ipykernel.kernelapp import IPKernelApp as App\n"
    look += "print(sys.executable, matplotlib.get_backend(), App.instance().transport)"
    run_notebook(write_notebook(tmp_path / "a.ipynb", "a = 1", look), tmp_path / "b.ipynb", {})
    assert printed(tmp_path / "b.ipynb") == [f"{sys.executable} {INLINE} ipc\n"]
    assert not list(deep.iterdir())


@pytest.mark.parametrize("moment", ["start", "end"])
def test_a_kernel_that_dies_is_told_after_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], moment: str
):
    die = "import os, sys\nos.write(2, b'my last words')\nos._exit(3)\n"
    if moment == "start":
        (tmp_path / "sitecustomize.py").write_text(die)
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH')}")
    with pytest.raises(SystemExit, match="died"):
        run_notebook(write_notebook(tmp_path / "a.ipynb", "a = 1", die), tmp_path / "b.ipynb", {})
    assert "my last words" in capfd.readouterr().err


def test_a_failing_notebook_is_told_in_a_few_lines_and_kept(tmp_path: Path):
    cells = "steps = 1", "print('before')", "number = 7\nraise ValueError('at step 3')"
    failing = write_notebook(tmp_path / "failing.ipynb", *cells)
    out = tmp_path / "new" / "executed.ipynb"
    with pytest.raises(SystemExit) as raised:
        run_notebook(failing, out, {"steps": 2})
    first, *source, what, kept = str(raised.value).splitlines()
    assert (
        "cell 4" in first
    )  # before it are the parameters, papermill's own, and the one that prints
    assert source == ["    number = 7", "    raise ValueError('at step 3')"]
    assert what == "  ValueError: at step 3" and str(out) in kept and "\x1b" not in kept
    assert "before\n" in printed(out)
    assert any("steps = 2" in cell.source for cell in nbformat.read(out, 4).cells)
