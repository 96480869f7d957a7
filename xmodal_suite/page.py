"""The page that a batch leaves, ``figures/<data>/README.md``, and numbers filled into README.md."""

import re
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import jinja2
import pandas as pd

from xmodal.config import InputError
from xmodal.files import atomic
from xmodal_suite.provenance import read_origin
from xmodal_suite.tables import methods_layout, without_tags

TEMPLATE = Path(__file__).with_name("page.md")


def write_report(figures: Path) -> str:
    """Write ``README.md`` beside a batch's tables, all there, and pictures; return a summary."""
    origin = read_origin(figures / "table1.json")
    card = origin["protocol"]
    sizes = sorted((int(size), count) for size, count in card["galleries"].items())

    def picture(name: str) -> str:
        if not (figures / f"{name}.png").exists():
            return ""
        caption = read_origin(figures / f"{name}.json").get("caption", name)
        files = f"[PDF]({name}.pdf) · [SVG]({name}.svg) · [provenance]({name}.json)"
        return f"![{caption}]({name}.png)\n\n*{caption}.* {files}\n"

    template = jinja2.Template(
        TEMPLATE.read_text(encoding="utf-8"),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    page = template.render(
        source=without_tags(origin["source"]),
        text=lambda name: _read(figures / f"{name}.md"),
        picture=picture,
        exists=lambda name: any(figures.glob(f"{name}.*")),
        card=card,
        galleries=[f"{count:,} of {size:,}" for size, count in sizes],
        runs=_runs(figures).itertuples(),
    )
    with atomic(figures / "README.md") as fresh:
        fresh.write_text(re.sub(r"\n{3,}", "\n\n", page), encoding="utf-8")
    headline = methods_layout(pd.read_csv(figures / "headline.csv")).to_string(index=False)
    return (
        f"Recall in percent, on {origin['source']}:\n\n{headline}\n\n"
        f"{_read(figures / 'verdict.md')}\n\nAll tables and pictures are in {figures}/README.md."
    )


def _runs(figures: Path) -> pd.DataFrame:
    """Return the runs that made the tables and pictures of a folder, and what each made."""
    made = [path for kind in ("tex", "png", "html") for path in figures.glob(f"*.{kind}")]
    notes = []
    for path in sorted(made):
        note = read_origin(path.with_suffix(".json"))
        run = note["command"].partition("notebooks/")[2].partition(".")[0]
        link = f"[{path.stem}]({path.stem}.json)"
        notes.append((run, note["commit"], note["fingerprint"][:16], link))
    frame = pd.DataFrame(notes, columns=["run", "commit", "features", "made"])
    return frame.groupby(["run", "commit", "features"], as_index=False).agg(", ".join)


def _read(path: Path) -> str:
    """Return the text of a file."""
    if not path.exists():
        raise InputError(f"{path} is missing: make it with its notebook, or all with make paper")
    return path.read_text(encoding="utf-8").strip()


def _rows(path: Path, wanted: str) -> pd.DataFrame:
    """Return the rows of a CSV file that a query of pandas wants."""
    rows = pd.read_csv(StringIO(_read(path))).query(wanted, engine="python")
    if rows.empty:
        raise InputError(f"{path} has no row where {wanted}: name others")
    return rows


def fill_page(page: Path) -> None:
    """Put into a Markdown page, between its marks, what files say that a command wrote.

    A mark is a comment that lasts until ``<!-- end -->``. Paths are relative to the page; where
    several rows of a CSV file are meant, fractions are their mean, whole numbers from the least to
    the greatest.

    - ``<!-- table1.md -->``: the text of a file.
    - ``<!-- headline.csv where gallery == 1024 -->``: Recall@K of each model, as a table.
    - ``<!-- data.csv clips where split == "train" -->``: a number, inside a sentence.
    - ``<!-- output -->`` below a block of Python: what the block prints.

    InputError if a file or its rows are missing, or the block fails.
    """

    def document(file: str) -> str:
        return f"{_read(page.parent / file)}\n\n"

    def table(file: str, wanted: str) -> str:
        rows = _rows(page.parent / file, wanted)
        wide = rows.pivot_table("recall", "model", "k", sort=False).add_prefix("R@")
        return wide.rename_axis("method").to_markdown(floatfmt=".1f") + "\n\n"

    def number(file: str, column: str, wanted: str) -> str:
        values = _rows(page.parent / file, wanted)[column]
        if values.dtype.kind == "i":
            return " to ".join(
                f"{value:,}" for value in dict.fromkeys((values.min(), values.max()))
            )
        return f"{values.mean():,.1f}"

    text = page.read_text(encoding="utf-8")
    text = _put(text, r"<!-- (\S+\.md) -->\n", document)
    text = _put(text, r"<!-- (\S+\.csv) where ([^\n]+) -->\n", table)
    text = _put(text, r"<!-- (\S+\.csv) (\w[^\n]*?) where ([^\n]+?) -->", number)
    text = _put(text, r"```python\n([^`]+)```\n\n<!-- output -->\n", _output)
    with atomic(page) as fresh:
        fresh.write_text(text, encoding="utf-8")


def _put(text: str, mark: str, content: Callable[..., str]) -> str:
    """Put content, made from what a mark names, behind every mark of one kind."""
    marked = re.compile(f"({mark}).*?(?=<!-- end -->)", re.DOTALL)
    return marked.sub(lambda found: found[1] + content(*found.groups()[1:]), text)


def _output(code: str) -> str:
    """Return what a block of Python prints, as a block."""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if ran.returncode:
        raise InputError(f"a block of Python fails: {ran.stderr.strip().splitlines()[-1]}")
    return f"```text\n{ran.stdout}```\n\n"
