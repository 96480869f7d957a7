"""The book: built from what is committed, its links checked, and opened in a real browser."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

pytestmark = pytest.mark.slow  # building the book takes a minute
ROOT = Path(__file__).parents[1]
NOTEBOOKS = [path.stem for path in sorted(ROOT.glob("notebooks/*.ipynb"))]
PAGES = [
    "index.html",
    *(
        f"figures/{'media' if name == '08_own_media' else 'yt8m'}/notebooks/{name}.html"
        for name in NOTEBOOKS
    ),
    *("figures/yt8m/README.html", "xmodal/weights/yt8m-recipe/README.html", "docs/package.html"),
]


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, html = tmp_path_factory.mktemp("book") / "source", tmp_path_factory.mktemp("html")
    subprocess.run([sys.executable, ROOT / "docs" / "book.py", source], check=True)
    words = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet", "-c", ROOT / "docs"]
    told = subprocess.run([*words, source, html], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    return html


def test_every_page_is_there_and_every_link_leads_somewhere(book: Path):
    for page in PAGES:
        assert (book / page).exists(), page
    for page in [page for page in book.rglob("*.html") if "_static" not in page.parts]:
        for target in re.findall(r'(?:href|src)="([^"#?]+)', page.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:|//", target):
                assert (page.parent / unquote(target)).exists(), f"{page.name}: {target}"


def test_figures_are_drawn_sharp(book: Path):
    text = (book / "figures/yt8m/notebooks/03_recall.html").read_text(encoding="utf-8")
    assert text.count(".svg") >= 3
    assert '.png"' not in (book / "figures/yt8m/README.html").read_text(encoding="utf-8")


def test_a_browser_shows_every_page_without_error_or_request(book: Path, browser):
    """As wide as on a desk and as narrow as on a telephone; every figure is told in words."""
    for page in PAGES:
        tab = browser.new_page()
        errors, asked = [], []
        tab.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
        tab.on(
            "console",
            lambda said, errors=errors: said.type == "error" and errors.append(said.text),
        )
        tab.on("request", lambda request, asked=asked: asked.append(request.url))
        tab.goto((book / page).as_uri(), wait_until="load", timeout=120_000)
        tab.wait_for_timeout(300)
        for width in (390, 1280):
            tab.set_viewport_size({"width": width, "height": 900})
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, page
        words = tab.eval_on_selector_all(".cell_output img", "all => all.map(one => one.alt)")
        assert all(len(alt) > 30 and "/" not in alt.split()[0] for alt in words), (page, words)
        assert not errors, (page, errors)
        assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))], page
        tab.close()


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_accessible(book: Path, browser, page: str):
    from axe_playwright_python.sync_playwright import Axe

    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.goto((book / page).as_uri(), wait_until="load", timeout=120_000)
    tab.wait_for_timeout(300)
    found = Axe().run(tab).response["violations"]
    assert not [(one["id"], one["nodes"][0]["html"][:200]) for one in found]
    tab.close()


def test_what_is_searched_is_found_without_a_server(book: Path, browser):
    tab = browser.new_page()
    tab.goto((book / "search.html").as_uri() + "?q=silent")
    tab.wait_for_selector("#search-results li")
    assert "Recall" in tab.inner_text("#search-results")
    tab.close()
