"""Linear CCA, where the relation between the modalities is known."""

from pathlib import Path

import numpy as np
import pytest
from by_hand import by_hand

from xmodal.data.features import FeatureSet, open_features
from xmodal.data.statistics import moments
from xmodal.evaluation import cca
from xmodal.evaluation.cca import LINEAR, choose_cca, embed_cca, fit_cca
from xmodal.evaluation.recall import mean_recall
from xmodal.metrics import ranks


def related(n: int, seed: int) -> FeatureSet:
    """Audio is a rotation of three of the five visual dimensions, and noise of its own."""
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((n, 3))
    visual = np.hstack([5 * hidden, rng.standard_normal((n, 2))]) + 3
    rotation = np.linalg.qr(np.random.default_rng(9).standard_normal((3, 3)))[0]
    audio = np.hstack([hidden @ rotation, 4 * rng.standard_normal((n, 1))]) - 1
    return by_hand([[0]] * n, visual, audio)


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_cca_finds_a_linear_relation_on_clips_it_has_not_seen(power: float):
    fitted = fit_cca(moments(related(2000, 0)), ridge=1e-6)
    assert fitted.correlation == pytest.approx([1, 1, 1, 0], abs=0.06)
    embedded = embed_cca(fitted, related(100, 1), power)
    found = ranks(embedded.visual, embedded.audio)[0].hits(1).mean()
    assert found > 0.9 if power else 0.1 < found < 0.9  # plain, the fourth direction is noise


def test_weights_are_the_correlations():
    fitted, held_out = fit_cca(moments(related(2000, 0)), ridge=0.01), related(10, 1)
    visual, audio = fitted.project(held_out)
    for power in (0, 1, 2):
        found = embed_cca(fitted, held_out, power)
        for ours, plain in ((found.visual, visual), (found.audio, audio)):
            expected = plain * fitted.correlation**power
            expected /= np.linalg.norm(expected, axis=1, keepdims=True)
            np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_cca_is_chosen_on_validation_clips(related_features: Path):
    clips = open_features(related_features, "evaluation")
    found, grid = choose_cca(related_features)
    assert grid["validation R@1"].is_monotonic_decreasing
    assert len(grid) == len(cca.RIDGES) * len(cca.POWERS)
    assert list(found) == ["linear CCA, plain", LINEAR]
    # the eight hidden numbers are shared, linearly: hardly a match is missed
    fitted, power = found[LINEAR]
    assert mean_recall(embed_cca(fitted, clips, power), clips) > 90
