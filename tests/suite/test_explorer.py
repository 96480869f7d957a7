"""The explorer: what the page holds, and what a reader can do with it in a real browser."""

import csv
import json
import re
import wave
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from matplotlib.image import imsave
from playwright.sync_api import expect

from xmodal.search import open_gallery
from xmodal_suite.explorer import explorer_page
from xmodal_suite.kept import read_frame

DIRECTIONS = ["audio→video", "video→audio"]
EVIL = '</script><img src="https://example.org/x" onerror="document.title=1">'
K = 3
ROOT = Path(__file__).resolve().parents[2]


def frames(labels: tuple[str, ...] = ("Guitar", "Cat", EVIL)) -> dict[str, pd.DataFrame]:
    """Place clip i at x = i, its sound right above it; each finds the clips i + 1, i + 2 and i.

    Clip i carries label i % 3, of which the first two are frequent. Every seventh of the 40 clips
    does not find its own.
    """
    rows = np.arange(40)
    lost = rows % 7 == 0
    carried = [labels[row % 3] for row in rows]
    points = pd.DataFrame({"clip": [f"{row:04}" for row in rows], "labels": carried})
    points["label"] = points["labels"].where(rows % 3 < 2, "other")
    points = points.assign(visual_x=rows, visual_y=0.0, audio_x=rows, audio_y=20.0, cosine=0.5)
    points = points.assign(**dict.fromkeys(DIRECTIONS, np.where(lost, 25.5, K)))
    found = np.stack([rows + 1, rows + 2, rows + K * lost], axis=1) % 40
    lines = {"query": np.repeat(rows, K), "rank": np.tile([1, 2, 3], 40), "item": found.ravel()}
    lines["cosine"] = np.tile([0.9, 0.7, 0.5], 40)
    both = [pd.DataFrame({"direction": direction, **lines}) for direction in DIRECTIONS]
    return {"points": points, "neighbours": pd.concat(both)}


def data_of(page: str) -> dict:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(text)


def test_text_from_data_is_no_html():
    page = explorer_page(**frames(), source=EVIL)
    assert EVIL not in page and "<img" not in page
    assert page.count("</script>") == 2
    assert EVIL in data_of(page)["names"]


def test_only_ids_that_youtube_could_have_given_are_kept():
    ids = {"0001": "abcdefghij_", "0002": None, "0003": '"><script>', "none": "abcdefghijk"}
    data = data_of(explorer_page(**frames(), source="a", youtube_ids=ids))
    assert data["youtube"] == {"0001": "abcdefghij_"}


def test_the_committed_page_is_that_of_the_committed_measurements():
    results = ROOT / "data/results/yt8m/05_retrieval"
    found = [read_frame(results, name) for name in ("explored", "explored_neighbours")]
    page = explorer_page(*found, "YouTube-8M", open_gallery("yt8m-recipe").youtube)
    assert page == (ROOT / "figures/yt8m/explorer.html").read_text(encoding="utf-8")


@pytest.fixture
def opened(browser, tmp_path: Path) -> Iterator:
    """Give ``opened(page, **options)``: a tab; what it asked for and complained of is noted."""
    tabs = []

    def show(page: str, width: int = 1280, **options) -> SimpleNamespace:
        path = tmp_path / "explorer.html"
        path.write_text(page, encoding="utf-8")
        tab = browser.new_page(viewport={"width": width, "height": 800}, **options)
        noted = SimpleNamespace(tab=tab, asked=[], errors=[])
        tab.on("request", lambda request: noted.asked.append(request.url))
        tab.on("pageerror", lambda error: noted.errors.append(str(error)))
        tab.on("console", lambda said: said.type == "error" and noted.errors.append(said.text))
        tab.route("https://**", lambda route: route.fulfill(body="a player"))
        tab.goto(path.as_uri())
        tab.wait_for_selector("#found li")
        tab.wait_for_timeout(100)
        tabs.append(noted)
        return noted

    yield show
    for noted in tabs:
        assert not noted.errors
        noted.tab.close()


def ask(tab, clip: str) -> None:
    tab.fill("#word", clip)
    tab.press("#word", "Enter")


def found(tab, kind: str) -> list[str]:
    return tab.eval_on_selector_all(f"#found {kind}", "all => all.map(one => one.textContent)")


def place(tab, row: int, side: int) -> tuple[float, float]:
    """Return where a point is on the screen."""
    box = tab.locator("#map").bounding_box()
    x, y = tab.evaluate(f"[sx(point({row}, {side})), sy(point({row}, {side}))]")
    return box["x"] + x, box["y"] + y


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_it_opens_from_disk_asks_for_nothing_and_is_accessible(opened, width: int, scheme: str):
    seen = opened(explorer_page(**frames(), source="by hand"), width, color_scheme=scheme)
    assert len(seen.asked) == 1 and seen.asked[0].startswith("file:")
    assert seen.tab.evaluate("document.documentElement.scrollWidth") <= width
    seen.tab.fill("#word", "a")
    wrong = Axe().run(seen.tab).response["violations"]
    assert not [(one["id"], one["nodes"][0]["html"][:200]) for one in wrong]
    assert seen.tab.title() == "Explorer: by hand"


def test_an_id_is_searched_and_answered_both_ways(opened):
    tab = opened(explorer_page(**frames(), source="by hand")).tab
    ask(tab, "0009")
    assert "video of 0009: Guitar" in tab.inner_text("#query")
    assert found(tab, "code") == ["0010", "0011", "0009"] and found(tab, "strong") == ["Guitar"]
    assert "Its own sound is among the 3 nearest: its rank is 3 of 40" in tab.inner_text("#verdict")
    assert tab.inner_text("#found li:nth-child(3)").count("true match") == 1
    assert "0.90" in tab.inner_text("#found li:first-child")
    tab.locator("#ways label").nth(1).click()
    assert "sound of 0009: Guitar" in tab.inner_text("#query")
    assert "Its own video is among" in tab.inner_text("#verdict")
    ask(tab, "0007")
    assert "is not among the 3 nearest: its rank is 25.5 of 40" in tab.inner_text("#verdict")


def test_a_label_is_searched_and_shown_as_text(opened):
    seen = opened(explorer_page(**frames(), source="by hand"))
    tab = seen.tab
    tab.fill("#word", "onerror")
    assert f"Label {EVIL}: 13 clips" in tab.inner_text("#matches")
    tab.locator("#matches button").first.click()
    assert tab.locator("#matches li").count() == 13
    assert "video of 0002" in tab.inner_text("#query")
    assert "Save 13 clips shown" in tab.inner_text("#save-clips")
    assert tab.locator("#matches img, #found img").count() == 0 and tab.title() != "1"
    assert len(seen.asked) == 1


def test_hover_links_a_pair_and_a_click_asks(opened):
    tab = opened(explorer_page(**frames(), source="by hand")).tab
    painted = "over.getImageData(0, 0, 2000, 2000).data.reduce((a, b) => a + b, 0)"
    before = tab.evaluate(painted)
    tab.mouse.move(*place(tab, 12, 1))
    tab.wait_for_selector("#tip:not([hidden])")
    assert tab.inner_text("#tip") == "● sound of 0012: Guitar"
    assert tab.evaluate(painted) > before  # the line to its other half
    tab.mouse.click(*place(tab, 12, 1))
    assert "sound of 0012" in tab.inner_text("#query")
    assert tab.locator("#ways input").nth(1).is_checked()
    tab.locator("#found .item").nth(1).click()
    assert tab.locator("#found .item").nth(1).get_attribute("aria-pressed") == "true"
    tab.locator("#found .ask").nth(0).click()
    assert "video of 0013" in tab.inner_text("#query")


def test_wheel_zooms_where_it_stands_and_a_drag_moves(opened):
    tab = opened(explorer_page(**frames(), source="by hand")).tab
    x, y = place(tab, 12, 0)
    tab.mouse.move(x, y)
    tab.mouse.wheel(0, -400)
    tab.wait_for_timeout(300)  # for the next frame
    assert tab.evaluate("scale > 2 * fit")
    assert place(tab, 12, 0) == pytest.approx((x, y), abs=1)
    tab.mouse.down()
    tab.mouse.move(x + 50, y + 20)
    tab.mouse.up()
    assert place(tab, 12, 0) == pytest.approx((x + 50, y + 20), abs=1)
    tab.click("[aria-label='Show the whole map']")
    assert tab.evaluate("scale === fit")


def test_the_legend_filters(opened):
    tab = opened(explorer_page(**frames(), source="by hand")).tab
    button = tab.get_by_role("button", name="Cat 13")
    button.click()
    assert "Save 27 clips shown" in tab.inner_text("#save-clips")
    assert tab.evaluate("under(sx(13), sy(13), 2)") == -1  # a cat
    assert tab.evaluate("under(sx(12), sy(12), 2)") == 12
    tab.get_by_role("button", name="▲ visual").click()
    assert tab.evaluate("under(sx(12), sy(12), 2)") == -1


def test_the_keyboard_alone_will_do(opened):
    tab = opened(explorer_page(**frames(), source="by hand")).tab
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "map"
    start = int(re.search(r"of (\d+)", tab.inner_text("#query"))[1])
    tab.keyboard.press("ArrowRight")
    tab.wait_for_selector("#tip:not([hidden])")
    assert f"video of {start + 1:04}" in tab.inner_text("#said")
    tab.keyboard.press("Enter")
    assert f"video of {start + 1:04}" in tab.inner_text("#query")
    tab.keyboard.press("ArrowUp")
    tab.keyboard.press("Enter")
    assert f"sound of {start + 1:04}" in tab.inner_text("#query")
    tab.keyboard.press("+")
    assert tab.evaluate("scale") == pytest.approx(1.5 * tab.evaluate("fit"))
    tab.keyboard.press("0")
    for _ in range(40):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.id") == "word":
            break
    tab.keyboard.type("Guitar")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    assert tab.inner_text("#unlabel") == "Only Guitar ✕"


def test_what_is_found_and_what_is_shown_is_saved(opened):
    tab = opened(explorer_page(**frames(("=1+1", 'a "b", c', "Cat")), source="by hand")).tab
    ask(tab, "0009")
    with tab.expect_download() as saved:
        tab.click("#save-results")
    assert saved.value.suggested_filename == "results_0009.csv"
    rows = list(csv.DictReader(saved.value.path().read_text().splitlines()))
    assert [row["item"] for row in rows] == ["0010", "0011", "0009"]
    assert rows[0]["item_labels"] == 'a "b", c'
    assert rows[0]["query_labels"] == "'=1+1"  # no formula
    assert float(rows[0]["cosine"]) == pytest.approx(0.9, abs=1e-4)
    assert [row["own"] for row in rows] == ["false", "false", "true"]
    with tab.expect_download() as saved:
        tab.click("#save-clips")
    rows = list(csv.DictReader(saved.value.path().read_text().splitlines()))
    assert len(rows) == 40 and float(rows[7]["rank audio→video"]) == 25.5


def test_youtube_is_asked_only_when_the_reader_allows_it(opened, tmp_path: Path):
    seen = opened(explorer_page(**frames(), source="by hand"))
    tab, file = seen.tab, tmp_path / "youtube_ids.csv"
    assert tab.is_disabled("#allow")  # until a file of the reader says which videos there are
    file.write_text("id,youtube_id\n0009,abcdefgh_09\n0010,abcdefgh_10\n0011,<b>\n0012,\n")
    tab.set_input_files("#ids", file)
    tab.wait_for_selector("#allow:enabled")
    assert tab.evaluate("[...youtube.keys()]") == ["0009", "0010"]
    ask(tab, "0009")
    assert len(seen.asked) == 1
    tab.check("#allow")
    sources = tab.eval_on_selector_all("#players iframe", "all => all.map(one => one.src)")
    address = "https://www.youtube-nocookie.com/embed/"
    assert sources == [f"{address}abcdefgh_09?mute=1", f"{address}abcdefgh_10?mute=0"]
    tab.wait_for_timeout(200)
    assert set(seen.asked[1:]) == set(sources)
    tab.uncheck("#allow")
    assert tab.locator("#players iframe").count() == 0


def test_files_of_ones_own_are_shown_beside_the_page(opened, tmp_path: Path):
    (tmp_path / "of mine").mkdir()
    imsave(tmp_path / "of mine" / "a#1.png", np.zeros((4, 4, 3)))
    with wave.open(str(tmp_path / "of mine" / "b.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(8000))
    media = {"0009": {"picture": "of mine/a#1.png"}, "0010": {"sound": "of mine/b.wav"}}
    tab = opened(explorer_page(**frames(), source="by hand", media=media)).tab
    ask(tab, "0009")
    expect(tab.locator("#players img")).to_have_js_property("naturalWidth", 4, timeout=30_000)
    expect(tab.locator("#players audio")).to_have_js_property("duration", 0.5, timeout=30_000)
    assert tab.is_hidden("#youtube")
    tab.locator("#found .item").nth(1).click()
    assert "No file is named for it" in tab.inner_text("#players")
