"""The figures of the committed measurements: readable and true."""

from collections.abc import Callable
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from xmodal_suite import figures
from xmodal_suite.figures import style

ROOT = Path(__file__).resolve().parents[2]
SOURCE = "YouTube-8M, $5_a$"
TEXTS = ["clip", "query_id", "match_id", "query_labels", "match_labels"]


def read(path: str) -> pd.DataFrame:
    frame = pd.read_csv(ROOT / path, dtype=dict.fromkeys(TEXTS, str))
    return frame.fillna({name: "" for name in TEXTS if name in frame})


def measured(path: str) -> pd.DataFrame:
    return read(f"data/results/yt8m/{path}.csv")


def readings() -> pd.DataFrame:
    return pd.concat([read("figures/yt8m/table1.csv"), read("figures/yt8m/table2.csv")])


def with_published(ours: pd.DataFrame) -> pd.DataFrame:
    paper = readings().query("reading == 'published'")
    return pd.concat([paper.rename(columns={"row": "gallery", "reading": "model"}), ours])


def methods() -> pd.DataFrame:
    return with_published(read("figures/yt8m/beyond.csv")).query("gallery == 1024")


def study(name: str) -> pd.DataFrame:
    runs = read("figures/yt8m/study_runs.csv").query("study == @name")
    return runs[runs["measure"].str.startswith("R@1,")]


def learning() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return all runs of both studies as points, and a power law through those of each."""
    points = pd.concat([study("paper"), study("recipe")]).rename(columns={"study": "method"})
    points = points[points["measure"] == "R@1, N = 1,024"]
    lines = []
    for method, runs in points.groupby("method"):
        slope, level = np.polyfit(np.log(runs["clips"]), np.log(runs["recall"]), 1)
        clips = np.geomspace(runs["clips"].min(), 4e6, 60)
        recall = np.exp(level) * clips**slope
        line = {"method": method, "clips": clips, "recall": recall}
        lines.append(pd.DataFrame({**line, "low": recall / 2, "high": recall * 2}))
    return points, pd.concat(lines)


FIGURES: dict[str, Callable[[], Figure]] = {
    "architecture": figures.architecture,
    "beyond_changes": lambda: figures.study_rows(study("recipe")),
    "categories": lambda: figures.categories(measured("06_beyond/categories")),
    "correlations": lambda: figures.correlations(measured("01_data/components")),
    "feature_norms": lambda: figures.feature_norms(*measured("01_data/norms").to_numpy().T),
    "label_frequencies": lambda: figures.label_frequencies(
        measured("01_data/labels"), measured("01_data/labels_per_clip")
    ),
    "learning": lambda: figures.learning_curve(*learning(), ("published, N = 1,024", 10.0)),
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
    "spaces": lambda: figures.spaces(measured("04_umap/points")),
    "training_curve": lambda: figures.training_curves(measured("02_train/history"), 250, 256),
    "training_curves": lambda: figures.training_curves(measured("03_recall/history"), 10_000, 256),
    "umap": lambda: figures.umap(measured("04_umap/points")),
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


def markers(axis: Axes) -> dict[str, np.ndarray]:
    return {line.get_marker(): line.get_xydata() for line in axis.lines if len(line.get_xdata())}


@pytest.mark.parametrize("name", FIGURES)
def test_every_text_is_readable_inside_the_page_and_clear_of_the_others(name: str):
    figure, texts = drawn(name), written(drawn(name))
    page = figure.bbox.padded(0.5)
    assert SOURCE in {text.get_text() for text in texts if not text.get_parse_math()}
    for text in texts:
        assert 7 <= text.get_fontsize() <= 9 and text.get_fontname() == "DejaVu Sans", text
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


def test_intervals_reach_from_low_to_high():
    rows = readings().query("direction == 'audio→video' and k == 1")
    rows = rows[rows["reading"].isin(["published", "rows are galleries"])]
    axis = figures.recall_readings(rows).axes[0]
    seen, ours = markers(axis), rows[rows["reading"] != "published"]
    np.testing.assert_allclose(seen["D"][:, 1], [-0.3, 0.7, 1.7])
    np.testing.assert_allclose(seen["o"][:, 0], ours["recall"])
    intervals = np.array(axis.collections[-1].get_segments())[:, :, 0]
    np.testing.assert_allclose(intervals, ours[["low", "high"]])


def test_a_study_shows_every_run_its_mean_and_standard_deviation():
    frame = pd.DataFrame({"change": ["text"] * 3 + ["wide"], "seed": [0, 1, 2, 0]})
    frame["measure"] = "R@1"
    axis = figures.study_rows(frame.assign(recall=[1, 2, 3, 7])).axes[0]
    assert markers(axis)["|"].tolist() == [[2, 0], [7, 1]]
    assert markers(axis)["."].tolist() == [[1, 0], [2, 0], [3, 0], [7, 1]]
    (bars,) = [lines for lines in axis.collections if lines.get_linewidth() == 5]
    np.testing.assert_allclose(bars.get_segments()[0], [[1, 0], [3, 0]])  # 2 ± 1
    assert [line.get_xdata() for line in axis.lines if line.is_dashed()] == [[2, 2]]


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
        lines = figures.umap(frame, linked=5, seed=seed).axes[1].collections[-3]
        return np.array(lines.get_segments())

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
    seen = {text.get_text(): text.get_position() for text in figures.umap(apart, 3).axes[0].texts}
    assert seen == {name: pytest.approx((place[name],) * 2, abs=0.1) for name in seen}
    assert len(seen) == 3 and "other" not in seen
    crowded = figures.umap(frame.assign(x=0.0, y=0.0)).axes[0].texts
    boxes = [Text.get_window_extent(text).padded(-1) for text in crowded]
    assert len(boxes) == 8 and not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_cards_put_shared_labels_first_and_bold_and_count_those_without_room():
    wide = "; ".join(letter * 25 for letter in "MWMW")
    frame = measured("05_retrieval/examples").query("direction == 'video→audio'").iloc[:1]
    frame = frame.assign(query_labels="a; b; c", match_labels="z; c; a", own=False)
    texts = figures.retrieval(frame).axes[0].texts
    shown = [text for text in texts if text.get_text().strip(",") in set("abcz")]
    assert [text.get_text() for text in shown] == ["a,", "b,", "c", "c,", "a,", "z"]
    assert [text.get_weight() for text in shown] == [*["normal"] * 3, "bold", "bold", "normal"]
    full = figures.retrieval(frame.assign(query_labels=wide, match_labels=wide))
    assert [text for text in words(full) if text.startswith("+")] == ["+2", "+2"]
