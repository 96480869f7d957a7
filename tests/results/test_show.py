"""One call shows and saves."""

import re
from pathlib import Path

import matplotlib
import pandas as pd
import pytest
from IPython.display import Image, Markdown
from markdown_it import MarkdownIt

from xmodal_suite import show as module
from xmodal_suite.provenance import Provenance, read_provenance
from xmodal_suite.show import Show

ORIGIN = Provenance(
    source="made up", fingerprint="f", parameters={}, seeds={}, command="papermill a b", commit="c"
)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list:
    seen: list = []
    monkeypatch.setattr(module, "display", seen.append)
    return seen


def test_a_figure_is_saved_with_its_caption_and_shown_with_words_for_who_cannot_see(
    tmp_path: Path, shown: list
):
    figure = matplotlib.figure.Figure(figsize=(2, 1))
    Show(tmp_path, ORIGIN)("bars", figure, "Some bars", "The first bar is highest.")
    image, words = shown
    assert isinstance(image, Image) and image.data == (tmp_path / "bars.png").read_bytes()
    assert image.alt == "Some bars. The first bar is highest."
    assert (
        words.data == "*Some bars. Source: made up.*\n\n**What we see.** The first bar is highest."
    )
    assert read_provenance(tmp_path / "bars.json").caption == "Some bars"


def test_a_table_is_saved_and_what_is_seen_in_it_stands_below(tmp_path: Path, shown: list):
    Show(tmp_path, ORIGIN)("counts", pd.DataFrame({"n": [1]}), "Counts", "There is one.")
    assert (tmp_path / "counts.csv").read_text() == "n\n1\n"
    assert shown[1].data == "**What we see.** There is one."
    Show(tmp_path, ORIGIN)("counts", pd.DataFrame({"n": [1]}), "Counts")
    assert len(shown) == 3  # nothing is said


def test_a_paragraph_is_saved_as_it_is_shown(tmp_path: Path):
    told = Show(tmp_path, ORIGIN).text("verdict", "It holds.")
    assert isinstance(told, Markdown) and told.data == "It holds."
    assert (tmp_path / "verdict.md").read_text() == "It holds.\n"


def test_a_page_is_saved_with_its_origin_and_linked_from_the_folder_of_notebooks(tmp_path: Path):
    link = Show(tmp_path, ORIGIN).page("explorer", "<p>é", "Open it")
    assert (tmp_path / "explorer.html").read_text(encoding="utf-8") == "<p>é"
    assert read_provenance(tmp_path / "explorer.json") == ORIGIN
    (target,) = re.findall(r"^\[Open it\]\((.+)\)$", link.data)
    assert Path("notebooks", target).resolve() == tmp_path / "explorer.html"


EVIL = [
    '</script><img src="https://example.org/x" onerror="document.title=1">',
    "\"'><svg onload='x()'>",
    "<!-- -->",
    "two \\\\<b>, a line\u2028, turned\u202e",
]


def html_in(markdown: str) -> list[str]:
    """Return what a reader of Markdown takes for HTML."""
    tokens = MarkdownIt().parse(markdown)
    tokens += [part for token in tokens for part in token.children or []]
    return [token.content for token in tokens if token.type.startswith("html")]


@pytest.mark.parametrize("evil", EVIL)
def test_no_name_from_the_data_is_html(tmp_path: Path, shown: list, evil: str):
    """What reads Markdown lets HTML through: the book, and whoever shows a notebook's copy."""
    assert html_in(f"of {evil}")
    show = Show(tmp_path, ORIGIN.model_copy(update={"source": evil}))
    show("bars", matplotlib.figure.Figure(figsize=(2, 1)), "Some bars", f"{evil} is highest.")
    show("table", pd.DataFrame({evil: [evil], "n": [1]}), f"Of {evil}", f"{evil} is first.")
    text = show.text("words", f"The best is {evil}.").data
    _, words, table, seen = shown
    for markdown in (words.data, seen.data, text, *(p.read_text() for p in tmp_path.glob("*.md"))):
        assert not html_in(markdown)
    page = table.to_html()
    assert evil not in page and not re.search(r"<(img|svg|script|b>|!--|\?)", page)
