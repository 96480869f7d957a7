"""Nearest neighbours against brute force, and the examples by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from by_hand import incidence
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from xmodal.config import InputError
from xmodal.data.features import FeatureSet
from xmodal.data.schema import AUDIO_DIM, VISUAL_DIM
from xmodal.evaluation.recall import AUDIO_TO_VIDEO, VIDEO_TO_AUDIO, nearest
from xmodal.model import Embeddings
from xmodal_suite import figures as plots
from xmodal_suite import findings
from xmodal_suite.examples import (
    RetrievalConfig,
    examples,
    examples_table,
    near_misses,
    thumbnails,
)
from xmodal_suite.measurements import read_measured, write_measured
from xmodal_suite.provenance import Provenance


def unit(n: int, seed: int, dim: int = 6) -> torch.Tensor:
    return normalize(torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def clips(n: int, silent: tuple[int, ...] = ()) -> FeatureSet:
    """Clip i has the label i % 3, and i in its features; silent ones have zeros for audio."""
    audio = np.repeat(np.arange(1, n + 1, dtype=np.float32)[:, None], AUDIO_DIM, axis=1)
    audio[list(silent)] = 0
    return FeatureSet(
        visual=np.repeat(np.arange(n, dtype=np.float32)[:, None], VISUAL_DIM, axis=1),
        audio=audio,
        ids=np.array([f"clip{i}" for i in range(n)]),
        labels=incidence([[i % 3] for i in range(n)], classes=3),
        label_names=["zero", "one", "two"],
        fingerprint="",
        source="by hand",
        split="evaluation",
    )


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 25), st.integers(0, 9), st.data())
def test_nearest_equals_brute_force_at_any_chunk(queries, items, chunk, seed, data):
    k = data.draw(st.integers(1, items))
    query, gallery = unit(queries, seed), unit(items, seed + 20)
    cosine, item = nearest(query, gallery, k, chunk)
    assert cosine.shape == item.shape == (queries, k)
    similarity = (query.double() @ gallery.double().T).numpy()
    for row in range(queries):
        assert len(set(item[row].tolist())) == k
        np.testing.assert_allclose(cosine[row], np.sort(similarity[row])[::-1][:k], atol=1e-6)
        np.testing.assert_allclose(cosine[row], similarity[row, item[row]], atol=1e-6)


@pytest.mark.parametrize("k", [0, 4])
def test_more_neighbours_than_items_are_refused(k):
    with pytest.raises(InputError, match=f"asked for {k} neighbours of a gallery of 3"):
        nearest(unit(2, 0), unit(3, 1), k)


def by_hand() -> Embeddings:
    """Cosines of the videos (rows) with the audio (columns).

    ====  ====  ====
    1.0   0.8   0.0     leads by 0.2: best
    0.6   0.96  0.8     leads by 0.16, at rank 1 too, which is the median of 1, 1 and 3
    0.8   0.64  0.0     ranks last: worst
    ====  ====  ====
    """
    visual = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.8, 0.0, 0.6]])
    audio = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.0, 1.0, 0.0]])
    return Embeddings(visual, audio)


def one_way(frame: pd.DataFrame, direction: str, kind: str) -> pd.DataFrame:
    return frame[(frame["direction"] == direction) & (frame["kind"] == kind)]


def test_best_and_worst_by_hand():
    frame = examples(by_hand(), clips(3), RetrievalConfig(seeded=0))
    assert list(frame["kind"].unique()) == ["best", "median", "worst"]
    best = one_way(frame, VIDEO_TO_AUDIO, "best")
    assert best["query_id"].tolist() == ["clip0"] * 3
    assert best["place"].tolist() == [1, 2, 3]
    assert best["match_id"].tolist() == ["clip0", "clip1", "clip2"]
    assert best["cosine"].tolist() == pytest.approx([1.0, 0.8, 0.0])
    assert best["own"].tolist() == [True, False, False]
    assert best["shared"].tolist() == [1, 0, 0]
    assert best["query_labels"].tolist() == ["zero"] * 3
    assert best["match_labels"].tolist() == ["zero", "one", "two"]
    assert set(best["rank"]) == {1.0} and set(best["candidates"]) == {3}
    worst = one_way(frame, VIDEO_TO_AUDIO, "worst")
    assert worst["query_id"].tolist() == ["clip2"] * 3
    assert worst["match_id"].tolist() == ["clip0", "clip1", "clip2"]
    assert worst["own"].tolist() == [False, False, True]
    assert set(worst["rank"]) == {3.0}


def test_the_other_direction_by_hand():
    """Columns of the table: audio 0 leads by 0.2, 1 by 0.16, 2 has its video behind video 1."""
    frame = examples(by_hand(), clips(3), RetrievalConfig(seeded=0))
    best = one_way(frame, AUDIO_TO_VIDEO, "best")
    assert best["query_id"].tolist() == ["clip0"] * 3
    assert best["match_id"].tolist() == ["clip0", "clip2", "clip1"]
    worst = one_way(frame, AUDIO_TO_VIDEO, "worst")
    assert (worst["query_id"].iloc[0], worst["rank"].iloc[0]) == ("clip2", 2.5)
    assert worst["match_id"].iloc[0] == "clip1"


def test_the_median_query_has_the_middle_rank():
    """So many sounds stand before a video's own as it says; the rest behind."""
    before = [4, 0, 3, 2, 1]
    cosines = torch.full((5, 5), 0.1)
    for row, count in enumerate(before):
        cosines[row, [other for other in range(5) if other != row][:count]] = 0.9
        cosines[row, row] = 0.5
    embedded = Embeddings(normalize(cosines, dim=1), torch.eye(5))
    frame = examples(embedded, clips(5), RetrievalConfig(seeded=0))
    median = one_way(frame, VIDEO_TO_AUDIO, "median")
    assert set(median["query_id"]) == {"clip3"}
    assert set(median["rank"]) == {3.0}


def test_items_are_the_nearest_and_the_own_one_is_marked():
    visual = unit(40, 0)
    embedded = Embeddings(visual, normalize(visual + unit(40, 1), dim=1))
    frame = examples(embedded, clips(40), RetrievalConfig(seeded=40, extremes=0))
    assert len(frame) == 2 * 40 * 3
    for direction, similarity in (
        (VIDEO_TO_AUDIO, embedded.visual @ embedded.audio.T),
        (AUDIO_TO_VIDEO, embedded.audio @ embedded.visual.T),
    ):
        order = similarity.argsort(dim=1, descending=True)
        for query, found in one_way(frame, direction, "random").groupby("query_id"):
            row = int(query[4:])
            assert found["match_id"].tolist() == [f"clip{i}" for i in order[row, :3].tolist()]
            place = order[row].tolist().index(row)
            assert found["own"].tolist() == [place == n for n in range(3)]
            assert set(found["rank"]) == {place + 1}


def test_silent_clips_are_no_queries():
    silent = tuple(range(0, 40, 2))
    frame = examples(
        Embeddings(unit(40, 0), unit(40, 1)),
        clips(40, silent),
        RetrievalConfig(seeded=20, extremes=20),
    )
    assert set(frame["query_id"]) == {f"clip{i}" for i in range(1, 40, 2)}
    assert len(frame) == 2 * 4 * 20 * 3  # directions, kinds, queries, items
    with pytest.raises(InputError, match="20 clips with sound are too few"):
        examples(
            Embeddings(unit(40, 0), unit(40, 1)), clips(40, silent), RetrievalConfig(seeded=21)
        )


def test_examples_depend_on_the_seed_alone():
    embedded, features = Embeddings(unit(40, 0), unit(40, 1)), clips(40)
    first, again, other = (
        examples(embedded, features, RetrievalConfig(seed=seed)) for seed in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(first, again)
    drawn = first["kind"] == "random"
    assert first["query_id"][drawn].tolist() != other["query_id"][drawn].tolist()
    assert first["query_id"][~drawn].tolist() == other["query_id"][~drawn].tolist()
    per_direction = first[drawn].groupby("direction")["query_id"].apply(list)
    assert per_direction[AUDIO_TO_VIDEO] != per_direction[VIDEO_TO_AUDIO]


def test_the_table_names_videos_that_were_resolved():
    frame = examples(
        Embeddings(unit(40, 0), unit(40, 1)), clips(40), RetrievalConfig(seeded=2, extremes=0)
    )
    plain = examples_table(frame)
    pd.testing.assert_frame_equal(plain, examples_table(frame, {"of another set": "abcdefghijk"}))
    first, second = frame["query_id"].unique()[:2]
    table = examples_table(frame, {first: "abcdefghijk", second: None})
    assert table["query on youtube"][:6].tolist() == ["abcdefghijk"] * 3 + ["deleted"] * 3
    assert table.columns[table.columns.get_loc("query id") + 1] == "query on youtube"
    assert {"item id", "item labels"} < {*table.columns}  # the match is the own clip alone
    pd.testing.assert_frame_equal(plain, table.drop(columns="query on youtube"))


def test_the_table_marks_the_own_clip_in_words():
    table = examples_table(examples(by_hand(), clips(3), RetrievalConfig(seeded=0)))
    best = one_way(table, VIDEO_TO_AUDIO, "best")
    assert best["own"].tolist() == ["own clip", "", ""]


def test_near_misses_by_hand():
    """Clips 4 and 5 are silent: items, but no queries. What the others find first:

    ====  ======  ===============  ===============
    clip  labels  its video finds  its sound finds
    ====  ======  ===============  ===============
    0     a       0: own           0: own
    1     a, b    0: a             1: own
    2     a, c    5: b, d          3: b
    3     b       4: d             1: a, b
    ====  ======  ===============  ===============
    """
    features = replace(
        clips(6, silent=(4, 5)),
        labels=incidence([[0], [0, 1], [0, 2], [1], [3], [1, 3]], classes=5),
        label_names=[*"abcd", "of no clip"],
    )
    cosines = torch.zeros(6, 6)
    for video, sound, cosine in [
        (0, 0, 1.0), (1, 0, 0.9), (2, 5, 0.9), (3, 4, 0.9), (1, 1, 0.5), (3, 2, 0.4), (1, 3, 0.3),
    ]:  # fmt: skip
        cosines[video, sound] = cosine
    lines = near_misses(Embeddings(cosines, torch.eye(6)), features)
    numbers = ["queries", "own first", "same label first", "same label by chance"]
    assert lines["label"].tolist() == ["a", "b", "c"]
    assert lines["most often instead"].tolist() == ["b", "d", "b"]
    expected = [[6, 50, 100 / 3, 50], [4, 25, 100 / 3, 50], [2, 0, 0, 100 / 6]]
    np.testing.assert_allclose(lines[numbers], expected)
    assert near_misses(Embeddings(cosines, torch.eye(6)), features, most=1).equals(lines[:1])


def test_a_label_without_misses_has_no_near_ones():
    lines = near_misses(Embeddings(torch.eye(3), torch.eye(3)), clips(3))
    assert lines["own first"].tolist() == [100, 100, 100]
    assert lines["same label first"].isna().all()
    assert lines["most often instead"].tolist() == ["", "", ""]


@pytest.mark.parametrize(("n", "most"), [(1, 1), (2, 2), (9, 0)])
def test_few_clips_and_no_examples_are_shown_as_they_are(tmp_path: Path, n: int, most: int):
    """As many items as there are; of no examples an empty table, which says so in words."""
    config = RetrievalConfig(seeded=min(most, 1), extremes=min(most, 1))
    embedded = Embeddings(unit(n, 0), unit(n, 1))
    measured = {"examples": examples(embedded, clips(n), config)}
    origin = Provenance(source="x", fingerprint="", parameters={}, seeds={}, command="")
    write_measured(tmp_path / "set", measured, origin, {})
    found = read_measured(tmp_path / "set")["examples"]
    assert len(found) == 4 * 2 * bool(most) * min(n, 3)
    assert list(examples_table(found, {"a": "b"}))[:2] == ["query id", "query labels"]
    words = {text.get_text() for text in plots.retrieval(found, "").axes[0].texts}
    assert ("No example was asked for." in words) == (not most)
    assert (findings.examples(found) == "No example was asked for.") == (not most)


def test_thumbnails_lead_to_known_videos_and_hold_no_html_of_others():
    found = pd.DataFrame({"rank": [1, 2], "id": ["a", "b"], "labels": ['"><script>', "Cat"]})
    html = thumbnails(found, {"a": "\"><script>&'", "b": None})
    assert html.count("<img") == html.count("<a ") == 1 and "<script>" not in html
    assert 'href="https://youtu.be/%22%3E%3Cscript%3E%26%27"' in html
    assert 'alt="1: &quot;&gt;&lt;script&gt;"' in html
