"""Nearest neighbours against brute force, and the examples by hand."""

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
from xmodal.retrieval.examples import RetrievalConfig, examples, examples_table


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
    1.0   0.8   0.0     leads by 0.2: best; the second is audio 1
    0.6   0.96  0.8     leads by 0.16; the second is audio 2
    0.8   0.64  0.0     ranks last: worst; the first is audio 0
    ====  ====  ====
    """
    visual = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.0]])
    audio = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    return Embeddings(visual, audio)


def test_best_and_worst_by_hand():
    frame = examples(by_hand(), clips(3), RetrievalConfig(seeded=0))
    best, worst = (row for _, row in frame[frame["direction"] == VIDEO_TO_AUDIO].iterrows())
    assert (best["kind"], best["query_id"], best["match_id"]) == ("best", "clip0", "clip1")
    assert (best["rank"], best["own_was_first"]) == (1, True)
    assert best["cosine"] == pytest.approx(0.8)
    assert (best["query_labels"], best["match_labels"]) == ("zero", "one")
    assert (worst["kind"], worst["query_id"], worst["match_id"]) == ("worst", "clip2", "clip0")
    assert (worst["rank"], worst["own_was_first"]) == (3, False)
    assert worst["cosine"] == pytest.approx(0.8)


def test_the_other_direction_by_hand():
    """Columns of the table: audio 0 leads by 0.2, 1 by 0.16, 2 has its video behind video 1."""
    frame = examples(by_hand(), clips(3), RetrievalConfig(seeded=0))
    best, worst = (row for _, row in frame[frame["direction"] == AUDIO_TO_VIDEO].iterrows())
    assert (best["query_id"], best["match_id"], best["own_was_first"]) == ("clip0", "clip2", True)
    assert (worst["query_id"], worst["match_id"], worst["rank"]) == ("clip2", "clip1", 2.5)


def test_a_match_is_never_the_query_and_is_the_nearest_other():
    visual = unit(40, 0)
    embedded = Embeddings(visual, normalize(visual + unit(40, 1), dim=1))
    frame = examples(embedded, clips(40), RetrievalConfig(seeded=40))
    assert {True, False} == set(frame["own_was_first"])
    for direction, similarity in (
        (VIDEO_TO_AUDIO, embedded.visual @ embedded.audio.T),
        (AUDIO_TO_VIDEO, embedded.audio @ embedded.visual.T),
    ):
        others = similarity.fill_diagonal_(-2).argmax(dim=1).tolist()
        part = frame[frame["direction"] == direction]
        assert set(part["query_id"]) == {f"clip{i}" for i in range(40)}
        for _, row in part.iterrows():
            assert row["match_id"] == f"clip{others[int(row['query_id'][4:])]}"


def test_silent_clips_are_no_queries():
    silent = tuple(range(0, 40, 2))
    frame = examples(
        Embeddings(unit(40, 0), unit(40, 1)),
        clips(40, silent),
        RetrievalConfig(seeded=20, extremes=20),
    )
    assert set(frame["query_id"]) == {f"clip{i}" for i in range(1, 40, 2)}
    assert len(frame) == 2 * 3 * 20
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
    seeded = first["kind"] == "seeded"
    assert first["query_id"][seeded].tolist() != other["query_id"][seeded].tolist()
    assert first["query_id"][~seeded].tolist() == other["query_id"][~seeded].tolist()
    per_direction = first[seeded].groupby("direction")["query_id"].apply(list)
    assert per_direction[AUDIO_TO_VIDEO] != per_direction[VIDEO_TO_AUDIO]


def test_the_table_names_videos_that_were_resolved():
    frame = examples(
        Embeddings(unit(40, 0), unit(40, 1)), clips(40), RetrievalConfig(seeded=2, extremes=0)
    )
    plain = examples_table(frame)
    pd.testing.assert_frame_equal(plain, examples_table(frame, {"of another set": "abcdefghijk"}))
    first, second = frame["query_id"][:2]
    table = examples_table(frame, {first: "abcdefghijk", second: None})
    assert table["query on youtube"][:2].tolist() == ["abcdefghijk", "deleted"]
    assert table.columns[table.columns.get_loc("query id") + 1] == "query on youtube"
    pd.testing.assert_frame_equal(plain, table.drop(columns="query on youtube"))
