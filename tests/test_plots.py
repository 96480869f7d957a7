"""Every figure on ordinary, smallest and odd input: drawn whole, readable, its source named."""

from itertools import combinations

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from xmodal import plots
from xmodal.config import InputError
from xmodal.plots.space import _spread

SOURCE = "synthetic sample $5_a$"
DIRECTIONS = ("audio→video", "video→audio")


def history(runs, steps):
    step = np.tile(np.arange(steps) * 1000, len(runs))
    run = np.repeat(runs, steps)
    training = pd.DataFrame({"step": step, "run": run, "loss": 1.0, "cosine": 0.5})
    training["classification"] = 12.0
    validation = pd.DataFrame({"step": step, "run": run})
    for k in (1, 5, 10):
        validation[f"recall_at_{k}"] = step * k / 1e4
    return training, validation


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


def a_map(clips, labels):
    xy = np.random.default_rng(0).normal(size=(2 * clips, 2))
    frame = pd.DataFrame(xy, columns=["x", "y"])
    frame["modality"] = ["visual"] * clips + ["audio"] * clips
    frame["label"] = [labels[n % len(labels)] for n in range(clips)] * 2
    frame["clip"] = [f"id{n}" for n in range(clips)] * 2
    return frame


def examples(directions, labels, count=2):
    rng = np.random.default_rng(0)
    rows = []
    for direction in directions:
        for n in range(count):
            visual, audio = rng.normal(size=1024), rng.normal(size=128)
            features = (visual, audio) if direction == "video→audio" else (audio, visual)
            rows.append(
                dict(
                    kind=("seeded", "worst")[n % 2], direction=direction, query_id="a$b$c" * 5,
                    query_labels=labels, match_id="Zz9_", match_labels=labels[:1], cosine=-0.5,
                    rank=n + 1, own_was_first=n == 0, query_feature=features[0],
                    match_feature=features[1],
                )
            )  # fmt: skip
    return pd.DataFrame(rows)


NORMS = np.random.default_rng(0).gamma(9, 1, (2, 400))
LONG = "The Legend of Zelda: Ocarina of Time and its many $sequels$ & re-releases"
LABELS = ["Pokémon", LONG, "$x^", "Ünïcödé", "W" * 60, "other"]


def of_categories(labels):
    n = np.arange(len(labels))
    return pd.DataFrame({"label": labels, "clips": 900 - n, "recall": 3 * n, "relevant": 99 - n})


FIGURES = {
    "categories": lambda: plots.categories(of_categories(LABELS * 5), SOURCE),
    "categories, one": lambda: plots.categories(of_categories([LONG]), SOURCE),
    "architecture": lambda: plots.architecture(source=SOURCE),
    "architecture, odd depths": lambda: plots.architecture((16,), (9,) * 7, 8, 5, source=SOURCE),
    "architecture, linear": lambda: plots.architecture((), (), source=SOURCE),
    "labels": lambda: plots.label_frequencies(
        np.array([0, 900, 50, 7, 3, 2]), LABELS, np.array([1, 1, 2, 19]), SOURCE
    ),
    "labels, one": lambda: plots.label_frequencies([1], [LONG], [1], SOURCE),
    "norms": lambda: plots.feature_norms(*NORMS, SOURCE),
    "norms, constant": lambda: plots.feature_norms([1, 1], [2, 3], SOURCE),
    "norms, one clip": lambda: plots.feature_norms([1.0], [2.0], SOURCE),
    "correlations": lambda: plots.correlations(
        np.linspace(0.9, 0.1, 128), np.ones(1024), np.arange(128), SOURCE
    ),
    "correlations, one": lambda: plots.correlations([1.0], [2.0], [3.0], SOURCE),
    "training": lambda: plots.training_curves(
        *history(["seed 0", LONG, "$a_b$"], 20), SOURCE, 10_000, 6000
    ),
    "training, many runs": lambda: plots.training_curves(
        *history([f"run {n}" for n in range(11)], 3), SOURCE
    ),
    "training, one step": lambda: plots.training_curves(*history(["only"], 1), SOURCE, 10_000),
    "training, no validation": lambda: plots.training_curves(
        history(["only"], 12)[0], pd.DataFrame(), SOURCE, 10_000
    ),
    "published": lambda: plots.recall_against_published(
        recalls(["published", "dimension, 6,000 candidates", "gallery, dimension 250", "chance"]),
        SOURCE,
    ),
    "published, none": lambda: plots.recall_against_published(
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
    "map, one modality": lambda: plots.umap(a_map(9, LABELS).iloc[:9], SOURCE),
    "retrieval": lambda: plots.retrieval(examples(DIRECTIONS, LABELS), SOURCE),
    "retrieval, one way": lambda: plots.retrieval(examples(DIRECTIONS[:1], ["a"], 1), SOURCE),
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
    assert shown.count("4 fully connected layers, ReLU") == 2
    assert "3,862 sigmoids" in shown


def test_most_frequent_labels_are_named_and_absent_ones_are_not(drawn):
    shown = words(drawn("labels"))
    assert "Pokémon" not in shown  # it never occurs
    assert "$x^" in shown
    assert "a   how often the 5 labels occur" in shown
    assert "mean 5.8" in shown  # (1 + 1 + 2 + 19) / 4 = 5.75


def test_the_easiest_category_stands_first():
    axis = plots.categories(of_categories(["hard", "middle", "easy"]), SOURCE).axes[0]
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert names == ["easy (898)", "middle (899)", "hard (900)"]
    assert axis.yaxis_inverted()
    recall = next(line for line in axis.lines if "own clip" in line.get_label())
    assert recall.get_xdata().tolist() == [6, 3, 0]


def test_correlation_of_norms_is_printed():
    figure = plots.feature_norms([1, 2, 3, 4], [-1, -2, -3, -4], SOURCE)
    assert "b   the same clips: correlation −1.00" in words(figure)


def test_spectrum_curve_ends_with_all_variance_in_any_order(drawn):
    figure = plots.correlations([0.5], [1, 3], [0, 1, 0, 0], SOURCE)
    curves = {line.get_label(): line.get_xydata() for line in figure.axes[1].lines}
    np.testing.assert_allclose(curves["visual (2 dimensions)"], [[0, 0], [50, 75], [100, 100]])
    np.testing.assert_allclose(curves["audio (4 dimensions)"][1], [25, 100])


def test_switch_of_lambda_is_marked_only_when_reached(drawn):
    assert "λ switched on" in words(drawn("training"))
    assert "λ switched on" not in words(drawn("training, one step"))


def test_one_history_serves_as_both_frames():
    training, validation = history(["only"], 4)
    both = pd.concat([training, validation], ignore_index=True).sort_values("step", kind="stable")
    for axis in plots.training_curves(both, both, SOURCE).axes:
        for line in axis.lines:
            np.testing.assert_array_equal(line.get_xdata(), [0, 1000, 2000, 3000])
            assert np.isfinite(np.asarray(line.get_ydata())).all()


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


def test_numbers_on_one_spot_are_spread():
    placed = np.array(_spread(np.zeros((8, 2)), gap=1.0))
    apart = np.linalg.norm(placed[:, None] - placed[None], axis=-1) + np.eye(8)
    assert apart.min() >= 1 - 1e-9
    np.testing.assert_array_equal(placed[0], [0, 0])


def test_cards_put_shared_labels_first_and_count_the_rest():
    frame = examples(["video→audio"], ["a", "b", "c", "d", "e"], 1)
    frame.at[0, "match_labels"] = ["e", "z"]
    figure = plots.retrieval(frame, SOURCE)
    shown = [text for text in texts(figure) if text.get_text() in {*"abcdez", "+2"}]
    assert [text.get_text() for text in shown] == ["e", "a", "b", "+2", "e", "z"]
    assert [text.get_weight() for text in shown if text.get_text() == "e"] == ["bold"] * 2
    assert {text.get_weight() for text in shown if text.get_text() != "e"} == {"normal"}


def test_cards_say_when_the_own_clip_came_first(drawn):
    shown = words(drawn("retrieval"))
    assert shown.count("own clip came first, next one shown") == 2
    assert shown.count("own clip at rank 2") == 2
    assert shown.count("−0.50") == 4


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda: plots.label_frequencies([1, 2], ["a"], [1], SOURCE), "2 label counts .* 1 names"),
        (lambda: plots.label_frequencies([0, 0], ["a", "b"], [0], SOURCE), "no label occurs"),
        (lambda: plots.label_frequencies([], [], [], SOURCE), "label counts must be"),
        (lambda: plots.feature_norms([1.0, np.nan], [1, 2], SOURCE), "1 values .* not finite"),
        (lambda: plots.feature_norms([1, 2, 3], [1, 2], SOURCE), "3 visual .* 2 audio"),
        (lambda: plots.correlations([1], [0, 0], [1], SOURCE), "visual spectrum has no variance"),
        (
            lambda: plots.training_curves(pd.DataFrame({"step": [1]}), pd.DataFrame(), SOURCE),
            "lacks the column.* run, loss, cosine",
        ),
        (
            lambda: plots.recall_against_published(recalls(["a"]).iloc[:0], SOURCE),
            "no rows",
        ),
        (
            lambda: plots.recall_against_gallery(recalls(["a"]), SOURCE),
            "lacks the column.* gallery, model",
        ),
        (lambda: plots.umap(a_map(3, ["a"]).drop(columns="clip"), SOURCE), "column.* clip"),
        (lambda: plots.retrieval(examples(["sideways"], ["a"]), SOURCE), "sideways"),
    ],
)
def test_input_that_cannot_be_drawn_is_named_in_one_sentence(draw, says):
    with pytest.raises(InputError, match=says) as caught:
        draw()
    assert "\n" not in str(caught.value)
