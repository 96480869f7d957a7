"""Learning curves: gathered, and continued."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xmodal.evaluation.cca import LINEAR
from xmodal_suite.scaling import (
    choose_law,
    clips_for,
    curve_table,
    extrapolate,
    hold_back,
    learning_points,
)
from xmodal_suite.tables import scaling_layout

RUNS = pd.DataFrame(
    [
        ("text", "the text", 0, 400, 4.0),
        ("margin", "no margin", 0, 400, 5.0),
        ("clips_100", "fewer", 0, 100, 2.0),
        ("flat", "one layer", 1, 400, 8.0),
        ("flat_clips_200", "one layer, fewer", 1, 200, 6.0),
    ],
    columns=["row", "change", "seed", "clips", "recall"],
).assign(measure="R@1, N = 16")


def test_rows_with_fewer_clips_join_their_row_and_closed_forms_come_last():
    fitted = pd.DataFrame({"method": LINEAR, "clips": [100, 400], "recall": [1.0, 3.0]})
    points = learning_points([RUNS], fitted, 16)[["method", "clips", "seed", "recall"]]
    assert points.values.tolist() == [
        ["the text", 400, 0, 4.0],
        ["the text", 100, 0, 2.0],
        ["one layer", 400, 1, 8.0],
        ["one layer", 200, 1, 6.0],
        [LINEAR, 100, 0, 1.0],
        [LINEAR, 400, 0, 3.0],
    ]


@pytest.mark.parametrize(
    "law, grown", [("power law", lambda n: 0.5 * n**0.25), ("logarithm", lambda n: 3 * np.log(n))]
)
def test_a_law_is_continued_exactly(law: str, grown):
    clips = np.array([1000, 2000, 4000, 8000])
    found = extrapolate(clips, grown(clips), 64_000, law)
    assert found == pytest.approx([grown(64_000)] * 3, rel=1e-6)


@pytest.mark.parametrize("law", ["power law", "logarithm"])
def test_the_interval_holds_what_it_says(law: str):
    """Of 400 curves with noise, about 95 in 100 have the next point inside."""
    rng = np.random.default_rng(0)
    clips, inside = np.array([1000, 2000, 4000, 8000] * 2), 0
    for _ in range(400):
        plain = 1 + 0.3 * np.log([*clips, 32_000]) + 0.1 * rng.standard_normal(9)
        curved = np.exp(plain) if law == "power law" else plain
        _, low, high = extrapolate(clips, curved[:-1], 32_000, law)
        inside += low <= curved[-1] <= high
    assert stats.binomtest(inside, 400, 0.95).pvalue > 0.001


def test_two_runs_give_a_line_without_interval():
    recall, low, high = extrapolate(np.array([100, 200]), np.array([2.0, 4.0]), 400, "logarithm")
    assert recall == pytest.approx(6) and np.isnan([low, high]).all()
    points = pd.DataFrame({"method": "a", "clips": [100, 200], "seed": 0, "recall": [2.0, 4.0]})
    table = curve_table(points, [400], None)
    assert table["recall"].tolist() == pytest.approx([8, 6]) and table["low"].isna().all()
    assert scaling_layout(table)["400 clips (%)"].tolist() == ["8.0", "6.0"]


def test_clips_for_a_recall_by_hand():
    points = pd.DataFrame({"clips": [100, 200], "recall": [2.0, 4.0]})
    assert clips_for(points, "power law", 16) == pytest.approx(800)
    assert clips_for(points, "logarithm", 8) == pytest.approx(800)
    assert np.isnan(clips_for(points.assign(recall=[4.0, 2.0]), "logarithm", 8))
    assert np.isnan(clips_for(points.assign(recall=[4.0, 4.0]), "logarithm", 8))
    slow = points.assign(recall=[2.0, 2.001])
    assert clips_for(slow, "logarithm", 8) > 1e9
    table = curve_table(slow.assign(method="a"), [400], ("target", 8.0))
    assert scaling_layout(table)["clips for 8.0% (target)"].iloc[1] == ""


def test_no_recall_is_above_a_hundred_percent():
    clips = np.array([100, 200, 400])
    assert extrapolate(clips, np.array([20.0, 41.0, 80.0]), 10_000, "power law")[0] == 100


@pytest.mark.parametrize(
    "law, grown", [("power law", lambda n: 0.2 * n**0.3), ("logarithm", lambda n: 2 * np.log(n))]
)
def test_the_law_that_made_the_points_is_chosen(law: str, grown):
    clips = np.array([1000, 2000, 4000, 8000])
    points = pd.DataFrame({"method": "a", "clips": clips, "seed": 0, "recall": grown(clips)})
    held = hold_back(points)
    assert held["fitted to"].tolist() == [4000, 4000]
    assert held["clips"].tolist() == [8000, 8000] and held["measured"].iloc[0] == grown(8000)
    predicted = held.set_index("law")["recall"]
    assert predicted[law] == pytest.approx(grown(8000))
    assert predicted.drop(law).iloc[0] != pytest.approx(grown(8000), rel=0.005)
    assert choose_law(points) == law
    few = points[points["clips"] > 1000]
    assert hold_back(few).empty  # three sizes: two are left, through which any law goes
