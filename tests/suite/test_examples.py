"""What queries retrieve: examples, near misses and neighbours, worked out by hand."""

import numpy as np
import pandas as pd
import pytest
import torch
from by_hand import by_hand, unit

from xmodal.config import InputError
from xmodal.data.features import FeatureSet
from xmodal.evaluation.recall import AUDIO_TO_VIDEO, VIDEO_TO_AUDIO
from xmodal.explorer import match_frame, neighbours_frame, points_frame
from xmodal.model import Embeddings
from xmodal_suite import examples as look

#: Cosines of the videos (rows) with the sounds (columns):
#:   1.0  0.8   0.0     video 0 leads by 0.2: best
#:   0.6  0.96  0.8     video 1 leads by 0.16, and is first too: the median of 1, 1 and 3
#:   0.8  0.64  0.0     video 2 has its sound last: worst; its sound ranks it with video 0: 2.5
BOTH = Embeddings(
    visual=torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.8, 0.0, 0.6]]),
    audio=torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.0, 1.0, 0.0]]),
)
ZERO, ONE, TWO = "name 0", "name 1", "name 2"


def clips(n: int, silent: tuple[int, ...] = ()) -> FeatureSet:
    """Clip i carries the label i % 3; silent ones have the same audio."""
    audio = np.arange(1.0, n + 1)[:, None]
    audio[list(silent)] = 0
    return by_hand([[i % 3] for i in range(n)], np.zeros((n, 1)), audio)


def test_best_median_and_worst_by_hand():
    found = look.examples(BOTH, clips(3), seeded=0, extremes=1, seed=0)
    by_kind = found.set_index(["direction", "kind"])
    assert list(found["kind"].unique()) == ["best", "median", "worst"]
    best = by_kind.loc[(VIDEO_TO_AUDIO, "best")]
    assert best["query_id"].tolist() == ["clip0"] * 3 and best["place"].tolist() == [1, 2, 3]
    assert best["match_id"].tolist() == ["clip0", "clip1", "clip2"]
    assert best["cosine"].tolist() == pytest.approx([1.0, 0.8, 0.0])
    assert best["own"].tolist() == [True, False, False] and best["shared"].tolist() == [1, 0, 0]
    assert best["query_labels"].tolist() == [[ZERO]] * 3
    assert best["match_labels"].tolist() == [[ZERO], [ONE], [TWO]]
    for direction, rank in ((VIDEO_TO_AUDIO, 3), (AUDIO_TO_VIDEO, 2.5)):
        worst = by_kind.loc[(direction, "worst")]
        assert set(worst["query_id"]) == {"clip2"} and set(worst["rank"]) == {rank}
    assert set(by_kind.loc[(VIDEO_TO_AUDIO, "median"), "rank"]) == {1}
    table = look.examples_table(found, {"clip0": "abcdefghijk", "clip2": None})
    assert table["own"][:3].tolist() == ["own clip", "", ""]
    assert table["query on youtube"].tolist()[-3:] == ["deleted"] * 3
    plain = look.examples_table(found, {"of another set": "abcdefghijk"})
    assert {*table} - {*plain} == {"query on youtube", "item on youtube"}


def test_random_queries_depend_on_the_seed_and_are_never_silent():
    both, some = Embeddings(unit(40, 0), unit(40, 1)), clips(40, silent=tuple(range(0, 40, 2)))
    first, again, other = (look.examples(both, some, 8, 20, seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert set(first["query_id"]) == {f"clip{i}" for i in range(1, 40, 2)}
    drawn = first["kind"] == "random"
    pd.testing.assert_frame_equal(first[~drawn], other[~drawn])
    assert first["query_id"][drawn].tolist() != other["query_id"][drawn].tolist()
    with pytest.raises(InputError, match="20"):
        look.examples(both, some, 21, 0, 0)


def test_near_misses_by_hand():
    """Clips 4 and 5 are silent: items, but no queries. What the others find first:

    ====  ======  ===============  ===============
    clip  labels  its video finds  its sound finds
    ====  ======  ===============  ===============
    0     0       0: own           0: own
    1     0, 1    0: 0             1: own
    2     0, 2    5: 1, 3          3: 1
    3     1       4: 3             1: 0, 1
    ====  ======  ===============  ===============
    """
    audio = np.array([[1], [2], [3], [4], [0], [0]])
    features = by_hand([[0], [0, 1], [0, 2], [1], [3], [1, 3]], audio=audio)
    cosines, entries = torch.zeros(6, 6), [(0, 0, 1.0), (1, 0, 0.9), (2, 5, 0.9), (3, 4, 0.9)]
    for video, sound, cosine in [*entries, (1, 1, 0.5), (3, 2, 0.4), (1, 3, 0.3)]:
        cosines[video, sound] = cosine
    lines = look.near_misses(Embeddings(cosines, torch.eye(6)), features)
    assert lines["label"].tolist() == [ZERO, ONE, TWO]
    assert lines["most often instead"].tolist() == [ONE, "name 3", ONE]
    expected = [[6, 50, 100 / 3, 50], [4, 25, 100 / 3, 50], [2, 0, 0, 100 / 6]]
    np.testing.assert_allclose(lines.iloc[:, 1:5], expected)


def test_points_matches_and_neighbours_by_hand():
    plane = np.arange(12).reshape(6, 2)
    points = points_frame(plane, by_hand([[0, 1], [0], []]), labels=1)
    assert points["labels"].tolist() == [[ZERO, ONE], [ZERO], []]
    assert points["label"].tolist() == [ZERO, ZERO, "other"]
    assert points.iloc[:, 3:].values.tolist() == [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]
    matches = match_frame(BOTH)
    np.testing.assert_allclose(matches["cosine"], [1, 0.96, 0])
    assert matches[VIDEO_TO_AUDIO].tolist() == [1, 1, 3]
    assert matches[AUDIO_TO_VIDEO].tolist() == [1, 1, 2.5]
    found = neighbours_frame(BOTH, 2, np.array([2, 0])).set_index(["direction", "query"])
    assert found.loc[(VIDEO_TO_AUDIO, 2), "item"].tolist() == [0, 1]
    assert found.loc[(AUDIO_TO_VIDEO, 0), "item"].tolist() == [0, 2]
    np.testing.assert_allclose(found.loc[(VIDEO_TO_AUDIO, 2), "cosine"], [0.8, 0.64])
    assert len(neighbours_frame(BOTH, 9)) == 2 * 3 * 3
