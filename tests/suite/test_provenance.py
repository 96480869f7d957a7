"""Where a figure or table comes from: noted beside it, and of no one machine."""

import subprocess
from pathlib import Path

import pytest

import xmodal_suite.provenance
from xmodal.config import InputError
from xmodal_suite.provenance import portable, project_commit, read_origin, write_together

NOTE = {
    "source": "synthetic sample",
    "fingerprint": "12ab",
    "parameters": {"embedding_dim": 250},
    "seeds": {"training": 0},
    "command": "make paper",
    "commit": "abc1234",
}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("/home/someone/yt8m", "yt8m"),
        (f"{xmodal_suite.provenance._ROOT}/data/sample", "data/sample"),
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
    project_commit.cache_clear()
    assert project_commit() == f"{short}-dirty"
