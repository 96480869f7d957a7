"""The figures of the committed measurements: readable and true."""

import re
from collections.abc import Callable
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager, get_font
from matplotlib.text import Text

from xmodal_suite import figures, scaling
from xmodal_suite.figures import style
from xmodal_suite.kept import read_frame
from xmodal_suite.profile import read_profile
from xmodal_suite.published import READINGS, with_published
from xmodal_suite.study import named_recalls

ROOT = Path(__file__).resolve().parents[2]
SOURCE = "YouTube-8M, $5_a$"


def read(path: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / path)


def measured(path: str) -> pd.DataFrame:
    folder, name = path.split("/")
    return read_frame(ROOT / "data/results/yt8m" / folder, name)


def readings() -> pd.DataFrame:
    return pd.concat([read("figures/yt8m/table1.csv"), read("figures/yt8m/table2.csv")])


def methods() -> pd.DataFrame:
    return with_published(read("figures/yt8m/beyond.csv")).query("gallery == 1024")


def study(name: str) -> pd.DataFrame:
    runs, studies = measured("07_study/runs"), read_profile(ROOT / "profiles/yt8m.yaml").studies
    recalls = named_recalls(runs[runs["study"] == name], studies[name], 1024)
    return recalls[recalls["measure"].str.startswith("R@1,")]


def learning() -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, float] | None]:
    recalls = study("paper"), study("recipe")
    points = scaling.learning_points(recalls, measured("07_study/closed_forms"), 1024)
    return points, scaling.continued(points), scaling.published_level(1024)


def cosines() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the cosines of twelve clips by two models, and their names."""
    found = measured("06_beyond/similarity")
    paper, recipe = (found[name].to_numpy().reshape(12, 12) for name in found.columns[2:])
    return paper, recipe, found["video"].unique().tolist()


FIGURES: dict[str, Callable[[], Figure]] = {
    "architecture": figures.architecture,
    "beyond_changes": lambda: figures.study_rows(study("recipe")),
    "categories": lambda: figures.categories(measured("06_beyond/categories")),
    "circles": lambda: figures.circles(measured("02_train/circles")),
    "correlations": lambda: figures.correlations(measured("01_data/components")),
    "feature_norms": lambda: figures.feature_norms(*measured("01_data/norms").to_numpy().T),
    "label_frequencies": lambda: figures.label_frequencies(
        measured("01_data/labels"), measured("01_data/labels_per_clip")
    ),
    "learning": lambda: figures.learning_curve(*learning()),
    "methods": lambda: figures.methods(methods()),
    "own_methods": lambda: figures.methods(
        read("figures/media/own_recall.csv").query("gallery == gallery.min()")
    ),
    "paper_changes": lambda: figures.study_rows(study("paper")),
    "plain_curve": lambda: figures.plain_curve(measured("02_train/plain")),
    "recall_against_gallery": lambda: figures.recall_against_gallery(
        with_published(read("figures/yt8m/recall.csv").assign(model="dimension 250"))
    ),
    "recall_law": lambda: figures.recall_law(readings(), 6000),
    "recall_readings": lambda: figures.recall_readings(readings()),
    "retrieval": lambda: figures.retrieval(measured("05_retrieval/examples")),
    "similarity": lambda: figures.similarity(*cosines()),
    "spaces": lambda: figures.spaces(measured("04_umap/points")),
    "training_curve": lambda: figures.training_curves(measured("02_train/history"), 250, 256),
    "umap": lambda: figures.umap(measured("04_umap/points"), measured("04_umap/distances")),
}


@cache
def drawn(name: str) -> Figure:
    """Return a figure, signed, and drawn once for all tests."""
    figure = FIGURES[name]()
    style.settle(figure)
    style.sign(figure, SOURCE)
    return figure


def written(figure: Figure) -> set[Text]:
    """Draw a figure; return the texts that are seen."""
    seen, draw = set(), Text.draw
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", lambda text, renderer: (seen.add(text), draw(text, renderer)))
        figure.draw_without_rendering()
    return {text for text in seen if text.get_visible() and text.get_text()}


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in written(figure)]


@pytest.mark.parametrize("name", FIGURES)
def test_every_text_is_readable_inside_the_page_and_clear_of_the_others(name: str):
    figure, texts = drawn(name), written(drawn(name))
    page = figure.bbox.padded(0.5)
    assert SOURCE in {text.get_text() for text in texts if not text.get_parse_math()}
    for text in texts:
        assert 9 <= text.get_fontsize() <= 10 and text.get_fontname() == "DejaVu Sans", text
        box = Text.get_window_extent(text)  # of the words alone, without a leader line
        assert page.x0 <= box.x0 and box.x1 <= page.x1, text
        assert page.y0 <= box.y0 and box.y1 <= page.y1, text
    boxes = [(Text.get_window_extent(text).padded(-1), text.get_text()) for text in texts]
    for (box, text), (other_box, other) in combinations(boxes, 2):
        assert not box.overlaps(other_box), (text, other)


def test_clips_without_labels_are_no_fault():
    none, per_clip = measured("06_beyond/categories")[:0], measured("01_data/labels_per_clip")
    for figure in (figures.categories(none), figures.label_frequencies(none, per_clip)):
        assert "No clip has a label." in words(figure)


def test_the_spectrum_ends_with_all_variance_in_any_order():
    values = {"canonical": [0.5], "visual": [1, 3], "audio": [0, 1, 0, 0]}
    parts = [pd.DataFrame({"kind": kind, "value": value}) for kind, value in values.items()]
    figure = figures.correlations(pd.concat(parts))
    curves = {line.get_label(): line.get_xydata() for line in figure.axes[1].lines}
    np.testing.assert_allclose(curves["visual (2 dimensions)"], [[0, 0], [50, 75], [100, 100]])
    np.testing.assert_allclose(curves["audio (4 dimensions)"][1], [25, 100])


def test_readings_are_means_of_both_directions_from_row_to_row():
    axis = figures.recall_readings(readings()).axes[0]
    means = readings().query("k == 1").groupby(["reading", "row"])["recall"].mean()
    for line, reading in zip(axis.lines, ["published", *READINGS], strict=True):
        np.testing.assert_allclose(line.get_ydata(), means[reading])
    assert {"256", "512", "1,024"} <= set(words(axis.figure))


def test_methods_are_bars_beside_the_published_level():
    figure = figures.methods(methods())
    names = methods()["model"][methods()["model"] != "published"].unique()
    first = methods().query("k == 1").groupby("model")["recall"].mean()
    bars = [bar.get_width() for bar in figure.axes[0].patches if bar.get_height() == 0.62]
    np.testing.assert_allclose(bars, first[names])
    assert words(figure).count("published") == 3
    assert f"{(first[names] > first['published']).sum()} of {len(names)}" in figure.get_suptitle()


def test_a_study_shows_the_difference_of_every_run_from_the_first_row():
    changes = ["text"] * 3 + ["Size: wide", "Size: long", "alone"]
    frame = pd.DataFrame({"change": changes, "measure": "R@1, N = 8", "recall": [1, 2, 3, 7, 8, 3]})
    figure = figures.study_rows(frame)
    axis = figure.axes[0]
    labels = [text.get_text() for text in axis.get_yticklabels()]
    assert labels == ["Size", "long", "wide", "", "alone"]  # under headings, the largest on top
    means = [tuple(line.get_xydata()[0]) for line in axis.lines if line.get_marker() == "|"]
    assert means == [(6, 1), (5, 2), (1, 4)]
    assert axis.patches[0].get_x() == -2  # two standard deviations
    assert {"+6.0", "+1.0"} <= set(words(figure)) and "1 of 3" in figure.get_suptitle()


def test_a_method_has_one_colour_in_every_figure():
    names = pd.Series(["x", "the paper's method", "recipe with kernel CCA", "kernel CCA", "y"])
    colours = [look["color"] for look in style.looks(names).values()]
    assert colours[1:4] == [style.METHODS[name] for name in ("paper", "recipe", "kernel CCA")]
    taken = {*style.METHODS.values(), *(look["color"] for look in style.MODALITIES.values())}
    assert len(set(colours)) == 5 and not {colours[0], colours[4]} & taken


def test_cosines_of_a_few_clips_outline_the_matches():
    figure = figures.similarity(*cosines())
    found = [(some.argmax(axis=1) == np.arange(12)).sum() for some in cosines()[:2]]
    assert [int(n) for n in re.findall(r"\d+", figure.get_suptitle())] == [12, *found]
    for axis, expected in zip(figure.axes, cosines()[:2], strict=False):
        np.testing.assert_allclose(axis.images[0].get_array(), expected)
        assert [patch.get_xy() for patch in axis.patches] == [(n - 0.5, n - 0.5) for n in range(12)]


def test_a_learning_curve_is_solid_as_far_as_clips_were_measured():
    points = pd.DataFrame({"method": "a", "clips": [100, 4000], "recall": [1.0, 40.0]})
    lines = pd.DataFrame({"method": "a", "clips": [100.0, 10_000.0], "recall": [1.0, 100.0]})
    figure = figures.learning_curve(points, lines.assign(low=1e-9, high=1e9), ("far", 0.2))
    solid, dashed = figure.axes[0].lines[:2]
    # recall = clips / 100: a straight line on these axes, so also between the two given
    np.testing.assert_allclose(solid.get_xydata(), [[100, 1], [4000, 40]])
    np.testing.assert_allclose(dashed.get_xydata(), [[4000, 40], [10_000, 100]])
    low, high = figure.axes[0].get_ylim()
    assert 0.1 < low < 0.2 and high == 100 and dashed.is_dashed()


def some_points(clips: int) -> pd.DataFrame:
    frame = measured("04_umap/points").query("map == 'after training'")
    return frame[frame["clip"].isin(frame["clip"].unique()[:clips])].reset_index(drop=True)


def test_the_map_links_a_seeded_choice_of_pairs():
    frame = some_points(200)

    def links(frame: pd.DataFrame, seed: int = 0) -> np.ndarray:
        figure = figures.umap(frame, measured("04_umap/distances"), linked=5, seed=seed)
        return np.array(figure.axes[1].collections[-3].get_segments())

    clip = {(x, y): clip for x, y, clip in frame[["x", "y", "clip"]].to_numpy()}
    linked = links(frame)
    assert len(linked) == 5
    assert all(clip[tuple(start)] == clip[tuple(end)] for start, end in linked)
    # The order of the rows is not part of the data.
    np.testing.assert_array_equal(links(frame.sample(frac=1, random_state=1)), linked)
    assert not np.array_equal(links(frame, seed=1), linked)


def test_labels_are_written_on_the_middle_of_their_points_and_apart():
    frame = some_points(200)
    place = {name: 9.0 * number for number, name in enumerate(frame["label"].unique())}
    apart = frame.assign(x=frame["label"].map(place), y=frame["label"].map(place))
    texts = figures.umap(apart, measured("04_umap/distances"), 3).axes[0].texts
    seen = {text.get_text(): text.get_position() for text in texts}
    assert seen == {name: pytest.approx((place[name],) * 2, abs=0.1) for name in seen}
    assert len(seen) == 3 and "other" not in seen
    crowded = figures.umap(frame.assign(x=0.0, y=0.0), measured("04_umap/distances")).axes[0].texts
    boxes = [Text.get_window_extent(text).padded(-1) for text in crowded]
    assert len(boxes) == 8 and not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_cards_put_shared_labels_first_and_bold():
    frame = measured("05_retrieval/examples").query("direction == 'video→audio'").iloc[:1]
    frame = frame.assign(
        own=False, query_labels=[["a", "b; e", "c"]], match_labels=[["z", "c", "a"]]
    )
    texts = {text.get_text(): text.get_weight() for text in figures.retrieval(frame).axes[0].texts}
    assert (texts["a, b; e, c"], texts["c, a"], texts["z"]) == ("normal", "bold", "normal")
    long = [[letter * 25 for letter in "MWM"]]
    figure = figures.retrieval(frame.assign(match_labels=long))
    assert any(text.endswith("…") for text in words(figure))


def test_other_fonts_draw_what_the_house_lacks_and_what_none_has_is_said_once(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    shipped = [font for font in fontManager.ttflist if "mpl-data" in font.fname]
    monkeypatch.setattr(fontManager, "ttflist", shipped)  # they lack Chinese
    style._fonts.cache_clear()
    for _ in range(2):
        texts = [Figure().text(0, 0, words) for words in ("\u23df", "\u5409\u4ed6", "Guitar")]
        style.cover(texts)
        (other,) = texts[0].get_fontfamily()[1:]
        assert get_font(findfont(other)).get_char_index(0x23DF)
    style._fonts.cache_clear()
    told = capsys.readouterr().err
    assert told.count("\u5409") == told.count("\u4ed6") == 1 and "\u23df" not in told
