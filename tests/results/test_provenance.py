"""Figures and tables: every kind of file, the same bytes each time, numbers that agree."""

import csv
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from pydantic import ValidationError

import xmodal.results.provenance
from xmodal.config import InputError, StageConfig
from xmodal.results.provenance import Provenance, project_commit, save_figure, save_table

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
    written = save_figure(a_figure(), tmp_path / "deep" / "curve.v2", Provenance(**NOTE))
    names = {"curve.v2.pdf", "curve.v2.svg", "curve.v2.png", "curve.v2.json"}
    assert {path.name for path in written} == names
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
        "from xmodal.plots import correlations\n"
        "from xmodal.results.provenance import Provenance, save_figure\n"
        f"note = Provenance(**{NOTE!r})\n"
        "figure = correlations([0.9, 0.1], [2, 1], [3, 1], 'synthetic sample')\n"
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
    with pytest.raises(InputError, match=r"^f cannot be written into .*No space left"):
        save_figure(Figure(), tmp_path / "f", Provenance(**NOTE))
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_a_file_where_the_folder_should_be_is_refused(tmp_path):
    (tmp_path / "figures").write_text("in the way")
    with pytest.raises(InputError, match="choose a folder"):
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
        (r"C:\data\yt8m", "yt8m"),
        (xmodal.results.provenance._ROOT / "data" / "sample", "data/sample"),
        ("data/sample", "data/sample"),
        ("audio→video", "audio→video"),
        (np.int64(3), 3),
        (np.float64(0.5), 0.5),
        (np.arange(3), [0, 1, 2]),
        ((1, None, True), [1, None, True]),
        ({"b", "a"}, ["a", "b"]),
        (float("nan"), "nan"),
        (Stage(shards="/x/yt8m"), {"shards": "yt8m", "dim": 250}),
    ],
)
def test_parameters_become_plain_and_lose_absolute_paths(given, kept):
    assert Provenance(**NOTE | {"parameters": {"p": given}}).parameters == {"p": kept}


def test_a_parameter_json_cannot_hold_is_named():
    with pytest.raises(ValidationError, match=r"parameters\.p holds a complex"):
        Provenance(**NOTE | {"parameters": {"p": 1j}})


def test_command_loses_absolute_paths():
    command = "/usr/bin/papermill --out=/home/me/runs/x 'two words' http://a/b data/sample"
    kept = Provenance(**NOTE | {"command": command}).command
    assert kept == "papermill --out=x 'two words' http://a/b data/sample"


def test_command_loses_absolute_paths_among_parameters(monkeypatch):
    monkeypatch.setattr("xmodal.results.provenance._ROOT", Path("/home/me/project"))
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
    monkeypatch.setattr(xmodal.results.provenance, "_ROOT", tmp_path)
    project_commit.cache_clear()
    yield tmp_path
    project_commit.cache_clear()


def test_commit_is_unknown_without_git(project):
    assert project_commit() == "unknown"


def test_commit_is_unknown_before_the_first(project):
    git(project, "init")
    assert project_commit() == "unknown"


def test_commit_says_when_the_code_was_changed(project):
    git(project, "init")
    for folder in ("xmodal", "figures"):
        (project / folder).mkdir()
        (project / folder / "a").write_text("1")
    git(project, "add", ".")
    git(project, "commit", "-m", "a")
    short = git(project, "rev-parse", "--short", "HEAD")
    assert project_commit() == short
    (project / "figures" / "a").write_text("2")
    project_commit.cache_clear()
    assert project_commit() == short, "a figure is no code"
    (project / "xmodal" / "a").write_text("2")
    assert project_commit() == short, "asked once a process"
    project_commit.cache_clear()
    assert project_commit() == f"{short}-dirty"


TABLE = pd.DataFrame(
    {
        "direction": ["audio→video", "video→audio"],
        "R@1, %": [21.54, np.nan],
        "x_y|z": [-0.01, 3.0],
        "N": [256, 6000],
    }
)


def cells(stem: Path, dash: str = "–") -> tuple[list, list, list]:
    """Read the body of the three tables back, each by the rules of its format."""
    with stem.with_suffix(".csv").open() as file:
        plain = [[cell or dash for cell in row] for row in csv.reader(file)][1:]
    lines = [line for line in stem.with_suffix(".md").read_text().splitlines() if line[:1] == "|"]
    markdown = [[c.strip() for c in line.strip("|").split(" | ")] for line in lines[2:]]
    body = stem.with_suffix(".tex").read_text().split("\\midrule\n")[1].split("\\bottomrule")[0]
    latex = [
        [
            c.strip().replace("$\\rightarrow$", "→").replace("--", dash)
            for c in row.removesuffix("\\\\").rstrip(" \\").split("&")
        ]
        for row in body.strip().splitlines()
    ]
    return plain, markdown, latex


def test_table_says_the_same_three_times(tmp_path):
    written = save_table(TABLE, tmp_path / "t", Provenance(**NOTE), "Recall_a", {"R@1, %": 2})
    assert [path.suffix for path in written] == [".md", ".tex", ".csv", ".json"]
    expected = [["audio→video", "21.54", "0.0", "256"], ["video→audio", "–", "3.0", "6000"]]
    assert cells(tmp_path / "t") == (expected, expected, expected)


def test_table_captions_name_the_source_and_escape(tmp_path):
    save_table(TABLE, tmp_path / "t", Provenance(**NOTE), "Recall_a, 100 %.")
    markdown, latex = (tmp_path / "t.md").read_text(), (tmp_path / "t.tex").read_text()
    assert markdown.endswith("*Recall\\_a, 100 %. Source: synthetic sample.*\n")
    assert "\\caption{Recall\\_a, 100 \\%. Source: synthetic sample.}" in latex
    assert "\\label{tab:t}" in latex
    assert all(rule in latex for rule in ("\\toprule", "\\midrule", "\\bottomrule"))
    assert "x\\_y\\|z" in markdown and "R@1, \\% & x\\_y|z" in latex
    assert "→" not in latex


def test_a_named_index_becomes_a_column(tmp_path):
    save_table(TABLE.set_index("direction"), tmp_path / "t", Provenance(**NOTE), "c")
    assert (tmp_path / "t.csv").read_text().startswith("direction,")


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])),
    ],
)
def test_ambiguous_columns_are_refused(frame, tmp_path):
    with pytest.raises(InputError, match="flatten"):
        save_table(frame, tmp_path / "t", Provenance(**NOTE), "c")
    assert not list(tmp_path.iterdir())


@given(
    st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=1, max_size=8),
    st.integers(0, 4),
)
def test_numbers_agree_whatever_they_are(tmp_path_factory, values, decimals):
    stem = tmp_path_factory.mktemp("tables") / "t"
    save_table(pd.DataFrame({"v": values}), stem, Provenance(**NOTE), "c", decimals)
    plain, markdown, latex = cells(stem)
    assert plain == markdown == latex
    for (cell,), value in zip(plain, values, strict=True):
        if np.isnan(value):
            assert cell == "–"
        else:
            assert abs(float(cell) - value) <= 0.5 * 10**-decimals + 1e-9
