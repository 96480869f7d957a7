"""Studies: what is measured of many runs, told as a table, and continued as a curve."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xmodal.config import InputError
from xmodal.data.features import open_features
from xmodal.evaluate import embed_run, recall_frame
from xmodal.study import extrapolate, study_frame, study_table
from xmodal.train import train


def test_every_run_is_measured_on_clips_that_are_not_silent(
    tiny, tmp_path: Path, related_features: Path
):
    for name, changes in {"text-seed0": {}, "wide-seed0": {"margin": 0.5}}.items():
        train(tiny(tmp_path / name, steps=10, **changes))
    features = open_features(related_features, "evaluation")
    frame = study_frame(tmp_path, features, [16])
    assert set(zip(frame["row"], frame["seed"])) == {("text", 0), ("wide", 0)}
    assert set(frame["clips"]) == {256}
    embedded = embed_run(tmp_path / "wide-seed0", features)
    expected = recall_frame([embedded], [16], ~features.silent, resamples=0)
    found = frame[(frame["row"] == "wide") & (frame["k"] == 5)]["recall"].item()
    assert found == pytest.approx(expected[expected["k"] == 5]["recall"].mean())
    with pytest.raises(InputError, match="holds no finished run"):
        study_frame(tmp_path / "none", features, [16])


def test_the_table_by_hand():
    frame = pd.DataFrame(
        [
            {"row": row, "seed": seed, "gallery": 1024, "k": 1, "recall": value, "best_step": step}
            for row, seed, value, step in [
                ("text", 0, 3.0, 100),
                ("text", 1, 5.0, 300),
                ("wide", 0, 7.25, 50),
            ]
        ]
    )
    table = study_table(frame, {"wide": "wider", "text": "nothing", "deep": "not trained"})
    assert table.to_dict("records") == [
        {"change": "wider", "seeds": 1, "best step": 50, "R@1, N = 1,024": "7.2"},
        {"change": "nothing", "seeds": 2, "best step": 200, "R@1, N = 1,024": "4.0 ± 1.4"},
    ]


def test_a_power_law_is_continued_exactly():
    clips = np.array([1000, 2000, 4000, 8000])
    found = extrapolate(clips, 0.5 * clips**0.25, 64_000)
    assert found == pytest.approx([0.5 * 64_000**0.25] * 3, rel=1e-6)


def test_the_interval_holds_what_it_says():
    """Of 400 curves with noise, about 95 in 100 have the next point inside."""
    rng = np.random.default_rng(0)
    clips, inside = np.array([1000, 2000, 4000, 8000] * 2), 0
    for _ in range(400):
        curve = np.exp(1 + 0.3 * np.log([*clips, 32_000]) + 0.1 * rng.standard_normal(9))
        _, low, high = extrapolate(clips, curve[:-1], 32_000)
        inside += low <= curve[-1] <= high
    assert stats.binomtest(inside, 400, 0.95).pvalue > 0.001
