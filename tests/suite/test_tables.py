"""Tables: tidy numbers in the CSV, the same text in Markdown and LaTeX, layouts by hand."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmodal_suite.tables import as_html, grid_layout, methods_layout, recall_layout, save_table

NOTE = {"source": "synthetic sample", "commit": "abc1234"}
TABLE = pd.DataFrame(
    {
        "direction": ["audio→video", "video→audio"],
        "R@1, %": [21.54321987, np.nan],
        "x_y|z": [-0.01, 3.0],
        "N": [256, 6000],
    }
)
RECALLS = pd.DataFrame(
    {
        "reading": ["ours", "ours", "theirs", "theirs"],
        "direction": "audio→video",
        "k": [1, 10, 1, 10],
        "recall": [12.34, 50.0, 20.0, 60.06],
        "low": [10.0, 45.0, np.nan, np.nan],
        "high": [15.0, 55.55, np.nan, np.nan],
    }
)


def shown_cells(stem: Path) -> tuple[list, list]:
    """Read the bodies of the Markdown and the LaTeX table back."""
    lines = [line for line in stem.with_suffix(".md").read_text().splitlines() if line[:1] == "|"]
    markdown = [[c.strip() for c in line.strip("|").split(" | ")] for line in lines[2:]]
    body = stem.with_suffix(".tex").read_text().split("\\midrule\n")[1].split("\\bottomrule")[0]
    rows = [row.removesuffix(" \\\\").split(" & ") for row in body.strip().splitlines()]
    return markdown, rows


def test_a_table_is_shown_twice_and_its_numbers_are_kept(tmp_path):
    shown = save_table(TABLE, tmp_path / "t", NOTE, "Recall_a", {"R@1, %": 2})
    assert {path.name for path in tmp_path.iterdir()} == {"t.md", "t.tex", "t.csv", "t.json"}
    expected = [["audio→video", "21.54", "0.0", "256"], ["video→audio", "–", "3.0", "6000"]]
    assert shown_cells(tmp_path / "t") == (expected, expected)
    assert [list(row) for row in shown.data.to_numpy()] == expected
    assert (tmp_path / "t.csv").read_text() == (
        'direction,"R@1, %",x_y|z,N\naudio→video,21.5432,-0.01,256\nvideo→audio,,3.0,6000\n'
    )
    assert json.loads((tmp_path / "t.json").read_text()) == NOTE


def test_captions_name_the_source_and_text_is_escaped(tmp_path):
    save_table(TABLE, tmp_path / "t", NOTE, "Recall_a, 100 %.")
    markdown, latex = (tmp_path / "t.md").read_text(), (tmp_path / "t.tex").read_text()
    assert markdown.endswith("*Recall\\_a, 100 %. Source: synthetic sample.*\n")
    assert "\\caption{Recall\\_a, 100 \\%. Source: synthetic sample.}" in latex
    assert "\\label{tab:t}" in latex
    assert all(rule in latex for rule in ("\\toprule", "\\midrule", "\\bottomrule"))
    assert "x\\_y\\|z" in markdown and "R@1, \\% & x\\_y|z" in latex


def test_a_layout_is_shown_and_the_tidy_frame_is_kept(tmp_path):
    save_table(RECALLS, tmp_path / "t", NOTE, "c", layout=recall_layout)
    kept = pd.read_csv(tmp_path / "t.csv")
    pd.testing.assert_frame_equal(kept, RECALLS)
    markdown, _ = shown_cells(tmp_path / "t")
    assert markdown[0] == ["ours", "12.3", "50.0"] and "CSV" in (tmp_path / "t.md").read_text()
    before = (tmp_path / "t.md").read_bytes()
    save_table(kept, tmp_path / "t", NOTE, "c", layout=recall_layout)
    assert (tmp_path / "t.md").read_bytes() == before


def test_whole_numbers_and_flags_are_read_back_as_what_they_were(tmp_path):
    table = pd.DataFrame({"whole": [96.0, 3844000.0], "count": [1, 2], "own": [True, False]})
    save_table(table, tmp_path / "t", NOTE, "c")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "t.csv"), table)


@given(
    st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=1, max_size=8),
    st.integers(0, 4),
)
def test_numbers_agree_whatever_they_are(tmp_path_factory, values, decimals):
    stem = tmp_path_factory.mktemp("tables") / "t"
    save_table(pd.DataFrame({"v": values, "n": 1}), stem, NOTE, "c", decimals)
    markdown, latex = shown_cells(stem)
    assert markdown == latex
    kept = pd.read_csv(stem.with_suffix(".csv"))["v"]
    for (cell, _), number, value in zip(markdown, kept, values, strict=True):
        if np.isnan(value):
            assert cell == "–" and np.isnan(number)
        else:
            assert abs(float(cell) - value) <= 0.5 * 10**-decimals + 1e-9
            assert number == pytest.approx(value, rel=5.1e-6)


def test_recalls_are_laid_out_by_hand():
    assert recall_layout(RECALLS).to_dict("list") == {
        "reading": ["ours", "theirs"],
        "audio→video R@1 (%)": ["12.3 [10.0, 15.0]", "20.0"],
        "audio→video R@10 (%)": ["50.0 [45.0, 55.5]", "60.1"],
    }
    without = recall_layout(RECALLS.drop(columns=["low", "high"]))
    assert without["audio→video R@1 (%)"].tolist() == ["12.3", "20.0"]
    chance = RECALLS.replace({"reading": {"theirs": "chance"}})
    assert recall_layout(chance)["reading"].tolist() == ["ours"]


def test_a_grid_is_laid_out_and_shaded():
    values = {"ridge": [0.1, 0.1, 1.0, 1.0], "power": [0.0, 0.5] * 2}
    table = grid_layout(pd.DataFrame(values | {"validation R@1": [1, 4, 2, 3]}))
    assert table.to_dict("list") == {"ridge": [0.1, 1.0], "power 0.0": [1, 2], "power 0.5": [4, 3]}
    shades = dict(
        re.findall(r"#T_t_row(\d_col\d) \{\s*background-color: (#\w+)", as_html(table).to_html())
    )
    assert {"0_col1", "0_col2", "1_col1", "1_col2"} == set(shades) and len({*shades.values()}) == 4


def test_html_shows_groups_once_marks_the_best_and_escapes():
    lines = [("published", 90.0, np.nan, np.nan), ("<b>ours", 12.3, 10.0, 15.0)]
    lines += [("theirs", 11.0, 9.0, 13.0)]
    methods = pd.DataFrame(lines, columns=["model", "recall", "low", "high"])
    methods = methods.assign(gallery=9, direction="a→v", k=1)
    html = as_html(methods_layout(methods), "R < 1", name="x").to_html()
    assert html.count(">9<") == 1 and "&lt;b&gt;ours" in html and "R &lt; 1" in html
    assert "12.3<br><small>[10.0, 15.0]</small>" in html
    bold, italic = (
        re.findall(rf"([^}}]*){{\s*font-{kind}", html) for kind in ("weight: bold", "style: italic")
    )
    assert re.findall(r"row\d_col\d", " ".join(bold)) == ["row1_col2"]
    assert set(re.findall(r"row\d", " ".join(italic))) == {"row0"}


def test_latex_compiles_where_there_is_a_compiler(tmp_path: Path):
    if not (compiler := shutil.which("lualatex") or shutil.which("xelatex")):
        pytest.skip("there is no LuaLaTeX or XeLaTeX here")
    save_table(RECALLS, tmp_path / "t", NOTE, "Recall, 100 %", layout=recall_layout)
    begin = "\\documentclass{article}\\usepackage{adjustbox,booktabs}\\begin{document}"
    (tmp_path / "a.tex").write_text(begin + "\\input{t.tex}\\end{document}")
    words = [compiler, "-interaction=batchmode", "-halt-on-error", "a.tex"]
    assert subprocess.run(words, cwd=tmp_path, capture_output=True).returncode == 0
