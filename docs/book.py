"""Lay out the pages of the book: what is committed, pictures as SVG, links among themselves.

python docs/book.py SOURCE      writes the pages into the folder SOURCE, for sphinx-build
"""

import base64
import os
import re
import shutil
import sys
from pathlib import Path, PurePosixPath

import nbformat

ROOT = Path(__file__).resolve().parents[1]
DATA = "yt8m"
FIGURES, WEIGHTS = Path("figures", DATA), Path("xmodal/weights", f"{DATA}-recipe")
EXPLORER = FIGURES / "explorer.html"
OWN = Path("figures/media/notebooks/08_own_media.ipynb")
NOTEBOOKS = [*sorted((ROOT / FIGURES / "notebooks").glob("*.ipynb")), ROOT / OWN]
#: Parts of the table of contents, with their pages.
PARTS = {
    "The paper, section by section": [path.relative_to(ROOT) for path in NOTEBOOKS],
    "Results": [
        Path("docs/report.md"),
        *(folder / "README.md" for folder in (FIGURES, WEIGHTS, Path("data/results"))),
        Path("benchmarks/ideas.md"),
    ],
    "Use": [
        *(
            Path("docs", f"{name}.md")
            for name in ("real-data", "media", "package", "batch", "glossary")
        ),
        *(Path(folder, "README.md") for folder in ("data", "profiles/cluster")),
    ],
    "Speed": [
        Path("benchmarks", f"{name}.md")
        for name in ("fast", "fast_epyc", "readers", "storage", "scale", "search")
    ],
    "Carry on": [Path("CONTRIBUTING.md"), Path("CHANGELOG.md")],
}
PAGES = {Path("README.md"): Path("index.md")} | {
    page: page for pages in PARTS.values() for page in pages if (ROOT / page).exists()
}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#]*)(#[^)\s]*)?\)")


def lay_out(source: Path) -> None:
    """Write every page, and every file that a page shows or links to."""
    shutil.rmtree(source, ignore_errors=True)
    for page, place in PAGES.items():
        (source / place).parent.mkdir(parents=True, exist_ok=True)
        if page.suffix == ".md":
            text = with_links((ROOT / page).read_text(encoding="utf-8"), page, source)
            (source / place).write_text(text + (contents() if place.stem == "index" else ""))
            continue
        book = nbformat.read(ROOT / page, as_version=4)
        pictures = {path.read_bytes(): path for path in (ROOT / page).parents[1].glob("*.png")}
        for cell in book.cells:
            if cell.cell_type == "markdown":
                cell.source = with_links(cell.source, page, source)
            for output in cell.get("outputs", []):
                if text := output.get("data", {}).get("text/markdown"):
                    text = with_links(text, page, source).replace(".ipynb)", ".html)")
                    output["data"]["text/markdown"] = text  # whose links Sphinx leaves as they are
                if alt := output.get("metadata", {}).get("image/png", {}).get("alt"):
                    cell.metadata["mystnb"] = {"image": {"alt": alt}}
                as_svg(output, pictures)
        nbformat.write(book, source / place)


def contents() -> str:
    """Return the table of contents, which the sidebar shows."""
    trees = [
        "\n".join(
            ["```{toctree}", ":hidden:", f":caption: {part}", ""]
            + [page.with_suffix("").as_posix() for page in pages if page in PAGES]
            + ["```"]
        )
        for part, pages in PARTS.items()
    ]
    return "\n\n" + "\n\n".join(trees) + "\n"


def as_svg(output: dict, pictures: dict[bytes, Path]) -> None:
    """Show a figure by its SVG file, where the notebook shows its PNG file."""
    data = output.get("data", {})
    png = base64.b64decode(data.get("image/png", ""))
    if png in pictures:
        output["data"] = {
            "image/svg+xml": pictures[png].with_suffix(".svg").read_text(encoding="utf-8")
        }
        output["metadata"] = {}


def with_links(text: str, page: Path, source: Path) -> str:
    """Turn a page's links to those of the book: to other pages, or to files that are copied."""

    def turned(match: re.Match) -> str:
        mark, words, target, anchor = (part or "" for part in match.groups())
        if not target or re.match(r"[a-z]+:", target):
            return match[0]
        path = Path(os.path.normpath(page.parent / target))
        if path.parts[:1] == ("notebooks",):  # as the batch left it
            path = OWN if path.name == OWN.name else FIGURES / path
        start = PurePosixPath(PAGES[page].parent.as_posix())
        if path == EXPLORER:  # a page that Sphinx does not make: conf.py puts it at the top
            return f'<a href="{os.path.relpath(path.name, start)}">{words}</a>'
        if mark and path.suffix == ".png" and (ROOT / path).with_suffix(".svg").exists():
            path = path.with_suffix(".svg")
        if path not in PAGES:
            if not (ROOT / path).is_file() or path.suffix == ".html":
                return words  # a folder has no page, and a page of one's own machine is not ours
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, source / path)
        place = PAGES.get(path, path)
        return f"{mark}[{words}]({os.path.relpath(place, start)}{anchor})"

    return LINK.sub(turned, text)


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
