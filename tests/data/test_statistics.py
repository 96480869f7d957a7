"""The numbers behind the pictures of notebook 01, where they are known beforehand."""

from dataclasses import replace

import numpy as np
import pytest
from by_hand import by_hand

from xmodal.data.features import FeatureSet
from xmodal.data.statistics import label_counts, moments, overview, spectrum, whitener
from xmodal.evaluation.cca import canonical_correlations


def clips(n: int, correlations: tuple[float, ...], seed: int) -> FeatureSet:
    """Draw two modalities, mixed and shifted, with known canonical correlations."""
    draw = np.random.default_rng(seed).standard_normal
    rho = np.array(correlations)
    shared, k = draw((n, len(rho))), len(rho)
    x = np.sqrt(rho) * shared + np.sqrt(1 - rho) * draw((n, k))
    y = np.sqrt(rho) * shared + np.sqrt(1 - rho) * draw((n, k))
    mix = np.random.default_rng(99).standard_normal((k + 3, k + 3))
    visual = np.hstack([x, draw((n, 3))]) @ mix + 5
    return by_hand([[]] * n, visual, y @ mix[:k, :k] - 2)


def test_canonical_correlations_of_a_known_model():
    truth = (0.9, 0.6, 0.3, 0.0)
    train, held_out = (clips(20_000, truth, seed) for seed in (0, 1))
    found = canonical_correlations(moments(train), held_out, ridge=1e-6)
    assert found == pytest.approx(truth, abs=0.03)


def test_spectrum_is_the_variance_along_the_axes_of_an_ellipsoid():
    assert spectrum(np.diag([1.0, 9.0, 4.0])) == pytest.approx([9, 4, 1])


@pytest.mark.parametrize(("chunk", "storage"), [(7, np.float32), (8192, np.float16)])
def test_moments_are_those_of_all_clips_at_once(
    chunk: int, storage: type, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("xmodal.data.features.CHUNK", chunk)
    split = clips(50, (0.9, 0.3), 0)
    stored = {name: getattr(split, name).astype(storage) for name in ("visual", "audio")}
    split = replace(split, **stored)
    both = np.hstack([split.visual, split.audio]).astype(np.float64)
    covariance, found = np.cov(both.T, bias=True), moments(split)
    means = np.concatenate([found.visual_mean, found.audio_mean])
    np.testing.assert_allclose(means, both.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.visual, covariance[:5, :5], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.audio, covariance[5:, 5:], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.cross, covariance[:5, 5:], rtol=1e-4, atol=1e-4)


def test_whitened_features_have_no_correlation():
    draws = np.random.default_rng(0).standard_normal((500, 4)) @ np.diag([1.0, 2.0, 3.0, 4.0])
    draws[:, 1] += draws[:, 0]
    covariance = np.cov(draws.T, bias=True)
    matrix = whitener(covariance, ridge=0)
    np.testing.assert_allclose(matrix.T @ covariance @ matrix, np.eye(4), atol=1e-10)


def test_label_counts_and_overview_by_hand():
    split = by_hand([[0, 2], [2]], [[3, 4], [0, 4]], [[0, 3], [0, 3]])
    assert label_counts(split)[:4].tolist() == [1, 0, 2, 0]
    (row,) = overview({"train": split}).to_dict("records")
    assert (row["clips"], row["silent clips"], row["labels per clip"]) == (2, 2, 1.5)
    assert (row["visual norm"], row["visual norm deviation"]) == (4.5, 0.5)
    assert (row["audio lowest"], row["audio highest"]) == (0, 3)


def test_clips_of_the_same_picture_are_found_in_any_split():
    pictures = {"train": [1, 2, 3], "validation": [2, 5], "evaluation": [6]}
    splits = {k: by_hand([[]] * len(v), np.array(v)[:, None]) for k, v in pictures.items()}
    assert overview(splits)["repeated clips"].tolist() == [1, 1, 0]
