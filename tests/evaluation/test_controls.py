"""Baselines and controls: each must score what is known beforehand."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from by_hand import by_hand

from xmodal.data.features import FeatureSet
from xmodal.data.schema import read_columns
from xmodal.data.statistics import moments
from xmodal.evaluation import controls
from xmodal.evaluation.cca import embed_cca, fit_cca
from xmodal.evaluation.controls import frame_counts
from xmodal.metrics import ranks, recall
from xmodal.model import Embeddings


def clips(
    visual: np.ndarray, audio: np.ndarray, labels: Sequence[Sequence[int]] = ()
) -> FeatureSet:
    return by_hand(labels or [[0]] * len(visual), visual, audio)


def recall_at_1(embedded: Embeddings) -> float:
    return recall(ranks(embedded.visual, embedded.audio), ks=(1,), resamples=0).recall[0]


def related(n: int, seed: int) -> FeatureSet:
    """Audio is a rotation of three of the five visual dimensions, and noise of its own."""
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((n, 3))
    visual = np.hstack([5 * hidden, rng.standard_normal((n, 2))]) + 3
    rotation = np.linalg.qr(np.random.default_rng(9).standard_normal((3, 3)))[0]
    audio = np.hstack([hidden @ rotation, 4 * rng.standard_normal((n, 1))]) - 1
    return clips(visual, audio)


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_cca_finds_a_linear_relation_on_clips_it_has_not_seen(power: float):
    fitted = fit_cca(moments(related(2000, 0)), ridge=1e-6)
    assert fitted.correlation == pytest.approx([1, 1, 1, 0], abs=0.06)
    found = recall_at_1(embed_cca(fitted, related(100, 1), power))
    assert found > 0.9 if power else 0.1 < found < 0.9  # plain, the fourth direction is noise


def test_weights_are_the_correlations():
    fitted, held_out = fit_cca(moments(related(2000, 0))), related(10, 1)
    visual, audio = fitted.project(held_out.visual, held_out.audio)
    for power in (0, 1, 2):
        found = embed_cca(fitted, held_out, power)
        for ours, plain in ((found.visual, visual), (found.audio, audio)):
            expected = plain * fitted.correlation**power
            expected /= np.linalg.norm(expected, axis=1, keepdims=True)
            np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_shuffled_pairs_score_chance():
    unit = torch.nn.functional.normalize(torch.randn(3000, 8), dim=1)
    assert recall_at_1(Embeddings(unit, unit)) == 1
    found = controls.shuffled(Embeddings(unit, unit))
    assert recall_at_1(found) < 5 / 3000
    assert sorted(found.audio.sum(dim=1).tolist()) == sorted(unit.sum(dim=1).tolist())


def test_one_point_for_all_scores_exactly_chance():
    found = controls.constant(40)
    result = recall(ranks(found.visual, found.audio), ks=(1, 5, 10), resamples=0)
    assert result.recall == pytest.approx((1 / 40, 5 / 40, 10 / 40))


def test_norms_match_clips_whose_lengths_have_the_same_order():
    lengths = np.random.default_rng(0).permutation(50)[:, None] + 1.0
    told = clips(lengths * [0.6, 0.8], lengths**2 * [0, 1])  # another scale, the same order
    assert recall_at_1(controls.norms(told)) == 1
    unrelated = clips(lengths * [0.6, 0.8], np.random.default_rng(1).permutation(lengths))
    assert recall_at_1(controls.norms(unrelated)) < 0.2


def test_labels_find_a_clip_among_those_that_share_them_all():
    """By hand: two clips share {0}, one has {0, 1}, one {2}, and one none at all."""
    told = clips(np.ones((5, 2)), np.ones((5, 2)), [[0], [0], [0, 1], [2], []])
    found = controls.labels(told)
    chance = ranks(found.visual, found.audio).hits(1).tolist()
    assert chance == pytest.approx([1 / 2, 1 / 2, 1, 1, 1 / 5])


def test_scores_rank_as_they_are():
    scores = np.array([[1.0, 5.0, 3.0], [0.0, 2.0, 1.0], [-9.0, -7.0, -8.0]])
    found = controls.similarity(scores)
    assert ranks(found.visual, found.audio).average().tolist() == [3, 1, 2]
    assert ranks(found.audio, found.visual).average().tolist() == [1, 2, 3]


def averaged(frames: Sequence[int], width: int, seed: int) -> np.ndarray:
    """Means over so many frames of values stored in 8 bits, as YouTube-8M makes them."""
    rng = np.random.default_rng(seed)
    means = [rng.integers(0, 256, (count, width)).mean(axis=0) for count in frames]
    return (np.array(means) * 4 / 255 - 1.9921875).astype(np.float32)


def test_the_number_of_frames_is_read_from_either_modality():
    counts = [2, 7, 60, 119, 120, 121, 150, 240, 299, 300]
    visual, audio = averaged(counts, 1024, 0), averaged(counts, 128, 1)
    assert frame_counts(visual).tolist() == counts
    assert frame_counts(audio).tolist() == counts
    assert recall_at_1(controls.frames(clips(visual, audio))) == 1
    noise = np.random.default_rng(2).uniform(-1.9, 1.9, (10, 128))
    assert frame_counts(noise).tolist() != counts


def test_real_clips_have_as_many_frames_to_see_as_to_hear(real_shards):
    some = read_columns(min((real_shards / "validate").glob("*.tfrecord")))
    seen, heard = frame_counts(some.visual), frame_counts(some.audio)
    sound = heard > 1  # silence is the same number in every frame
    assert sound.mean() > 0.9
    assert (seen == heard)[sound].all()
    assert len(set(seen.tolist())) > 20 and seen.max() <= 360
