"""Every figure on ordinary, smallest and odd input: drawn whole, readable, its source named."""

from itertools import combinations

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text

from xmodal.config import InputError
from xmodal_suite import figures as plots
from xmodal_suite.figures.space import _place

SOURCE = "synthetic sample $5_a$"
DIRECTIONS = ("audio→video", "video→audio")


def history(runs, steps, ks=(1, 5, 10), spread=True):
    frame = pd.DataFrame({"step": np.tile(np.arange(steps) * 1000, len(runs))})
    frame = frame.assign(run=np.repeat(runs, steps), loss=1.0, cosine=0.5, classification=12.0)
    frame = frame.assign(learning_rate=1e-4 * 0.5 ** (frame["step"] // 3000))
    if spread:
        frame = frame.assign(alignment=0.3, uniformity=-3.5 + frame["step"] / 1e4)
    return frame.assign(**{f"recall_at_{k}": frame["step"] * k / 1e4 for k in ks})


def plain(steps, gallery=256):
    frame = pd.DataFrame({"step": range(1, steps + 1), "loss": 0.4 / np.arange(1, steps + 1)})
    return frame.assign(recall_at_1=[np.nan] * (steps - 1) + [8.66], gallery=gallery)


def recalls(readings, rows=(256, 512, 1024), ks=(1, 5, 10), directions=DIRECTIONS):
    index = pd.MultiIndex.from_product(
        [rows, directions, ks, readings], names=["row", "direction", "k", "reading"]
    )
    frame = index.to_frame(index=False)
    frame["recall"] = 100 * frame["k"] / frame["row"]
    known = ~frame["reading"].isin(["published", "chance"])
    frame["low"] = (frame["recall"] * 0.9).where(known)
    frame["high"] = (frame["recall"] * 1.1).where(known)
    return frame


def galleries(models, **options):
    return recalls(models, **options).rename(columns={"row": "gallery", "reading": "model"})


def a_map(clips, labels, name="after training"):
    xy = np.random.default_rng(0).normal(size=(2 * clips, 2))
    frame = pd.DataFrame(xy, columns=["x", "y"])
    frame["modality"] = ["visual"] * clips + ["audio"] * clips
    frame["label"] = [labels[n % len(labels)] for n in range(clips)] * 2
    frame["clip"] = [f"id{n}" for n in range(clips)] * 2
    return frame.assign(map=name)


def maps(clips, labels):
    both = [a_map(clips, labels, f"{when} training") for when in ("before", "after")]
    alone = [part.assign(map=f"{name} alone") for name, part in both[1].groupby("modality")]
    return pd.concat(both + alone)


def examples(directions, labels, queries=2, items=3):
    """Query n finds its own clip at place n + 1, if so many items are shown."""
    kinds = ("best", "median", "worst", "random", "random", "random")
    rows = [
        dict(
            kind=kinds[n], direction=direction, query_id=f"{n}a$b$c" * 5,
            query_labels="; ".join(labels), rank=n + 1.0, candidates=6000, place=place,
            match_id="Zz9_" * 5, match_labels=labels[0], cosine=-0.5, own=place == n + 1,
        )
        for direction in directions
        for n in range(queries)
        for place in range(1, items + 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


NORMS = np.random.default_rng(0).gamma(9, 1, (2, 400))
LONG = "The Legend of Zelda: Ocarina of Time and its many $sequels$ & re-releases"
LABELS = ["Pokémon", LONG, "$x^", "Ünïcödé", "W" * 60, "other"]


def of_categories(labels):
    n = np.arange(len(labels))
    return pd.DataFrame({"label": labels, "clips": 900 - n, "recall": 3 * n, "relevant": 99 - n})


def of_the_law(models=("published", "ours"), rows=(256, 512, 1024), directions=DIRECTIONS):
    frame = recalls(list(models), rows=rows, directions=directions)
    frame = frame.rename(columns={"reading": "model"})
    galleries = frame.assign(reading="rows are galleries", candidates=frame["row"])
    return pd.concat([galleries, frame.assign(reading="rows are dimensions", candidates=6000)])


def of_a_study(rows, seeds=(0, 1, 2)):
    index = pd.MultiIndex.from_product(
        [rows, seeds, ["R@1, N = 8", "R@1, N = 16"]], names=["about", "seed", "panel"]
    )
    frame = index.to_frame(index=False)
    return frame.assign(recall=10.0 + np.arange(len(frame)) % 5)


def of_a_curve(methods=("ours", "CCA"), clips=(1000, 2000, 4000)):
    index = pd.MultiIndex.from_product([methods, clips], names=["method", "clips"])
    points = index.to_frame(index=False).assign(recall=5.0)
    more = pd.MultiIndex.from_product([methods, (*clips, 4_000_000)], names=["method", "clips"])
    return points, more.to_frame(index=False).assign(recall=5.0, low=4.0, high=6.0)


def of_labels(labels, clips, carried):
    many = pd.Series(carried).value_counts().sort_index()
    per_clip = pd.DataFrame({"labels": many.index, "clips": many.to_numpy()})
    return pd.DataFrame({"name": labels, "clips": clips}), per_clip


def of_components(canonical, visual, audio):
    kinds = {"canonical": canonical, "visual": visual, "audio": audio}
    return pd.concat([pd.DataFrame({"kind": k, "value": v}) for k, v in kinds.items()])


FIGURES = {
    "categories": lambda: plots.categories(of_categories(LABELS * 5), SOURCE),
    "categories, none": lambda: plots.categories(of_categories(["a"]).iloc[:0], SOURCE),
    "categories, one": lambda: plots.categories(of_categories([LONG]), SOURCE),
    "architecture": lambda: plots.architecture(source=SOURCE),
    "architecture, odd depths": lambda: plots.architecture(
        (1024, 16, 8), (128, *(9,) * 7, 8), 5, SOURCE
    ),
    "architecture, linear": lambda: plots.architecture((1024, 250), (128, 250), source=SOURCE),
    "labels": lambda: plots.label_frequencies(
        *of_labels(LABELS[1:], [900, 50, 7, 3, 2], [1, 1, 2, 19]), SOURCE
    ),
    "labels, none": lambda: plots.label_frequencies(*of_labels([], [], [0]), SOURCE),
    "labels, one": lambda: plots.label_frequencies(*of_labels([LONG], [1], [1]), SOURCE),
    "norms": lambda: plots.feature_norms(*NORMS, SOURCE),
    "norms, constant": lambda: plots.feature_norms([1, 1], [2, 3], SOURCE),
    "norms, one clip": lambda: plots.feature_norms([1.0], [2.0], SOURCE),
    "correlations": lambda: plots.correlations(
        of_components(np.linspace(0.9, 0.1, 128), np.ones(1024), np.arange(128)), SOURCE
    ),
    "correlations, one": lambda: plots.correlations(of_components([1.0], [2.0], [3.0]), SOURCE),
    "training": lambda: plots.training_curves(
        history(["seed 0", LONG, "$a_b$"], 20), SOURCE, 10_000, 6000
    ),
    "training, many runs": lambda: plots.training_curves(
        history([f"run {n}" for n in range(11)], 3), SOURCE
    ),
    "training, one step": lambda: plots.training_curves(history(["only"], 1), SOURCE, 10_000),
    "training, no validation": lambda: plots.training_curves(
        history(["only"], 12, ks=(), spread=False).drop(columns="learning_rate"), SOURCE, 10_000
    ),
    "training, in one point": lambda: plots.training_curves(
        history(["only"], 12).assign(alignment=0.0, uniformity=0.0), SOURCE
    ),
    "plain": lambda: plots.plain_curve(plain(80), SOURCE),
    "plain, one step": lambda: plots.plain_curve(plain(1, 6000), SOURCE),
    "published": lambda: plots.recall_readings(
        recalls(["published", "dimension, 6,000 candidates", "gallery, dimension 250", "chance"]),
        SOURCE,
    ),
    "published, none": lambda: plots.recall_readings(
        recalls(["gallery, dimension 250"], rows=(16,), ks=(1,), directions=("audio→video",)),
        SOURCE,
    ),
    "gallery": lambda: plots.recall_against_gallery(
        galleries(["published", "network", "CCA", "$x$"]), SOURCE
    ),
    "gallery, none published": lambda: plots.recall_against_gallery(
        galleries(["network"], rows=(64, 6000), ks=(1,), directions=("video→audio",)), SOURCE
    ),
    "map": lambda: plots.umap(a_map(300, [f"label {n}" for n in range(12)] + LABELS), SOURCE),
    "map, long names": lambda: plots.umap(a_map(40, LABELS), SOURCE),
    "map, unlabelled": lambda: plots.umap(a_map(3, ["other"]), SOURCE),
    "map, one spot": lambda: plots.umap(a_map(40, LABELS).assign(x=0, y=0), SOURCE),
    "map, one modality": lambda: plots.umap(a_map(9, LABELS).iloc[:9], SOURCE),
    "maps": lambda: plots.spaces(maps(300, [f"label {n}" for n in range(12)]), SOURCE),
    "maps, long names": lambda: plots.spaces(maps(40, [*LABELS, *"abcd"]), SOURCE),
    "maps, one": lambda: plots.spaces(a_map(3, ["other"]), SOURCE),
    "retrieval": lambda: plots.retrieval(examples(DIRECTIONS, LABELS, 6), SOURCE),
    "retrieval, no labels": lambda: plots.retrieval(
        examples(DIRECTIONS, LABELS).assign(query_labels=np.nan, match_labels=np.nan), SOURCE
    ),
    "methods": lambda: plots.methods(
        galleries(["published", "CCA", LONG, "$x$", *map(str, range(5))], rows=(1024,)), SOURCE
    ),
    "methods, one": lambda: plots.methods(
        galleries(["CCA"], rows=(8,), ks=(1,), directions=DIRECTIONS[:1]), SOURCE
    ),
    "law": lambda: plots.recall_law(of_the_law(), SOURCE),
    "law, none published": lambda: plots.recall_law(
        of_the_law(["ours"], rows=(16,), directions=DIRECTIONS[:1]), SOURCE
    ),
    "study": lambda: plots.study_rows(of_a_study([*LABELS, *map(str, range(25))]), SOURCE),
    "study, one run": lambda: plots.study_rows(of_a_study(["the text"], seeds=(0,)), SOURCE),
    "learning": lambda: plots.learning_curve(
        *of_a_curve(["ours", "the paper's text with λ = 0", "$x$", LONG]),
        SOURCE,
        ("published, N = 1,024", 10.0),
    ),
    "learning, nothing published": lambda: plots.learning_curve(*of_a_curve(["a"]), SOURCE),
    "retrieval, one way": lambda: plots.retrieval(examples(DIRECTIONS[:1], ["a"], 1, 1), SOURCE),
}  # fmt: skip


@pytest.fixture(scope="module")
def drawn():
    """Each figure, drawn once for all tests of this file."""
    made = {}
    return lambda name: made[name] if name in made else made.setdefault(name, FIGURES[name]())


def texts(figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


@pytest.mark.parametrize("name", FIGURES)
def test_every_text_is_readable_inside_the_page_and_clear_of_the_others(name, drawn, monkeypatch):
    figure, written = drawn(name), set()
    draw = Text.draw
    monkeypatch.setattr(Text, "draw", lambda text, r: (written.add(text), draw(text, r)))
    figure.draw_without_rendering()
    page = figure.bbox.padded(0.5)
    written = {text for text in written if text.get_visible() and text.get_text()}
    assert written
    for text in written:
        assert 7 <= text.get_fontsize() <= 9, text
        box = Text.get_window_extent(text)  # of the words alone, without a leader line
        assert page.x0 <= box.x0 and box.x1 <= page.x1, text
        assert page.y0 <= box.y0 and box.y1 <= page.y1, text
    boxes = [(Text.get_window_extent(text).padded(-1), text.get_text()) for text in written]
    for (box, text), (other_box, other) in combinations(boxes, 2):
        assert not box.overlaps(other_box), (text, other)


@pytest.mark.parametrize("name", FIGURES)
def test_source_stands_on_the_figure_word_for_word(name, drawn):
    (text,) = [text for text in texts(drawn(name)) if text.get_text() == SOURCE]
    assert not text.get_parse_math()


def test_drawing_leaves_the_settings_of_matplotlib_alone():
    before = dict(matplotlib.rcParams)
    FIGURES["correlations, one"]()
    assert dict(matplotlib.rcParams) == before


def test_settings_of_the_user_do_not_show():
    plain = FIGURES["correlations, one"]()._repr_png_()
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black", "lines.linewidth": 9}):
        assert FIGURES["correlations, one"]()._repr_png_() == plain


def test_a_notebook_shows_the_figure_by_itself(drawn):
    data, size = drawn("norms")._repr_png_()
    assert data.startswith(b"\x89PNG")
    assert size == {"width": 672, "height": 259}  # 7 x 2.7 inches of 96 pixels


def words(figure) -> list[str]:
    return [text.get_text() for text in texts(figure)]


def test_architecture_shows_the_papers_numbers(drawn):
    shown = words(drawn("architecture"))
    for units, times in {"2,000": 2, "700": 2, "450": 2, "200": 2, "250": 2, "1,024": 1}.items():
        assert shown.count(units) == times
    assert sum("4 fully connected layers, ReLU" in text for text in shown) == 2
    assert "3,862 sigmoids" in shown


def test_most_frequent_labels_are_named(drawn):
    shown = words(drawn("labels"))
    assert "$x^" in shown
    assert "a   how often the 5 labels occur" in shown
    assert "mean 5.8" in shown  # (1 + 1 + 2 + 19) / 4 = 5.75


def test_the_easiest_category_stands_first():
    axis = plots.categories(of_categories(["hard", "middle", "easy"]), SOURCE).axes[0]
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert names == ["easy (898)", "middle (899)", "hard (900)"]
    assert axis.yaxis_inverted()
    (recall,) = [line for line in axis.lines if line.get_marker() == "o"]
    assert recall.get_xdata().tolist() == [6, 3, 0]


def test_correlation_of_norms_is_printed():
    figure = plots.feature_norms([1, 2, 3, 4], [-1, -2, -3, -4], SOURCE)
    assert "b   the same clips: correlation −1.00" in words(figure)


def test_spectrum_curve_ends_with_all_variance_in_any_order(drawn):
    figure = plots.correlations(of_components([0.5], [1, 3], [0, 1, 0, 0]), SOURCE)
    curves = {line.get_label(): line.get_xydata() for line in figure.axes[1].lines}
    np.testing.assert_allclose(curves["visual (2 dimensions)"], [[0, 0], [50, 75], [100, 100]])
    np.testing.assert_allclose(curves["audio (4 dimensions)"][1], [25, 100])


def test_switch_of_lambda_is_marked_only_when_reached(drawn):
    assert "λ switched on" in words(drawn("training"))
    assert "λ switched on" not in words(drawn("training, one step"))


def test_a_panel_with_nothing_to_show_is_left_out(drawn):
    figure = plots.training_curves(history(["only"], 4).assign(classification=0.0), SOURCE)
    assert len(figure.axes) == 4 and all(axis.lines for axis in figure.axes)
    assert "a   cosine loss" in words(figure) and "b   learning rate" in words(figure)
    assert not {"a   total loss", "c   cross entropy"} & set(words(figure))
    shown = drawn("training, no validation").axes  # no learning rate either
    assert [axis.get_title(loc="left")[4:] for axis in shown] == [
        "total loss",
        "cosine loss",
        "cross entropy",
    ]
    named = [axis.get_xlabel() for axis in shown]
    assert named == ["", "training step", "training step"]  # the lowest panel of each column


def test_each_measure_of_a_training_has_its_panel(drawn):
    frame = history(["seed 0", LONG, "$a_b$"], 20)
    columns = [["loss"], ["cosine"], ["classification"], ["learning_rate"]]
    columns += [["recall_at_1", "recall_at_5", "recall_at_10"], ["alignment", "uniformity"]]
    for axis, measures in zip(drawn("training").axes, columns, strict=True):
        *lines, switch = axis.lines
        assert list(switch.get_xdata()) == [10_000, 10_000]
        expected = [part[m].tolist() for m in measures for _, part in frame.groupby("run")]
        assert sorted(list(line.get_ydata()) for line in lines) == sorted(expected)
    assert {"alignment", "uniformity", "R@1"} <= set(words(drawn("training")))
    assert "0.00004" in words(drawn("training"))  # a learning rate is written as a plain number


def test_the_plain_curve_says_what_recall_it_reached(drawn):
    (title,) = [text for text in words(drawn("plain")) if "Recall@1" in text]
    assert "Recall@1 is 8.7 % among 256 candidates (chance: 0.4 %)" in title
    (line,) = drawn("plain").axes[0].lines
    np.testing.assert_allclose(line.get_xydata()[[0, 79]], [[1, 0.4], [80, 0.005]])


def test_rows_of_a_history_may_hold_the_loss_or_the_recall_alone():
    whole = history(["only"], 4)
    recalls = [name for name in whole if name.startswith("recall")]
    loss, recall = whole.drop(columns=recalls), whole[["step", "run", *recalls]]
    both = pd.concat([loss, recall], ignore_index=True).sort_values("step", kind="stable")
    for axis in plots.training_curves(both, SOURCE).axes:
        for line in axis.lines:
            np.testing.assert_array_equal(line.get_xdata(), [0, 1000, 2000, 3000])
            assert np.isfinite(np.asarray(line.get_ydata())).all()


def test_a_loss_that_spans_decades_has_plain_ticks_on_a_logarithmic_axis():
    frame = history(["only"], 4).assign(loss=[0.3, 1, 10, 100])
    figure = plots.training_curves(frame, SOURCE)
    assert figure.axes[0].get_yscale() == "log"
    assert {"1", "10", "100"} <= {text.get_text() for text in figure.axes[0].get_yticklabels()}


def test_chance_line_is_k_of_n(drawn):
    for axis, k in zip(drawn("gallery").axes, (1, 5, 10, 1, 5, 10), strict=True):
        (line,) = [line for line in axis.lines if line.get_label() == "chance, K of N"]
        np.testing.assert_allclose(line.get_ydata(), [100 * k / n for n in (256, 512, 1024)])


def test_models_differ_in_more_than_colour(drawn):
    lines = [
        line for line in drawn("gallery").axes[0].lines if line.get_label() != "chance, K of N"
    ]
    assert len({line.get_marker() for line in lines}) == len(lines) == 4
    assert len({str(line._unscaled_dash_pattern) for line in lines[1:]}) == 3


def test_points_of_the_law_stand_at_their_share():
    figure = plots.recall_law(of_the_law(), SOURCE)
    left, right = figure.axes[:2]
    for axis, candidates in ((left, 1024), (right, 6000)):
        drawn = [line.get_xydata().tolist() for line in axis.lines]
        wanted = [[k / candidates, pytest.approx(100 * k / 1024)] for k in (1, 5, 10)]
        assert drawn.count(wanted) == 2  # published and ours


def test_methods_stand_one_below_the_other_each_k_with_its_marker():
    frame = galleries(["published", "CCA"], rows=(1024,))
    axis = plots.methods(frame, SOURCE).axes[0]
    points = [line for line in axis.lines if line.get_marker() in "os^" and len(line.get_xdata())]
    seen = {(line.get_marker(), *line.get_xydata()[0].round(6)) for line in points}
    assert seen == {
        (marker, round(100 * k / 1024, 6), row)
        for marker, k in zip("os^", (1, 5, 10), strict=True)
        for row in (0, 1)
    }


def test_the_law_says_what_is_ours_and_what_n_is(drawn):
    assert {"published", "ours", "row 512", "chance"} <= set(words(drawn("law")))
    assert {"K / N, N = row", "K / N, N = 6,000"} <= set(words(drawn("law")))
    assert "published" not in words(drawn("law, none published"))


def test_the_law_tells_models_and_rows_apart_without_colour():
    figure = plots.recall_law(of_the_law(["published", "ours", "CCA"]), SOURCE)
    _, *lines = figure.axes[0].lines  # the first is chance
    white = [line.get_markerfacecolor() == "white" for line in lines]
    dashes = [str(line._unscaled_dash_pattern) for line in lines]
    looks = set(zip(white, dashes, [line.get_marker() for line in lines]))
    assert len(looks) == len(lines) == 9


def test_a_recall_of_0_leaves_a_gap_on_a_logarithmic_axis():
    frame = of_the_law()
    frame["recall"] *= frame["k"] > 1
    figure = plots.recall_law(frame, SOURCE)
    figure.draw_without_rendering()
    low, high = figure.axes[0].get_ylim()
    assert 0.01 < low < high == 100
    for line in figure.axes[0].lines[1:]:
        drawn = line.get_transform().transform(line.get_xydata())
        assert np.isfinite(drawn[:, 1]).tolist() == [False, True, True]


@pytest.mark.parametrize("name", ["gallery", "learning"])
def test_a_band_down_to_0_has_no_gap(name):
    points, lines = of_a_curve(["a"])
    figure = {
        "gallery": lambda: plots.recall_against_gallery(galleries(["a"]).assign(low=0), SOURCE),
        "learning": lambda: plots.learning_curve(points, lines.assign(low=0), SOURCE),
    }[name]()
    (band,) = figure.axes[0].collections
    (path,) = band.get_paths()
    assert np.isfinite(band.get_transform().transform(path.vertices)).all()


def test_a_study_shows_every_run_and_its_mean():
    frame = of_a_study(["the text", "wider"])
    figure = plots.study_rows(frame, SOURCE)
    for axis, panel in zip(figure.axes, ["R@1, N = 8", "R@1, N = 16"], strict=True):
        means, runs = (line for line in axis.lines if line.get_marker() in ("|", "."))
        part = frame[frame["panel"] == panel]
        assert runs.get_xdata().tolist() == part["recall"].tolist()
        expected = part.groupby("about", sort=False)["recall"].mean()
        assert means.get_xdata().tolist() == pytest.approx(expected.tolist())
        (guide,) = [line for line in axis.lines if line.get_label() == "mean of the first row"]
        assert guide.get_xdata() == pytest.approx([expected["the text"]] * 2)


def test_the_bar_of_a_study_is_one_standard_deviation_long_each_way():
    frame = of_a_study(["the text"]).query("panel == 'R@1, N = 8'").assign(recall=[1, 2, 3])
    for runs, ends in ((3, [1, 3]), (1, [1, 1])):  # 2 ± 1; one run has no spread
        axis = plots.study_rows(frame.iloc[:runs], SOURCE).axes[0]
        (bar,) = [lines for lines in axis.collections if lines.get_linewidth() == 5]
        np.testing.assert_allclose(bar.get_segments(), [[[end, 0] for end in ends]])


def test_dots_and_their_intervals_stand_at_the_recalls_of_their_rows():
    frame = recalls(["published", "gallery"], rows=(256, 512), ks=(1,), directions=DIRECTIONS[:1])
    axis = plots.recall_readings(frame, SOURCE).axes[0]
    seen = {line.get_marker(): line.get_xydata() for line in axis.lines if len(line.get_xdata())}
    values = [100 / 256, 100 / 512]
    np.testing.assert_allclose(seen["D"], np.c_[values, [-0.3, 0.7]])
    np.testing.assert_allclose(seen["o"], np.c_[values, [0.3, 1.3]])
    interval = axis.collections[-1].get_segments()[1]
    np.testing.assert_allclose(interval, [[0.9 * values[1], 1.3], [1.1 * values[1], 1.3]])


def test_rows_of_a_study_that_are_cut_to_the_same_words_stay_apart():
    frame = of_a_study([LONG + "one", LONG + "two"], seeds=(0,))
    figure = plots.study_rows(frame, SOURCE)
    shown = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert shown == [LONG[:47].rstrip() + "…"] * 2


def test_a_learning_curve_is_solid_only_where_it_was_measured():
    points, lines = of_a_curve()
    figure = plots.learning_curve(points, lines, SOURCE, ("published $x^", 10.0))
    solid, dashed = figure.axes[0].lines[:2]
    assert solid.get_xdata().tolist() == [1000, 2000, 4000]
    assert dashed.get_xdata().tolist() == [4000, 4_000_000] and dashed.is_dashed()
    assert "published $x^" in [text.get_text() for text in figure.axes[0].texts]


def test_a_learning_curve_changes_its_dash_at_the_first_and_last_clips_measured():
    points, _ = of_a_curve(["ours"], clips=(1000, 4000))
    lines = pd.DataFrame({"method": "ours", "clips": [100.0, 10_000.0], "recall": [1.0, 100.0]})
    lines = lines.assign(low=lines["recall"] / 2, high=lines["recall"] * 2)
    solid, after, before = plots.learning_curve(points, lines, SOURCE).axes[0].lines[:3]
    # recall = clips / 100: a straight line on these axes, so also between the two given
    np.testing.assert_allclose(solid.get_xydata(), [[1000, 10], [4000, 40]])
    np.testing.assert_allclose(after.get_xydata(), [[4000, 40], [10_000, 100]])
    np.testing.assert_allclose(before.get_xydata(), [[100, 1], [1000, 10]])
    assert after.is_dashed() and before.is_dashed() and not solid.is_dashed()


def test_a_learning_curve_shows_runs_and_target_however_wide_the_interval():
    points, lines = of_a_curve(["ours"])
    points.loc[0, "recall"] = 0
    figure = plots.learning_curve(points, lines.assign(low=1e-9, high=1e9), SOURCE, ("far", 0.2))
    low, high = figure.axes[0].get_ylim()
    assert low < 0.2 and high == 100
    assert 0.2 / low < 2  # and no lower than needed


def test_map_links_a_seeded_choice_of_pairs():
    frame = a_map(30, LABELS)

    def links(frame, **options):
        figure = plots.umap(frame, SOURCE, linked=5, **options)
        return np.array(figure.axes[1].collections[-3].get_segments())

    clip = {tuple(xy): clip for *xy, clip in frame[["x", "y", "clip"]].to_numpy()}
    linked = links(frame)
    assert len(linked) == 5
    assert all(clip[tuple(start)] == clip[tuple(end)] for start, end in linked)
    # The order of the rows is not part of the data.
    np.testing.assert_array_equal(links(frame.sample(frac=1, random_state=1)), linked)
    assert not np.array_equal(links(frame, seed=1), linked)


def test_names_move_apart_by_the_least_and_stay_inside():
    """Boxes of 10 by 4 in a room of 100 by 100; steps of 2."""
    room, size = np.array([[0, 0], [100, 100]]), np.full((2, 2), [10, 4])
    placed = _place(np.array([[50, 50], [52, 51]]), size, room)
    np.testing.assert_array_equal(placed, [[50, 50], [52, 55]])  # 2 up would overlap: 53 - 50 < 4
    placed = _place(np.array([[1, 99], [90, 90]]), size, room)
    np.testing.assert_array_equal(placed, [[5, 97], [90, 90]])


def test_a_name_without_room_is_left_out():
    room = np.array([[0, 0], [20, 5]])
    placed = _place(np.full((3, 2), [10, 2]), np.array([[12, 4], [12, 4], [2, 2]]), room)
    assert np.isfinite(placed).all(axis=1).tolist() == [True, False, True]


def test_labels_are_written_on_the_middle_of_their_points():
    frame = a_map(40, ["a", "b", "other"])
    place = {"a": (0.0, 0.0), "b": (9.0, 5.0), "other": (4.0, 9.0)}
    frame[["x", "y"]] = [place[label] for label in frame["label"]]
    axis = plots.umap(frame, SOURCE).axes[0]
    written = {text.get_text(): text.get_position() for text in axis.texts}
    assert written == {name: pytest.approx(place[name], abs=0.05) for name in "ab"}
    assert not [text for text in plots.umap(frame, SOURCE, labels=0).axes[0].texts]


def test_only_the_map_after_training_is_drawn_with_pairs():
    frame = maps(5, ["a"])
    axis = plots.umap(frame, SOURCE).axes[1]
    shown = np.concatenate([c.get_offsets() for c in axis.collections[:-3]])
    after = frame[frame["map"] == "after training"]
    assert sorted(map(tuple, shown)) == sorted(map(tuple, after[["x", "y"]].to_numpy()))


def test_maps_of_one_modality_are_coloured_by_label(drawn):
    colours = [
        {
            tuple(c)
            for part in axis.collections
            if len(part.get_offsets())
            for c in part.get_facecolor()
        }
        for axis in drawn("maps").axes
    ]
    assert [len(found) for found in colours] == [2, 2, 9, 9]  # modalities; 8 labels, and the rest
    assert not colours[0] & colours[2]
    assert {"visual", "audio", "label 3", "other labels"} <= set(words(drawn("maps")))


def test_cards_put_shared_labels_first_and_bold():
    frame = examples(["video→audio"], ["a", "b", "c"], queries=1, items=1)
    figure = plots.retrieval(frame.assign(match_labels="z; c; a"), SOURCE)
    shown = [text for text in texts(figure) if text.get_text().strip(",") in set("abcz")]
    assert [text.get_text() for text in shown] == ["a,", "b,", "c", "c,", "a,", "z"]
    assert [text.get_weight() for text in shown] == [*["normal"] * 3, "bold", "bold", "normal"]


def test_labels_without_room_are_counted():
    """Four words of 25 wide letters, a line each in the query's card, two lines in the item's."""
    labels = [letter * 25 for letter in "MWMW"]
    frame = examples(["video→audio"], labels, queries=1, items=1)
    shown = words(plots.retrieval(frame.assign(match_labels="; ".join(labels)), SOURCE))
    assert [text for text in shown if text.startswith("+")] == ["+2", "+2"]
    assert sum(text.startswith(("MMM", "WWW")) for text in shown) == 4


def test_cards_mark_the_own_clip_in_words_and_shade(drawn):
    figure = drawn("retrieval")
    shown = words(figure)
    assert shown.count("own clip") == 2 * 3  # of six queries a side three find it among the items
    assert shown.count("own clip at rank 2 of 6,000") == 2
    assert shown.count("cos −0.50") == 2 * 6 * 3
    faces = [patch.get_facecolor() for patch in figure.findobj(FancyBboxPatch)]
    assert len(set(faces)) == 2 and min(map(faces.count, set(faces))) == 2 * 3


def test_examples_of_both_directions_fit_a_page(drawn):
    width, height = drawn("retrieval").get_size_inches()
    assert width == 7 and height <= 9


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (
            lambda: plots.training_curves(pd.DataFrame({"step": [1]}), SOURCE),
            "`history` of training_curves lacks the column.* run, loss, cosine",
        ),
        (lambda: plots.recall_readings(recalls(["a"]).iloc[:0], SOURCE), "no rows"),
        (
            lambda: plots.recall_against_gallery(recalls(["a"]), SOURCE),
            "lacks the column.* gallery, model",
        ),
        (lambda: plots.umap(a_map(3, ["a"]).drop(columns="clip"), SOURCE), "column.* clip"),
        (lambda: plots.umap(a_map(3, ["a"], "visual alone"), SOURCE), "no map 'after training'"),
        (lambda: plots.spaces(a_map(3, ["a"]).iloc[:0], SOURCE), "no rows"),
        (lambda: plots.methods(recalls(["a"]), SOURCE), "lacks the column.* model, gallery"),
        (lambda: plots.recall_law(recalls(["a"]), SOURCE), "lacks the column.* model, candidates"),
        (lambda: plots.study_rows(of_a_study(["a"]).iloc[:0], SOURCE), "no rows"),
        (lambda: plots.study_rows(of_a_study(["a", "a"]), SOURCE), "seed 0 of 'a' twice"),
        (
            lambda: plots.learning_curve(
                of_a_curve()[0], of_a_curve()[1].drop(columns="low"), SOURCE
            ),
            "`lines` of learning_curve lacks the column.* low",
        ),
        (lambda: plots.retrieval(examples(["sideways"], ["a"]), SOURCE), "sideways"),
    ],
)
def test_input_that_cannot_be_drawn_is_named_in_one_sentence(draw, says):
    with pytest.raises(InputError, match=says) as caught:
        draw()
    assert "\n" not in str(caught.value)
