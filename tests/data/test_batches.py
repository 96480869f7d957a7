"""Batches: each clip once an epoch, in an order that the seed and the step alone decide."""

from pathlib import Path

import numpy as np
import pytest
from by_hand import by_hand
from hypothesis import given
from hypothesis import strategies as st

from xmodal.data.features import open_features, read_rows
from xmodal.data.loader import BLOCK, Order, Reader, _epoch_order, batch_labels


def an_epoch(order: Order, epoch: int) -> list[np.ndarray]:
    return [order.rows(epoch * order.epoch_steps + s) for s in range(order.epoch_steps)]


orders = st.builds(
    lambda seed, share, readers, clips, window: Order(
        seed, max(clips, share * readers), share * readers, readers, window
    ),
    seed=st.integers(0, 9),
    share=st.integers(1, 8),
    readers=st.integers(1, 4),
    clips=st.integers(1, 3000),
    window=st.integers(1, 3000),
)


@given(orders, st.integers(0, 5))
def test_each_clip_comes_at_most_once_an_epoch(order: Order, epoch: int):
    batches = an_epoch(order, epoch)
    assert {len(rows) for rows in batches} == {order.batch_size}
    seen = np.concatenate(batches)
    assert len(set(seen.tolist())) == len(seen)
    assert set(seen.tolist()) <= set(range(order.clips))
    left_out = order.clips - len(seen)
    assert left_out < order.batch_size + order.readers


@given(st.integers(0, 9), st.lists(st.integers(0, 200), min_size=2, max_size=20))
def test_a_batch_does_not_depend_on_those_asked_for_before(seed, steps):
    order = Order(seed, 50, 7, window=21)
    alone = {}
    for step in set(steps):
        _epoch_order.cache_clear()
        alone[step] = order.rows(step)
    _epoch_order.cache_clear()
    for step in steps:
        np.testing.assert_array_equal(order.rows(step), alone[step])


def test_every_epoch_and_every_seed_has_another_order():
    found = [
        np.concatenate(an_epoch(Order(seed, 100, 10), epoch)).tolist()
        for seed, epoch in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    ]
    assert len({tuple(order) for order in found}) == 5
    assert all(sorted(order) == list(range(100)) for order in found)


def test_what_is_left_out_differs_from_epoch_to_epoch():
    order = Order(0, 13, 5)
    left_out = [set(range(13)) - set(np.concatenate(an_epoch(order, e))) for e in range(20)]
    assert {len(rows) for rows in left_out} == {3}
    assert set.union(*left_out) == set(range(13))


# --- sets larger than memory ---------------------------------------------------------------------


def test_a_window_reads_whole_blocks_but_for_its_ends():
    """Of 40 blocks in random order a window of 4 has at most 5, all but two of them whole."""
    order = Order(0, 40 * BLOCK, 64, window=4 * BLOCK)
    blocks = set()
    for step in range(0, order.epoch_steps, 64):
        assert order.window_steps(step) == range(step, step + 64)
        rows = np.concatenate([order.rows(s) for s in order.window_steps(step)])
        touched, clips = np.unique(rows // BLOCK, return_counts=True)
        assert len(rows) == 4 * BLOCK and (clips == BLOCK).all()
        blocks.add(tuple(touched))
    assert len(blocks) == 10
    assert blocks != {tuple(range(b, b + 4)) for b in range(0, 40, 4)}  # not neighbours


def test_the_clips_of_a_window_are_mixed():
    """A batch of 64 from a window of four blocks has clips of each, and none in file order."""
    order = Order(0, 40 * BLOCK, 64, window=4 * BLOCK)
    for step in (0, 17, 200):
        rows = order.rows(step)
        assert len(np.unique(rows // BLOCK)) == 4
        assert (np.diff(rows) < 0).any()


def test_windows_end_with_the_epoch():
    order = Order(0, 100, 10, window=30)
    found = [order.window_steps(step) for step in range(20)]
    assert found[:10] == [range(0, 3)] * 3 + [range(3, 6)] * 3 + [range(6, 9)] * 3 + [range(9, 10)]
    assert found[10:12] == [range(10, 13)] * 2


def test_each_reader_has_its_own_part_of_the_clips():
    order = Order(0, 103, 12, readers=3)
    for rows in an_epoch(order, 0) + an_epoch(order, 1):
        for part, (begin, end) in enumerate([(0, 34), (34, 68), (68, 103)]):
            share = rows[4 * part : 4 * part + 4]
            assert ((begin <= share) & (share < end)).all()


@pytest.mark.parametrize("stretch", [slice(0, 12), slice(0, 6), slice(6, 12)])
def test_a_reader_gives_the_features_of_its_stretch(
    related_features: Path, stretch: slice, monkeypatch: pytest.MonkeyPatch
):
    features = open_features(related_features, "train")
    order = Order(0, len(features), 12, readers=2, window=36)
    read = []
    monkeypatch.setattr(
        "xmodal.data.loader.read_rows",
        lambda values, rows: read.append(rows) or read_rows(values, rows),
    )
    reader = Reader(features, order, stretch, steps=45)
    for step in [*range(5), *range(15, 45)]:  # as a training that is resumed
        rows, visual, audio = reader(step)
        np.testing.assert_array_equal(rows, order.rows(step)[stretch])
        np.testing.assert_array_equal(visual, features.visual[rows])
        np.testing.assert_array_equal(audio, features.audio[rows])
        assert len(reader.windows) <= 2
    assert max(map(len, read)) == 3 * (stretch.stop - stretch.start)  # a window at a time
    assert sum(map(len, read)) // 2 <= 42 * (stretch.stop - stretch.start)  # none beyond the end
    if stretch.stop - stretch.start == 6:  # nothing of the other process's part
        half = np.concatenate(read) < 128
        assert half.all() if stretch.start == 0 else not half.any()


def test_labels_of_a_batch_by_hand():
    features = by_hand([[1, 4], [], [0], [2, 3, 9]])
    indptr, indices = batch_labels(features, np.array([3, 1, 0, 3]))
    assert indptr.tolist() == [0, 3, 3, 5, 8]
    assert indices.tolist() == [2, 3, 9, 1, 4, 2, 3, 9]
    assert indptr.dtype == indices.dtype == np.int64


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=20), st.randoms())
def test_labels_of_a_batch_are_those_of_its_clips(labels, random):
    features = by_hand(labels)
    rows = np.array([random.randrange(len(labels)) for _ in range(random.randrange(1, 30))])
    indptr, indices = batch_labels(features, rows)
    named = [[features.label_names[c] for c in part] for part in np.split(indices, indptr[1:-1])]
    assert named == [features.labels_of(row) for row in rows]


def test_labels_of_a_prepared_split(related_features: Path):
    features = open_features(related_features, "train")
    rows = Order(0, len(features), 32).rows(3)
    indptr, indices = batch_labels(features, rows)
    for place, row in enumerate(rows):
        names = [features.label_names[c] for c in indices[indptr[place] : indptr[place + 1]]]
        assert names == features.labels_of(row)
