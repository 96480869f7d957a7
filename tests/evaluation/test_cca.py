"""Linear CCA, where the relation between the modalities is known."""

from pathlib import Path

import numpy as np
import pytest
import torch
from by_hand import by_hand, unit

from xmodal.data.features import FeatureSet, open_features
from xmodal.data.statistics import moments
from xmodal.evaluation import cca
from xmodal.evaluation.cca import (
    LINEAR,
    choose_cca,
    choose_kernel_cca,
    embed_cca,
    fit_cca,
    kernel_module,
    kernel_moments,
)
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


def exact_kernels(clips: FeatureSet, widths: tuple[float, float]) -> list[np.ndarray]:
    """Return the kernels of both modalities, centred, by their definition."""
    found = []
    for x, width in zip((clips.visual, clips.audio), widths, strict=True):
        z = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0).mean())
        distances = ((z[:, None] - z) ** 2).sum(axis=2)
        exact = z @ z.T / x.shape[1] + np.exp(-(width**2) * distances / 2 / x.shape[1])
        centre = np.eye(len(x)) - 1 / len(x)
        found.append(centre @ exact @ centre / len(x))
    return found


def exact_correlations(kernels: list[np.ndarray], ridges: list[float]) -> np.ndarray:
    """Return the canonical correlations of two kernels, from their eigenvectors."""
    parts = []
    for matrix, ridge in zip(kernels, ridges, strict=True):
        values, vectors = np.linalg.eigh(matrix)
        values = values.clip(min=0)
        parts.append(vectors * np.sqrt(values / (values + ridge)) @ vectors.T)
    return np.linalg.svd(parts[0] @ parts[1], compute_uv=False)


def test_kernel_cca_nears_the_exact_one_with_more_random_features():
    clips, widths, errors = related(300, 0), (0.6, 0.8), []
    kernels = exact_kernels(clips, widths)
    for size in (10, 100, 1000):
        found = []
        for seed in range(3):
            _, measured = kernel_moments(clips, moments(clips), widths, size, seed=seed)
            variances = [np.trace(c) / len(c) for c in (measured.visual, measured.audio)]
            share = 0.02 / variances[0]
            exact = exact_correlations(kernels, [share * variance for variance in variances])[:8]
            found.append(np.abs(fit_cca(measured, share, 8).correlation - exact).mean())
        errors.append(np.mean(found))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.01


def test_a_kernel_without_width_leaves_linear_cca():
    clips = related(2000, 0)
    linear = fit_cca(moments(clips), ridge=1e-6)
    random, measured = kernel_moments(clips, moments(clips), (1e-4, 1e-4), 20)
    found = fit_cca(measured, 1e-6, 4)._replace(random=random)
    np.testing.assert_allclose(found.correlation, linear.correlation, atol=1e-3)
    ours, theirs = (embed_cca(one, related(50, 1), power=2) for one in (found, linear))
    torch.testing.assert_close(
        ours.visual @ ours.audio.T, theirs.visual @ theirs.audio.T, atol=0.01, rtol=0
    )


def test_kernel_cca_finds_what_no_line_shows():
    """The audio is the square of the visual feature: no correlation, but all of it is shared."""
    rng = np.random.default_rng(0)
    visual = rng.standard_normal((3000, 1))
    clips = by_hand([[0]] * 3000, visual, visual**2)
    assert fit_cca(moments(clips), 0.01).correlation[0] < 0.1
    _, measured = kernel_moments(clips, moments(clips), (1.0, 1.0), 50)
    assert fit_cca(measured, 0.001, 3).correlation[0] > 0.95


def test_kernel_cca_is_chosen_on_validation_clips(
    related_features: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cca, "WIDTHS", ((0.2, 0.2), (0.6, 0.8)))
    monkeypatch.setattr(cca, "KERNEL_RIDGES", (0.1,))
    clips = open_features(related_features, "evaluation")
    (fitted, power), grid = choose_kernel_cca(related_features, size=64)
    assert grid["validation R@1"].is_monotonic_decreasing
    assert len(grid) == 3 * 9 and set(grid["random features"]) == {64}
    assert mean_recall(embed_cca(fitted, clips, power), clips) > 90
    again, _ = choose_kernel_cca(related_features, size=64)
    np.testing.assert_array_equal(again[0].visual, fitted.visual)


def test_beside_a_network_the_cosine_is_the_weighted_mean_of_both():
    clips = related(200, 0)
    random, measured = kernel_moments(clips, moments(clips), (0.6, 0.8), 30)
    fitted = fit_cca(measured, 0.1, 3)._replace(random=random)
    alone = embed_cca(fitted, clips, 0.5)
    network = [unit(200, seed) for seed in (1, 2)]
    both = [torch.from_numpy(x) for x in (clips.visual, clips.audio)]
    with torch.no_grad():
        visual, audio = kernel_module(fitted, 0.5, weight=0.25)(*both, *network)
    expected = (network[0] @ network[1].T + 0.25 * alone.visual @ alone.audio.T) / 1.25
    torch.testing.assert_close(visual @ audio.T, expected, atol=1e-5, rtol=0)
