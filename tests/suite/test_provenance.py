"""Figures and tables: every kind of file, the same bytes each time, numbers that agree."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import xmodal_suite.provenance
from xmodal.config import InputError
from xmodal_suite.provenance import (
    portable,
    project_commit,
    read_origin,
    save_figure,
    write_together,
)

NOTE = {
    "source": "synthetic sample",
    "fingerprint": "12ab",
    "parameters": {"embedding_dim": 250},
    "seeds": {"training": 0},
    "command": "make paper",
    "commit": "abc1234",
}


def a_figure() -> Figure:
    figure = Figure(figsize=(2, 2))
    figure.subplots().plot([1, 2], [3, 4], clip_on=True)
    return figure


def test_figure_leaves_every_kind_of_file_and_nothing_else(tmp_path):
    figure = a_figure()
    shown = save_figure(figure, tmp_path / "deep" / "curve.v2", NOTE)
    assert shown.data == (tmp_path / "deep" / "curve.v2.png").read_bytes()
    names = {"curve.v2.pdf", "curve.v2.svg", "curve.v2.png", "curve.v2.json"}
    assert {path.name for path in (tmp_path / "deep").iterdir()} == names
    starts = {"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}
    for kind, start in starts.items():
        assert (tmp_path / "deep" / f"curve.v2.{kind}").read_bytes().startswith(start)


def test_json_holds_the_note_with_sorted_keys(tmp_path):
    save_figure(a_figure(), tmp_path / "f", NOTE)
    text = (tmp_path / "f.json").read_text()
    assert json.loads(text) == NOTE
    assert list(json.loads(text)) == sorted(NOTE)


def test_another_process_writes_the_same_bytes(tmp_path):
    # Clipped lines and text: what SVG names by chance, and PDF fonts by hash, unless told not to.
    script = (
        "from pathlib import Path\n"
        "import pandas as pd\n"
        "from xmodal_suite.figures import correlations\n"
        "from xmodal_suite.provenance import save_figure\n"
        "kinds = dict(kind=['canonical', 'visual', 'audio'], value=[0.9, 2, 3])\n"
        "figure = correlations(pd.DataFrame(kinds))\n"
        f"save_figure(figure, Path(folder) / 'f', {NOTE!r})\n"
    )
    here, there = tmp_path / "here", tmp_path / "there"
    exec(script, {"folder": here})
    other = f"folder = {str(there)!r}\n{script}"
    subprocess.run([sys.executable, "-c", other], env={"PYTHONHASHSEED": "1"}, check=True)
    for kind in ("pdf", "svg", "png", "json"):
        assert (here / f"f.{kind}").read_bytes() == (there / f"f.{kind}").read_bytes(), kind


def test_failing_midway_keeps_the_old_files(tmp_path, monkeypatch):
    save_figure(a_figure(), tmp_path / "f", NOTE)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    whole = Path.write_bytes

    def full(path, content):
        if ".png" in path.name:
            whole(path, content[:10])
            raise OSError(28, "No space left on device")
        return whole(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="space"):
        save_figure(Figure(), tmp_path / "f", NOTE)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_a_file_where_the_folder_should_be_is_refused(tmp_path):
    (tmp_path / "figures").write_text("in the way")
    with pytest.raises(InputError, match="figures"):
        save_figure(a_figure(), tmp_path / "figures" / "f", NOTE)
    assert (tmp_path / "figures").read_text() == "in the way"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("/home/someone/yt8m", "yt8m"),
        (f"{xmodal_suite.provenance._ROOT}/data/sample", "data/sample"),
        ("data/sample", "data/sample"),
        ("audio→video", "audio→video"),
        ({"runs": ["/x/a", 0.5, None, True]}, {"runs": ["a", 0.5, None, True]}),
    ],
)
def test_what_is_noted_names_no_place_of_one_machine(given, kept):
    assert portable(given) == kept


def test_a_note_is_read_back_and_another_file_is_refused(tmp_path):
    write_together(tmp_path / "f", NOTE, {})
    assert read_origin(tmp_path / "f.json") == NOTE
    (tmp_path / "f.json").write_text("{}")
    with pytest.raises(InputError, match=r"f\.json"):
        read_origin(tmp_path / "f.json")


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(
        ["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(xmodal_suite.provenance, "_ROOT", tmp_path)
    project_commit.cache_clear()
    yield tmp_path
    project_commit.cache_clear()


def test_commit_says_when_the_code_was_changed(project, monkeypatch):
    assert project_commit() == "unknown"
    git(project, "init")
    project_commit.cache_clear()
    assert project_commit() == "unknown"  # before the first
    project_commit.cache_clear()
    for folder in ("xmodal", "figures"):
        (project / folder).mkdir()
        (project / folder / "a").write_text("1")
    git(project, "add", ".")
    git(project, "commit", "-m", "a")
    short = git(project, "rev-parse", "--short", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(project / "elsewhere"))  # as in a hook of another project
    assert project_commit() == short
    (project / "figures" / "a").write_text("2")
    project_commit.cache_clear()
    assert project_commit() == short, "a figure is no code"
    (project / "xmodal" / "a").write_text("2")
    assert project_commit() == short, "asked once a process"
    project_commit.cache_clear()
    assert project_commit() == f"{short}-dirty"
