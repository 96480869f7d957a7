"""Figures and tables: every kind of file, the same bytes each time, numbers that agree."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from pydantic import Field, ValidationError

import xmodal_suite.provenance
from xmodal.config import InputError, StageConfig
from xmodal_suite.figure_config import FigureConfig
from xmodal_suite.provenance import (
    Provenance,
    origin_of,
    project_commit,
    read_provenance,
    save_figure,
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
    shown = save_figure(figure, tmp_path / "deep" / "curve.v2", Provenance(**NOTE))
    assert shown.data == (tmp_path / "deep" / "curve.v2.png").read_bytes()
    names = {"curve.v2.pdf", "curve.v2.svg", "curve.v2.png", "curve.v2.json"}
    assert {path.name for path in (tmp_path / "deep").iterdir()} == names
    starts = {"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}
    for kind, start in starts.items():
        assert (tmp_path / "deep" / f"curve.v2.{kind}").read_bytes().startswith(start)


def test_json_holds_the_note_with_sorted_keys(tmp_path):
    save_figure(a_figure(), tmp_path / "f", Provenance(**NOTE))
    text = (tmp_path / "f.json").read_text()
    assert json.loads(text) == NOTE
    assert list(json.loads(text)) == sorted(NOTE)


def test_another_process_writes_the_same_bytes(tmp_path):
    # Clipped lines and text: what SVG names by chance, and PDF fonts by hash, unless told not to.
    script = (
        "from pathlib import Path\n"
        "import pandas as pd\n"
        "from xmodal_suite.figures import correlations\n"
        "from xmodal_suite.provenance import Provenance, save_figure\n"
        f"note = Provenance(**{NOTE!r})\n"
        "kinds = dict(kind=['canonical', 'visual', 'audio'], value=[0.9, 2, 3])\n"
        "figure = correlations(pd.DataFrame(kinds), 'synthetic sample')\n"
        "save_figure(figure, Path(folder) / 'f', note)\n"
    )
    here, there = tmp_path / "here", tmp_path / "there"
    exec(script, {"folder": here})
    other = f"folder = {str(there)!r}\n{script}"
    subprocess.run([sys.executable, "-c", other], env={"PYTHONHASHSEED": "1"}, check=True)
    for kind in ("pdf", "svg", "png", "json"):
        assert (here / f"f.{kind}").read_bytes() == (there / f"f.{kind}").read_bytes(), kind


def test_saving_twice_and_drawing_between_changes_nothing(tmp_path):
    figure = a_figure()
    save_figure(figure, tmp_path / "f", Provenance(**NOTE))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    figure.canvas.draw()
    save_figure(figure, tmp_path / "f", Provenance(**NOTE))
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_failing_midway_keeps_the_old_files(tmp_path, monkeypatch):
    save_figure(a_figure(), tmp_path / "f", Provenance(**NOTE))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    whole = Path.write_bytes

    def full(path, content):
        if ".png" in path.name:
            whole(path, content[:10])
            raise OSError(28, "No space left on device")
        return whole(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"/f: cannot be written \(No space left"):
        save_figure(Figure(), tmp_path / "f", Provenance(**NOTE))
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_a_file_where_the_folder_should_be_is_refused(tmp_path):
    (tmp_path / "figures").write_text("in the way")
    with pytest.raises(InputError, match="choose another place"):
        save_figure(a_figure(), tmp_path / "figures" / "f", Provenance(**NOTE))
    assert (tmp_path / "figures").read_text() == "in the way"


class Stage(StageConfig):
    shards: Path
    dim: int = 250


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (Path("/home/someone/yt8m"), "yt8m"),
        ("/home/someone/yt8m", "yt8m"),
        (xmodal_suite.provenance._ROOT / "data" / "sample", "data/sample"),
        ("data/sample", "data/sample"),
        ("audio→video", "audio→video"),
        ((0.5, None, True), [0.5, None, True]),
        ({"runs": [Path("/x/a"), "/x/b"]}, {"runs": ["a", "b"]}),
        (Stage(shards="/x/yt8m"), {"shards": "yt8m", "dim": 250}),
    ],
)
def test_parameters_become_plain_and_lose_absolute_paths(given, kept):
    assert Provenance(**NOTE | {"parameters": {"p": given}}).parameters == {"p": kept}


def test_a_parameter_json_cannot_hold_is_refused():
    with pytest.raises(ValidationError, match=r"(?s)parameters.*object"):
        Provenance(**NOTE | {"parameters": {"p": object()}})


def test_a_note_is_read_back_and_another_file_is_refused(tmp_path):
    save_figure(a_figure(), tmp_path / "f", Provenance(**NOTE))
    assert read_provenance(tmp_path / "f.json") == Provenance(**NOTE)
    for content in ("", '{"commit": ', "{}", '"text"'):
        (tmp_path / "f.json").write_text(content)
        with pytest.raises(InputError, match=r"f\.json is missing or no note .*: restore it"):
            read_provenance(tmp_path / "f.json")
    with pytest.raises(InputError, match=r"g\.json is missing"):
        read_provenance(tmp_path / "g.json")


def test_command_loses_absolute_paths():
    command = "/usr/bin/papermill --out=/home/me/runs/x 'two words' http://a/b data/sample"
    kept = Provenance(**NOTE | {"command": command}).command
    assert kept == "papermill --out=x 'two words' http://a/b data/sample"


def test_command_loses_absolute_paths_among_parameters(monkeypatch):
    monkeypatch.setattr("xmodal_suite.provenance._ROOT", Path("/home/me/project"))
    given = {"shards": "/data/of/me", "profile": "/home/me/project/profiles/a.yaml", "k": [1, 0.1]}
    command = shlex.join(["papermill", "-y", json.dumps(given), "{a,b}"])
    *words, parameters, braces = shlex.split(Provenance(**NOTE | {"command": command}).command)
    assert words == ["papermill", "-y"] and braces == "{a,b}"
    kept = {"shards": "me", "profile": "profiles/a.yaml", "k": [1, 0.1]}
    assert json.loads(parameters) == kept


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


def test_commit_is_unknown_without_git(project):
    assert project_commit() == "unknown"


def test_commit_is_unknown_before_the_first(project):
    git(project, "init")
    assert project_commit() == "unknown"


def test_commit_says_when_the_code_was_changed(project, monkeypatch):
    git(project, "init")
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


class Figures(FigureConfig):
    clips: int = Field(2000, gt=1)
    split_seed: int = 0


def test_provenance_holds_all_that_is_needed_to_run_again():
    told = origin_of("04_umap", Figures(clips=7, features=Path("some/data"), split_seed=3), None)
    assert told.seeds == {"split_seed": 3}
    assert told.parameters["clips"] == 7
    words = shlex.split(told.command)
    assert words[:3] == ["papermill", "notebooks/04_umap.ipynb", "runs/04_umap.ipynb"]
    assert json.loads(words[4]) == {"clips": 7, "features": "some/data", "split_seed": 3}
    assert len(shlex.split(origin_of("04_umap", Figures(), None).command)) == 3


def test_a_set_without_a_notebook_of_its_own_is_measured_by_a_command():
    told = origin_of("05_explorer", Figures(clips=7), None)
    words = shlex.split(told.command)
    assert words[:3] == ["xmodal", "results", "05_explorer"]
    assert json.loads(words[3]) == {"clips": 7}
