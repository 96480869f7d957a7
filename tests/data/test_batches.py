"""Batches: each clip once an epoch, in an order that the seed and the step alone decide."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xmodal.config import TrainConfig
from xmodal.data import batches
from xmodal.data.batches import BLOCK, Batches, Order, mix
from xmodal.data.features import read_rows

CPU = torch.device("cpu")


def an_epoch(order: Order, epoch: int) -> list[np.ndarray]:
    steps = order.clips // order.batch_size
    return [order.rows(epoch * steps + step) for step in range(steps)]


orders = st.builds(
    lambda seed, batch, clips, window: Order(seed, max(clips, batch), batch, window),
    seed=st.integers(0, 9),
    batch=st.integers(1, 32),
    clips=st.integers(1, 3000),
    window=st.integers(1, 3000),
)


@given(orders, st.integers(0, 5))
def test_each_clip_comes_at_most_once_an_epoch(order: Order, epoch: int):
    found = an_epoch(order, epoch)
    assert {len(rows) for rows in found} == {order.batch_size}
    seen = np.concatenate(found)
    assert len(set(seen.tolist())) == len(seen)
    assert set(seen.tolist()) <= set(range(order.clips))
    assert order.clips - len(seen) < order.batch_size


def test_every_epoch_and_every_seed_has_another_order():
    found = [
        np.concatenate(an_epoch(Order(seed, 100, 10), epoch)).tolist()
        for seed, epoch in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    ]
    assert len({tuple(order) for order in found}) == 5
    assert all(sorted(order) == list(range(100)) for order in found)


def test_a_window_reads_whole_blocks_and_mixes_them():
    order = Order(0, 40 * BLOCK, 64, window=4 * BLOCK)
    blocks = set()
    for step in range(0, 40 * BLOCK // 64, 64):
        batch = order.rows(step)  # mixed: of each block, and not in the order of the file
        assert len(np.unique(batch // BLOCK)) == 4 and (np.diff(batch) < 0).any()
        assert order.window_steps(step) == range(step, step + 64)
        rows = np.concatenate([order.rows(s) for s in order.window_steps(step)])
        touched, clips = np.unique(rows // BLOCK, return_counts=True)
        assert len(rows) == 4 * BLOCK and (clips == BLOCK).all()
        blocks.add(tuple(touched))
    assert len(blocks) == 10
    assert blocks != {tuple(range(b, b + 4)) for b in range(0, 40, 4)}  # not neighbours


def test_windows_end_with_the_epoch():
    order = Order(0, 100, 10, window=30)
    found = [order.window_steps(step) for step in range(20)]
    assert found[:10] == [range(0, 3)] * 3 + [range(3, 6)] * 3 + [range(6, 9)] * 3 + [range(9, 10)]
    assert found[10:12] == [range(10, 13)] * 2


@pytest.mark.parametrize(("process", "processes"), [(0, 1), (0, 2), (1, 2)])
def test_a_process_reads_its_share_a_window_at_a_time(
    tiny: Callable[..., TrainConfig], process, processes, monkeypatch: pytest.MonkeyPatch
):
    config = tiny("run", batch_size=12, buffer_clips=36, steps=45)
    made, read = Batches(config, CPU, process, processes), []
    monkeypatch.setattr(
        batches, "read_rows", lambda values, rows: read.append(rows) or read_rows(values, rows)
    )
    share = 12 // processes
    order, features = Order(0, 256, 12, 36), made.features
    for step in [*range(5), *range(15, 45)]:  # as a training that is resumed
        rows = order.rows(step)[share * process :][:share]
        batch = made(step)
        np.testing.assert_array_equal(batch.visual, features.visual[rows].astype(np.float32))
        np.testing.assert_array_equal(batch.audio, features.audio[rows].astype(np.float32))
        parts = np.split(batch.labels[0].indices, batch.labels[0].indptr[1:-1])
        names = [[features.label_names[c] for c in part] for part in parts]
        assert names == [features.labels_of(row) for row in rows]
    assert max(map(len, read)) == 3 * share
    assert sum(map(len, read)) // 2 <= 42 * share  # none beyond the end


def test_pairs_are_drawn_anew_each_step_and_alike_for_a_step(tiny: Callable[..., TrainConfig]):
    made, again = (Batches(tiny("run", seed=3), CPU) for _ in range(2))
    draws = [made(step).pairs for step in range(4)]
    assert all(pairs.negative.any() and not pairs.negative.all() for pairs in draws)
    assert len({tuple(pairs.audio.tolist()) for pairs in draws}) == 4
    for step in (3, 0):
        assert again(step).pairs.audio.equal(draws[step].audio)
    contrastive = Batches(tiny("run", objective="infonce"), CPU)(0).pairs
    assert not contrastive.negative.any() and contrastive.audio.tolist() == list(range(32))


def test_swapped_audio_is_that_of_the_pairs_with_its_labels(tiny: Callable[..., TrainConfig]):
    plain, swapped = (Batches(tiny("run", swap_first=swap), CPU)(1) for swap in (False, True))
    other = plain.pairs.audio
    assert swapped.audio.equal(plain.audio[other]) and not swapped.audio.equal(plain.audio)
    assert swapped.pairs.audio.tolist() == list(range(32))
    assert swapped.pairs.negative.equal(plain.pairs.negative)
    carried = np.split(plain.labels[1].indices, plain.labels[1].indptr[1:-1])
    found = np.split(swapped.labels[1].indices, swapped.labels[1].indptr[1:-1])
    assert [part.tolist() for part in found] == [carried[i].tolist() for i in other]
    assert swapped.labels[0].indices.equal(plain.labels[0].indices)


def test_both_modalities_are_mixed_alike():
    """Features that tell the clip: shares of at least a half stay with it."""
    clips = torch.eye(6)
    visual, audio = mix(clips, 2 * clips, 0.5, [1, 2, 0])
    torch.testing.assert_close(audio, 2 * visual)
    torch.testing.assert_close(visual.sum(dim=1), torch.ones(6))
    assert (visual.diagonal() >= 0.5).all() and (visual != clips).any()
