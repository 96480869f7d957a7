"""The page that a batch leaves, ``figures/<data>/README.md``, and numbers filled into README.md."""

import re
from pathlib import Path

import jinja2
import pandas as pd

from xmodal.config import InputError
from xmodal.files import atomic
from xmodal_suite.provenance import read_origin
from xmodal_suite.tables import methods_layout, without_tags

TEMPLATE = Path(__file__).with_name("page.md")


def write_report(figures: Path) -> str:
    """Write ``README.md`` beside a batch's tables and pictures; return a summary for the terminal.

    A picture may be missing; InputError if a table is, or the note of where it comes from.
    """
    origin = read_origin(figures / "table1.json")
    card = origin["protocol"]
    sizes = sorted((int(size), count) for size, count in card["galleries"].items())

    def picture(name: str, title: str) -> str:
        if not (figures / f"{name}.png").exists():
            return ""
        caption = read_origin(figures / f"{name}.json").get("caption", title)
        files = f"[PDF]({name}.pdf) · [SVG]({name}.svg) · [origin]({name}.json)"
        return f"### {title}\n\n![{caption}]({name}.png)\n\n{files}\n"

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


def _read(path: Path, heading: str | None = None) -> str:
    """Return the text of a file, or of what stands under one of its headings."""
    if not path.exists():
        raise InputError(f"{path} is missing: make it with its notebook, or all with make paper")
    text = path.read_text(encoding="utf-8")
    if heading:
        _, _, text = text.partition(f"\n## {heading}\n")
        text, _, _ = text.partition("\n## ")
        if not text:
            raise InputError(f"{path} has nothing under the heading {heading!r}: name another")
    return text.strip()


def fill_page(page: Path) -> None:
    """Put the content of the files that a Markdown page names between its marks, in place.

    A mark is a comment with a path relative to the page, ``<!-- figures/yt8m/table1.md -->``, and
    lasts until ``<!-- end -->``; so the page's numbers are those that a command wrote. Behind the
    path may stand a heading of the second level: then only what is under it is taken. InputError
    if a file or a heading is missing.
    """
    marked = re.compile(r"(<!-- (\S+\.md)(?: (\w[^\n]*?))? -->\n).*?(<!-- end -->)", re.DOTALL)
    filled = marked.sub(
        lambda mark: f"{mark[1]}{_read(page.parent / mark[2], mark[3])}\n\n{mark[4]}",
        page.read_text(encoding="utf-8"),
    )
    with atomic(page) as fresh:
        fresh.write_text(filled, encoding="utf-8")
