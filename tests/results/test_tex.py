"""The committed tables in LaTeX: each fits the text width of a plain article."""

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from xmodal.results import tables
from xmodal.results.provenance import read_provenance
from xmodal.results.tables import save_table

FIGURES = Path(__file__).parents[2] / "figures" / "yt8m"
#: Layouts and digits as the notebooks choose them.
LAYOUTS = {
    "data": tables.splits_layout,
    **dict.fromkeys(["table1", "table2", "silence"], tables.recall_layout),
    **dict.fromkeys(["headline", "beyond"], tables.methods_layout),
    **dict.fromkeys(["study_paper", "study_beyond", "scaled_apart"], tables.ablation_layout),
    "held_back": tables.held_back_layout,
    "learning_curve": tables.scaling_layout,
    "study_runs": tables.runs_layout,
}
DIGITS = {"examples": 2, "cca": {"ridge": 2}, "study_runs": 2}
ARTICLE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{array, booktabs, longtable}
\begin{document}
%s
\end{document}
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_every_table_fits_the_text_width(tmp_path: Path):
    stems = sorted(path.stem for path in FIGURES.glob("*.csv"))
    assert set(LAYOUTS) <= set(stems)
    for stem in stems:
        note = read_provenance(FIGURES / f"{stem}.json")
        shown = (FIGURES / f"{stem}.md").read_text().strip().splitlines()[-1].strip("*")
        caption = re.sub(r"\\(.)", r"\1", shown).removesuffix(f"Source: {note.source}.")
        tidy = pd.read_csv(FIGURES / f"{stem}.csv")
        save_table(tidy, tmp_path / stem, note, caption, DIGITS.get(stem, 1), LAYOUTS.get(stem))
        assert caption and (tmp_path / f"{stem}.md").read_text().splitlines()[-1] == f"*{shown}*"
    inputs = "\n".join(rf"\input{{{stem}}}\clearpage" for stem in stems)
    (tmp_path / "all.tex").write_text(ARTICLE % inputs)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    for _ in range(2):  # a longtable knows its widths the second time
        told = subprocess.run(command, cwd=tmp_path, capture_output=True, errors="replace")
        assert told.returncode == 0, told.stdout[-2000:]
    log = (tmp_path / "all.log").read_text(errors="replace")
    wide = re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\).*", log)
    assert [points for points in wide if float(points) > 1] == []
    assert "Float too large" not in log and "LaTeX Error" not in log
