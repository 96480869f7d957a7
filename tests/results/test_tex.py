"""The committed tables in LaTeX: each fits the text width of a plain article."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

FIGURES = Path(__file__).parents[2] / "figures" / "yt8m"
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
    tables = sorted(FIGURES.glob("*.tex"))
    assert len(tables) >= 15
    inputs = "\n".join(rf"\message{{[{path.stem}]}}\input{{{path}}}\clearpage" for path in tables)
    (tmp_path / "all.tex").write_text(ARTICLE % inputs)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    for _ in range(2):  # a longtable knows its widths the second time
        told = subprocess.run(command, cwd=tmp_path, capture_output=True, errors="replace")
        assert told.returncode == 0, told.stdout[-2000:]
    log = (tmp_path / "all.log").read_text(errors="replace")
    wide = re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\).*", log)
    assert [points for points in wide if float(points) > 1] == []
    assert "Float too large" not in log and "LaTeX Error" not in log
