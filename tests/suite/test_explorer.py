"""The explorer: what the page holds, and what a reader can do with it in a real browser."""

import csv
import json
import re
import sys
import wave
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from by_hand import incidence
from matplotlib.image import imsave
from playwright.sync_api import expect

from xmodal import explorer
from xmodal.config import InputError
from xmodal.model import Embeddings
from xmodal.search import Gallery

DIRECTIONS = ["audio→video", "video→audio"]
EVIL = '</script><img src="https://example.org/x" onerror="document.title=1">'
K = 3


def space(
    labels: tuple[Any, ...] = ("Guitar", "Cat", EVIL), clips: int = 40, k: int = K
) -> explorer.Space:
    """Place clip i at x = i, its sound right above it; each finds i + 1, …, i + k − 1, and i.

    Clip i carries label i % 3, of which the first two are frequent. Every seventh of the clips does
    not find its own.
    """
    rows = np.arange(clips)
    lost = rows % 7 == 0
    carried = [[*np.atleast_1d(labels[row % 3])] for row in rows]
    points = pd.DataFrame({"clip": [f"{row:04}" for row in rows], "labels": carried})
    points["label"] = points["labels"].str[0].where(rows % 3 < 2, "other")
    points = points.assign(visual_x=rows, visual_y=0.0, audio_x=rows, audio_y=20.0, cosine=0.5)
    points = points.assign(**dict.fromkeys(DIRECTIONS, np.where(lost, 25.5, k)))
    found = np.stack([*(rows + step for step in range(1, k)), rows + k * lost], axis=1) % clips
    lines = {"query": np.repeat(rows, k), "rank": np.tile(range(1, k + 1), clips)}
    lines |= {
        "item": found.ravel().astype(np.int16 if clips < 2**15 else int),
        "cosine": np.tile(np.linspace(0.9, 0.5, k), clips),
    }
    both = [pd.DataFrame({"direction": direction, **lines}) for direction in DIRECTIONS]
    return explorer.Space(points, pd.concat(both))


def page_of(*given, source: str = "by hand", **options) -> str:
    return explorer.render_page({"first": space(*given)}, source, **options)


def data_of(page: str) -> dict:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(text)


def until(tab: Any, condition: str) -> None:
    """Wait for a condition; the page lets nothing be evaluated by itself."""
    for _ in range(200):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(condition)


def test_text_from_data_is_no_html():
    page = page_of(source=EVIL)
    assert EVIL not in page and "<img" not in page
    assert page.count("</script>") == 2
    assert EVIL in data_of(page)["names"]


def test_only_ids_that_youtube_could_have_given_are_kept():
    ids = {"0001": "abcdefghij_", "0002": None, "0003": '"><script>', "none": "abcdefghijk"}
    data = data_of(page_of(youtube_ids=ids))
    assert data["youtube"] == {"0001": "abcdefghij_"}


def test_ids_of_freebase_are_not_shown_and_other_names_are_whole():
    data = data_of(page_of((["/m/04rlf", "Guitar; bass"], "/m/01jddz", "Cat")))
    assert data["names"] == ["Cat", "Guitar; bass"] and not any(
        "/m/" in name for name in data["legend"]
    )


def test_without_umap_the_map_has_the_first_principal_components(monkeypatch: pytest.MonkeyPatch):
    """The vectors lie on a line through (0, 3, 4) · t / 5, but for a little of x."""
    monkeypatch.setitem(sys.modules, "umap", None)
    along = torch.tensor([-2.0, -1.0, 1.0, 2.0])
    aside = torch.tensor([0.1, -0.2, 0.2, -0.1])
    vectors = torch.stack([aside, 0.6 * along, 0.8 * along], dim=1)
    plane = explorer.layout(Embeddings(vectors[:2], vectors[2:]))
    signs = np.sign(plane[3])  # those of a component are free
    np.testing.assert_allclose(plane * signs, np.stack([along, -aside], axis=1), atol=0.01)


def test_a_page_of_an_index_by_hand(
    call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """A second run with the same clips stands beside it; a clip that lacks a modality is left out.

    In the first, video a is nearest to sound b, and video b to sound a; in the second to their own.
    """
    eye, none = np.eye(4, dtype=np.float32)[:3], np.zeros(3, np.float32)
    one = np.stack([eye[0, :3], eye[1, :3], none]), eye[[1, 0, 2], :3]
    two = eye[[2, 1, 0], :3], eye[[2, 1, 0], :3]
    labels = incidence([[0], [], [0]], 1)
    galleries = {
        "one": Gallery(one, np.array(["a", "b", "c"]), labels, ["Cat"]),
        "two": Gallery(two, np.array(["c", "b", "a"]), labels, ["Cat"]),
        "other": Gallery(two, np.array(["x", "y", "a"]), labels, ["Cat"]),
    }
    monkeypatch.setattr(explorer, "open_gallery", galleries.__getitem__)
    monkeypatch.setitem(sys.modules, "umap", None)
    status, out, _ = call("explorer", "one", "--beside", "two", "-k", 2, "-o", tmp_path / "p.html")
    data = data_of((tmp_path / "p.html").read_text(encoding="utf-8"))
    assert status == 0 and "p.html" in out
    assert data["ids"] == ["a", "b"] and data["labels"] == [[0], []]
    near = [b64decode(one["near"]["video→audio"]) for one in data["spaces"]]
    assert [np.frombuffer(items, "<u2").tolist() for items in near] == [[1, 0, 0, 1], [0, 1, 1, 0]]
    with pytest.raises(InputError, match="fewer than two"):
        explorer.write_page(explorer.ExplorerConfig(run="one", beside="other"))


@pytest.fixture
def opened(browser, tmp_path: Path) -> Iterator:
    """Give ``opened(page, **options)``: a tab; what it asked for and complained of is noted."""
    tabs = []

    def show(page: str, width: int = 1280, asked: str = "", **options) -> SimpleNamespace:
        path = tmp_path / "explorer.html"
        path.write_text(page, encoding="utf-8")
        tab = browser.new_page(viewport={"width": width, "height": 800}, **options)
        noted = SimpleNamespace(tab=tab, asked=[], errors=[])
        tab.on("request", lambda request: noted.asked.append(request.url))
        tab.on("pageerror", lambda error: noted.errors.append(str(error)))
        tab.on("console", lambda said: said.type == "error" and noted.errors.append(said.text))
        tab.route(re.compile("^https:"), lambda route: route.fulfill(body="a player"))
        tab.goto(path.as_uri() + asked)
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
    seen = opened(page_of(), width, color_scheme=scheme)
    assert len(seen.asked) == 1 and seen.asked[0].startswith("file:")
    assert seen.tab.evaluate("document.documentElement.scrollWidth") <= width
    seen.tab.fill("#word", "a")
    wrong = Axe().run(seen.tab).response["violations"]
    assert not [(one["id"], one["nodes"][0]["html"][:200]) for one in wrong]
    assert seen.tab.title() == "Explorer: by hand"


def test_an_id_is_searched_and_answered_both_ways(opened):
    tab = opened(page_of()).tab
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


def test_a_row_beyond_two_bytes_is_found(opened):
    tab = opened(page_of(("Guitar", "Cat", "Flute"), 66_000, 2), asked="#clip=65993").tab
    assert found(tab, "code") == ["65994", "65993"]


def test_a_label_is_searched_and_shown_as_text(opened):
    seen = opened(page_of())
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
    tab = opened(page_of()).tab
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
    tab = opened(page_of()).tab
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


def test_names_stand_over_what_is_shown_and_more_appear_with_zoom(opened):
    tab = opened(page_of(("Guitar", "Cat", "Flute"), 400)).tab
    sides = "[...new Set((spots ?? []).map(({ p }) => sideOf(p)))].toSorted()"
    until(tab, f"{sides}.join() === '0,1'")  # names are placed when the map is drawn
    before = tab.evaluate("spots.length")
    tab.get_by_role("button", name="▲ visual").click()
    until(tab, f"{sides}.join() === '1'")
    tab.evaluate("zoom(4)")
    until(tab, f"spots?.length > {before}")
    names = tab.evaluate("placeNames()")
    assert {words for words, *_ in names} <= {"Guitar", "Cat", "Flute"} and len(names) > 1
    tab.evaluate("zoom(1e9)")
    assert tab.evaluate("scale / fit") == 60


def test_what_is_drawn_around_is_selected_listed_counted_and_saved(opened):
    tab = opened(page_of()).tab
    (left, y), (right, _) = place(tab, 6, 0), place(tab, 10, 0)
    tab.click("#lasso")
    tab.mouse.move(left - 5, y - 20)
    tab.mouse.down()
    for corner in ((right + 5, y - 20), (right + 5, y + 20), (left - 5, y + 20)):
        tab.mouse.move(*corner)
    tab.mouse.up()
    assert "▲ 5, ● 0" in tab.inner_text("#unpick")
    counts = ["Label Cat: 2 clips", "Label Guitar: 2 clips", f"Label {EVIL}: 1 clip"]
    listed = tab.locator("#matches li").all_inner_texts()
    assert sorted(listed[:3]) == sorted(counts) and [one[:4] for one in listed[3:]] == [
        f"{row:04}" for row in range(6, 11)
    ]
    assert "3 labels" in tab.inner_text("#count")
    with tab.expect_download() as saved:
        tab.click("#save-clips")
    rows = csv.DictReader(saved.value.path().read_text().splitlines())
    assert [row["clip"] for row in rows] == [f"{row:04}" for row in range(6, 11)]
    tab.locator("#map").focus()
    tab.keyboard.press("Escape")
    assert tab.is_hidden("#unpick")
    tab.keyboard.press("s")
    assert "▲ 40, ● 40" in tab.inner_text("#unpick")


def test_an_address_names_the_query_and_the_back_button_returns(opened):
    tab = opened(page_of(), asked="#clip=0012&way=audio-to-video").tab
    assert "sound of 0012" in tab.inner_text("#query")
    ask(tab, "0009")
    tab.locator("#ways label").nth(0).click()
    assert tab.evaluate("location.hash") == "#clip=0009&way=video-to-audio"
    tab.go_back()
    until(tab, "document.querySelector('#query').innerText.includes('sound of 0009')")
    tab.go_back()
    until(tab, "document.querySelector('#query').innerText.includes('sound of 0012')")
    tab.go_forward()
    tab.reload()
    assert "sound of 0009" in tab.inner_text("#query")


def test_more_results_are_listed_and_filtered_and_the_focus_stays(opened):
    tab = opened(page_of(("Guitar", "Cat", "Flute"), 40, 12)).tab
    ask(tab, "0009")
    assert len(found(tab, "li")) == 10
    tab.click("#more")
    assert found(tab, "code") == [f"{row:04}" for row in [*range(10, 21), 9]]
    focused = "document.activeElement.innerText"
    assert tab.evaluate(focused).startswith("11") and tab.is_hidden("#more")
    tab.keyboard.press("Enter")
    assert tab.evaluate(focused).startswith("11") and tab.evaluate("chosen") == 10
    tab.fill("#sift", "cat 1")
    assert found(tab, "code") == ["0010", "0013", "0016", "0019"]
    assert "4 of the 12" in tab.inner_text("#sifted")
    tab.get_by_role("button", name="Cat", exact=True).first.click()
    assert tab.evaluate(focused) == "Only Cat ✕" and "video of 0009" in tab.inner_text("#query")
    tab.fill("#word", "00 cat 22")
    assert tab.inner_text("#matches").startswith("0022") and "1 clip" in tab.inner_text("#count")


def test_a_switch_changes_the_model(opened):
    first = space()
    item = (first.neighbours["item"] + 5) % 40
    second = first._replace(neighbours=first.neighbours.assign(item=item))
    tab = opened(explorer.render_page({"recipe": first, "paper": second}, "by hand")).tab
    ask(tab, "0009")
    tab.get_by_text("paper").click()
    assert found(tab, "code") == ["0015", "0016", "0014"]
    tab.reload()
    assert found(tab, "code") == ["0015", "0016", "0014"]
    tab.get_by_text("recipe").click()
    assert found(tab, "code") == ["0010", "0011", "0009"]


def test_on_a_phone_a_tap_names_a_point_and_a_finger_scrolls_past_the_map(opened):
    tab = opened(page_of(), 390, has_touch=True, is_mobile=True).tab
    until(tab, "spots")  # the map is drawn
    tab.touchscreen.tap(*place(tab, 12, 1))
    for place_of_words in ("#query", "#tip"):
        expect(tab.locator(place_of_words)).to_contain_text("sound of 0012")
    x, y = place(tab, 12, 1)
    finger = tab.context.new_cdp_session(tab)
    for kind, by in (("Start", 0), *(("Move", 10 * by) for by in range(1, 20)), ("End", 0)):
        points = [{"x": x, "y": y - by}] if kind != "End" else []
        finger.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
    until(tab, "scrollY > 100")
    tab.get_by_role("button", name="Results", exact=True).click()
    expect(tab.locator("#found li").first).to_be_in_viewport()
    assert tab.evaluate("document.activeElement.id") == "found-title"


def test_the_legend_filters(opened):
    tab = opened(page_of()).tab
    button = tab.get_by_role("button", name="Cat 13")
    button.click()
    assert "Save 27 clips shown" in tab.inner_text("#save-clips")
    assert tab.evaluate("under(sx(13), sy(13), 2)") == -1  # a cat
    assert tab.evaluate("under(sx(12), sy(12), 2)") == 12
    tab.get_by_role("button", name="▲ visual").click()
    assert tab.evaluate("under(sx(12), sy(12), 2)") == -1


def test_the_keyboard_alone_will_do(opened):
    tab = opened(page_of()).tab
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
    tab = opened(page_of(("=1+1", 'a "b", c', "Cat"))).tab
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
    seen = opened(page_of())
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
    pictures = {f"https://i.ytimg.com/vi/abcdefgh_{row}/mqdefault.jpg" for row in ("09", "10")}
    assert set(seen.asked[1:]) == {*sources, *pictures}
    tab.uncheck("#allow")
    assert tab.locator("#players iframe").count() == 0


def test_files_of_ones_own_are_shown_beside_the_page(opened, tmp_path: Path):
    (tmp_path / "of mine").mkdir()
    imsave(tmp_path / "of mine" / "a#1.png", np.zeros((4, 4, 3)))
    with wave.open(str(tmp_path / "of mine" / "b.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(8000))
    media = {"0009": {"picture": "of mine/a#1.png"}, "0010": {"sound": "of mine/b.wav"}}
    tab = opened(page_of(media=media)).tab
    ask(tab, "0009")
    expect(tab.locator("#players img")).to_have_js_property("naturalWidth", 4, timeout=30_000)
    expect(tab.locator("#players audio")).to_have_js_property("duration", 0.5, timeout=30_000)
    assert tab.is_hidden("#youtube")
    tab.locator("#found .item").nth(1).click()
    assert "No file is named for it" in tab.inner_text("#players")
