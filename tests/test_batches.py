"""Batches: each clip once an epoch, in an order that the seed and the step alone decide."""

from pathlib import Path

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from xmodal.data.batches import batch_labels, batch_rows, epoch_order
from xmodal.data.features import FeatureSet, open_features


def an_epoch(seed: int, epoch: int, batch_size: int, clips: int) -> list[np.ndarray]:
    steps = clips // batch_size
    return [batch_rows(seed, epoch * steps + s, batch_size, clips) for s in range(steps)]


@given(st.integers(0, 9), st.integers(0, 5), st.integers(1, 20), st.integers(1, 100))
def test_each_clip_comes_at_most_once_an_epoch(seed, epoch, batch_size, clips):
    assume(batch_size <= clips)
    batches = an_epoch(seed, epoch, batch_size, clips)
    assert {len(rows) for rows in batches} == {batch_size}
    seen = np.concatenate(batches)
    assert len(set(seen.tolist())) == len(seen) == clips - clips % batch_size
    assert set(seen.tolist()) <= set(range(clips))


@given(st.integers(0, 9), st.lists(st.integers(0, 200), min_size=2, max_size=20))
def test_a_batch_does_not_depend_on_those_asked_for_before(seed, steps):
    alone = {}
    for step in set(steps):
        epoch_order.cache_clear()
        alone[step] = batch_rows(seed, step, 7, 50)
    epoch_order.cache_clear()
    for step in steps:
        np.testing.assert_array_equal(batch_rows(seed, step, 7, 50), alone[step])


def test_every_epoch_and_every_seed_has_another_order():
    orders = [
        np.concatenate(an_epoch(seed, epoch, 10, 100)).tolist()
        for seed, epoch in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    ]
    assert len({tuple(order) for order in orders}) == 5
    assert all(sorted(order) == list(range(100)) for order in orders)


def test_what_is_left_out_differs_from_epoch_to_epoch():
    left_out = [set(range(13)) - set(np.concatenate(an_epoch(0, e, 5, 13))) for e in range(20)]
    assert {len(rows) for rows in left_out} == {3}
    assert set.union(*left_out) == set(range(13))


def features_with(labels: list[list[int]]) -> FeatureSet:
    n = len(labels)
    return FeatureSet(
        visual=np.zeros((n, 2), np.float32),
        audio=np.zeros((n, 2), np.float32),
        ids=np.array([f"clip{i}" for i in range(n)]),
        label_indptr=np.cumsum([0, *map(len, labels)]),
        label_indices=np.array([c for row in labels for c in row], np.int32),
        label_names=[f"name {c}" for c in range(10)],
        fingerprint="",
        source="by hand",
        split="train",
    )


def test_labels_of_a_batch_by_hand():
    features = features_with([[1, 4], [], [0], [2, 3, 9]])
    indptr, indices = batch_labels(features, np.array([3, 1, 0, 3]))
    assert indptr.tolist() == [0, 3, 3, 5, 8]
    assert indices.tolist() == [2, 3, 9, 1, 4, 2, 3, 9]
    assert indptr.dtype == indices.dtype == np.int64


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=20), st.randoms())
def test_labels_of_a_batch_are_those_of_its_clips(labels, random):
    features = features_with(labels)
    rows = np.array([random.randrange(len(labels)) for _ in range(random.randrange(1, 30))])
    indptr, indices = batch_labels(features, rows)
    named = [[features.label_names[c] for c in part] for part in np.split(indices, indptr[1:-1])]
    assert named == [features.labels_of(row) for row in rows]


def test_labels_of_a_prepared_split(related_features: Path):
    features = open_features(related_features, "train")
    rows = batch_rows(0, 3, 32, len(features))
    indptr, indices = batch_labels(features, rows)
    for place, row in enumerate(rows):
        names = [features.label_names[c] for c in indices[indptr[place] : indptr[place + 1]]]
        assert names == features.labels_of(row)
