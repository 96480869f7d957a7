"""The likelihood ratio of a pair of the sample: no method can rank better."""

import numpy as np
from scipy.special import logsumexp

from xmodal.config import InputError
from xmodal.data.schema import AUDIO_DIM, VISUAL_DIM
from xmodal.synthetic.generator import CONSTANTS, Generator
from xmodal.synthetic.sample import SampleConfig


def log_likelihood_ratio(config: SampleConfig, visual: np.ndarray, audio: np.ndarray) -> np.ndarray:
    """Return how much better each pair is explained as one clip than as parts of two.

    The entries are log p(v, a) − log p(v) − log p(a) in the model of the sample. No model can rank
    better with these features, so the recall of these scores is a ceiling.

    They are exact but for the scales: x and y are found by undoing the tanh, the rotation and the
    spectrum, which changes no ratio, and then s is taken to be the root mean square of s x (error
    2 % in the visual modality, 6 % in audio). Given both scales, the ratio is that of a mixture of
    Gaussians, summed over all subjects. A silent audio says nothing: its ratio is 0.

    ``config`` is that of the sample which the features, float32, (n, 1024) and (m, 128), come from.
    The ratios, float64, (n, m), are in nats, and take about 8 · 3862 · (n + m) bytes of memory
    beside their own. InputError if the features have the wrong shape.
    """
    for name, array, dim in (("visual", visual, VISUAL_DIM), ("audio", audio, AUDIO_DIM)):
        if array.ndim != 2 or array.shape[1] != dim:
            raise InputError(
                f"{name} features have the shape {array.shape} where (clips, {dim}) is expected; "
                "hand in video-level features."
            )
    model = Generator(config.shared, config.seed, config.classes)
    x, g_visual = model.visual.latent(visual)
    y, g_audio = model.audio.latent(audio)
    subjects = model.prior > 0
    means, prior = model.means[subjects], model.prior[subjects]
    beta = CONSTANTS.class_share * model.rho
    ratio = _mixture_ratio(x[:, :AUDIO_DIM], y, model.rho, beta, means, prior)
    correlation = np.array([CONSTANTS.scale_correlation])
    ratio += _gaussian_ratio(g_visual[:, None], g_audio[:, None], np.ones(1), correlation)
    ratio[:, (np.asarray(audio) == model.silence).all(axis=1)] = 0
    return ratio


def _gaussian_ratio(
    x: np.ndarray, y: np.ndarray, variance: np.ndarray, correlation: np.ndarray
) -> np.ndarray:
    """Return the ratio of pairs (n, m) of K independent components, jointly normal around 0."""
    rest = (1 - correlation**2) * variance
    square = -0.5 * correlation**2 / rest
    return (
        (x * (correlation / rest)) @ y.T
        + ((x * x) @ square)[:, None]
        + (y * y) @ square
        - 0.5 * np.log(1 - correlation**2).sum()
    )


def _mixture_ratio(
    x: np.ndarray,
    y: np.ndarray,
    rho: np.ndarray,
    beta: np.ndarray,
    means: np.ndarray,
    prior: np.ndarray,
) -> np.ndarray:
    """Return the ratio of pairs (n, m) under the mixture over subjects.

    Given the subject, component k of both has mean μ = √β m, variance 1 − β, covariance ρ − β.
    Expanding the squares leaves `_gaussian_ratio` and, with h = 1 / (1 + ρ − 2β), d = 1 / (1 − β),

        log Σ π exp(h μ (x + y) − h μ²) − log Σ π exp(d μ x − d μ²/2) − log Σ π exp(d μ y − d μ²/2)

    (sums over the components are implied): the first sum is a product of two matrices.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    mu = np.sqrt(beta) * means
    h, d = 1 / (1 + rho - 2 * beta), 1 / (1 - beta)
    own = np.log(prior) - 0.5 * (mu * mu) @ d
    half = 0.5 * (np.log(prior) - (mu * mu) @ h)
    left, right = x @ (h * mu).T + half, y @ (h * mu).T + half
    left_max, right_max = left.max(axis=1, keepdims=True), right.max(axis=1, keepdims=True)
    together = np.exp(left - left_max) @ np.exp(right - right_max).T
    with np.errstate(divide="ignore"):  # a pair that no subject explains: −inf ranks it last
        ratio = np.log(together)
    ratio += left_max + right_max.T + _gaussian_ratio(x, y, 1 - beta, (rho - beta) / (1 - beta))
    ratio -= logsumexp(x @ (d * mu).T + own, axis=1)[:, None]
    ratio -= logsumexp(y @ (d * mu).T + own, axis=1)
    return ratio
