"""The built-in sample: synthetic clips in the files, the schema and the statistics of YouTube-8M.

Every number of the model below is our choice, fitted to what was measured on YouTube-8M validation
shards (release 2, 36,916 clips). Nothing is copied from them: the names of the labels are ours, and
the model is these equations. A clip has a topic, labels of that topic (often its general label), a
subject c with probability π_c, which most often is one of the labels, and a scale s in each
modality. For k = 1..128::

    shared factor     f_k = √κ m_ck + √(1 − κ) n_k                       n_k ~ N(0, 1)
    latent vectors    x_k = √ρ_k f_k + √(1 − ρ_k) ε_k  (visual),   y_k  likewise (audio)
                      x_k ~ N(0, 1) for k = 129..1024: the visual side's own
    correlations      ρ_k = 0.92 exp(−((k − 1) / (36 · shared))^0.7)
    scales            s = exp(σ g − σ²),   g ~ N(0, 1) in each modality, correlated across them
    features          1/128 + 2 tanh(D Q Λ^½ s x / 2)       element-wise tanh, Q orthogonal

The class means m are whitened, Σ_c π_c m_ck m_cl = δ_kl, and of nearly equal length, so x and y
are white whatever ρ is: the parameter ``shared`` changes what the modalities have in common, and
neither norms nor spectra nor tails. D holds standard deviations, Λ the spectrum; tanh keeps the
features in the range YouTube-8M allows and thins their tails. Values are not rounded: video-level
features are averages over the frames of a video, and YouTube-8M's are not on the 8-bit grid.

Some clips share one audio vector, as silent videos do in YouTube-8M.

Why the sample is not simply as hard as YouTube-8M: see `SampleConfig`.
"""

import json
import os
import shutil
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field
from scipy.linalg import solve_triangular
from scipy.special import logsumexp
from tqdm import tqdm

from xmodal.config import InputError, StageConfig
from xmodal.data.tfrecord import write_records
from xmodal.data.yt8m import AUDIO_DIM, VISUAL_DIM, Clip, encode_example, write_vocabulary

SHARED = 2.5
"""Default of ``SampleConfig.shared``; 1 has the canonical correlations of YouTube-8M."""


class Marginal(NamedTuple):
    """Statistics of one modality, fitted to YouTube-8M validation shards."""

    dim: int
    deviation: tuple[float, float, float]
    """(a, b, c): feature j = 1.. has the standard deviation a (j + b)^−c."""
    spectrum: tuple[float, float]
    """(a, q): eigenvalue at u = k / dim is 1 + a ((1 − u^q) / q − 1 / (1 + q))."""
    scale: float
    """σ: standard deviation of the logarithm of a clip's scale."""
    squash: float
    """The tanh takes deviation d from d (1 + squash d²)."""


VISUAL = Marginal(VISUAL_DIM, (0.89, 1.0, 0.114), (0.45, 0.05), 0.45, 0.42)
AUDIO = Marginal(AUDIO_DIM, (0.988, 0.0, 0.103), (1.3, 1.0), 0.36, 0.40)
CORRELATION = (0.92, 36.0, 0.7)
"""(a, b, c): ρ_k = a exp(−((k − 1) / (b · shared))^c)."""
SCALE_CORRELATION = 0.37
"""Of the two g of a clip: norms of the two modalities correlate by 0.37 in YouTube-8M."""
CLASS_SHARE = 0.9
"""κ: labels explain most of what the modalities share in YouTube-8M."""
TOPIC_DECAY = 10.0
"""Number of shared factors in which class means follow the topic rather than the class."""
SILENT_SHARE = 0.014
"""Share of clips with the silent audio vector."""
LABEL_COUNTS = (0.246, 0.224, 0.188, 0.156, 0.088, 0.045, 0.026, 0.013, 0.007, 0.004, 0.002, 0.001)
"""Share of clips with 1, 2, 3, ... labels."""
CENTRE, REACH = 1 / 128, 2.0
"""Features lie within CENTRE ± REACH, the range of YouTube-8M."""

# Topics in order of frequency: the general label, then things; labels combine things and aspects.
_TOPICS = """
Gaming: Racing simulator, Puzzle platformer, Card duel, Chess, Pinball, Arcade, Board game, Strategy
 map, Space shooter, Farm simulator, Role-play quest, Dungeon, Trading card, Console, Joystick, Maze
Music: Piano, Guitar, Violin, Drums, Choir, Flute, Trumpet, Cello, Accordion, Harp, Saxophone, Banjo
 , Orchestra, Brass band, Jazz trio, Folk song
Vehicles: Motorcycle, Truck, Tractor, Sports car, Bus, Bicycle, Scooter, Sailboat, Helicopter, Van
 , Steam engine, Tram, Canoe, Glider, Excavator, Caravan
Sport: Football, Basketball, Tennis, Swimming, Running, Boxing, Skiing, Skating, Volleyball, Archery
 , Gymnastics, Rowing, Climbing, Handball, Golf, Fencing
Animals: Dog, Cat, Horse, Parrot, Rabbit, Elephant, Dolphin, Tortoise, Goat, Owl, Bee, Hamster
 , Fox, Penguin, Butterfly, Cow
Food: Bread, Soup, Cake, Salad, Noodle, Cheese, Coffee, Pancake, Barbecue, Chocolate, Curry, Pizza
 , Ice cream, Dumpling, Tea, Pickle
Nature: River, Forest, Mountain, Waterfall, Beach, Desert, Storm, Volcano, Lake, Glacier, Meadow
 , Coral reef, Cave, Sunrise, Snowfall, Marsh
Technology: Smartphone, Laptop, Camera, Robot, Printer, Headphones, Radio, Drone, Microscope
 , Telescope, Tablet, Projector, Keyboard, Battery, Circuit board, Amplifier
Travel: City, Castle, Harbour, Railway, Airport, Island, Village, Temple, Bridge, Campsite, Hotel
 , Lighthouse, Street, Ferry, Vineyard, Old town
Fashion: Hairstyle, Make-up, Dress, Shoe, Handbag, Jewellery, Nail polish, Perfume, Hat, Scarf
 , Wedding gown, Tailoring, Costume, Swimwear, Sunglasses, Denim
Crafts: Pottery, Knitting, Origami, Woodwork, Painting, Drawing, Candle, Quilt, Calligraphy, Leather
 , Beadwork, Sculpture, Glassblowing, Embroidery, Paper model, Basketry
Home: Kitchen, Garden, Bathroom, Furniture, Greenhouse, Roof, Fireplace, Staircase, Carpet, Balcony
 , Plumbing, Lawn, Bookshelf, Window, Wallpaper, Fence
"""
_ASPECTS = """lesson review festival contest tutorial show exhibition workshop documentary history
collection club museum market tour challenge interview demonstration championship repair design
photography news parade school studio fair guide restoration competition rehearsal trivia award
convention experiment event podcast comedy animation ceremony trailer compilation training course
shop auction factory advertisement rescue record holiday safety science art culture tradition
laboratory archive broadcast project diary expedition park family
"""


class SampleConfig(StageConfig):
    """What the sample is; everything here is our choice.

    ``shared`` sets how much the two modalities have in common, that is how easy retrieval can be.
    At 1 the canonical correlations are those of YouTube-8M; a larger value makes more of the 128
    shared factors strong ones. At 1 these clips are too few to train the paper's deep branches
    (YouTube-8M has millions), so the default is larger: with it, some hundred steps of the paper's
    method find about one clip in five among 256, as the published table says. It follows that
    recall on the sample says nothing about recall on YouTube-8M, and that other methods may find
    the sample easier than videos: here the modalities are tied linearly, which suits linear ones.
    """

    out: Path = Field(Path("data/sample"), description="folder to write to")
    clips: int = Field(24_000, gt=0, description="clips in all")
    clips_per_shard: int = Field(500, gt=0, description="clips in a shard")
    shared: float = Field(
        SHARED, gt=0, description="how much the modalities share; 1 is like YouTube-8M"
    )
    seed: int = Field(0, ge=0, description="of the model and of the clips")
    classes: int = Field(3862, ge=100, le=3862, description="vocabulary size; 3,862 in YouTube-8M")


# --- the model -----------------------------------------------------------------------------------


class _Modality:
    """One modality's map from latent vectors to features, and back."""

    def __init__(self, marginal: Marginal, rng: np.random.Generator) -> None:
        index = np.arange(1, marginal.dim + 1)
        a, b, c = marginal.deviation
        deviation = a * (index + b) ** -c
        deviation *= 1 + marginal.squash * deviation**2
        a, q = marginal.spectrum
        u = (index - 0.5) / marginal.dim
        root = np.sqrt(1 + a * ((1 - u**q) / q - 1 / (1 + q)))
        rotation, _ = np.linalg.qr(rng.standard_normal((marginal.dim, marginal.dim)))
        self.forward = ((rotation * root).T * deviation).astype(np.float32)
        self.backward = ((rotation / root).T / deviation).T.astype(np.float32)
        self.sigma = marginal.scale

    def features(self, scaled: np.ndarray) -> np.ndarray:
        """Turn s x, float32 (clips, dim), into features."""
        return CENTRE + REACH * np.tanh(scaled @ self.forward / REACH)

    def latent(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Undo `features`, and estimate s: return x (clips, dim) and g (clips,)."""
        inside = np.clip((np.asarray(features, np.float32) - CENTRE) / REACH, -0.9999, 0.9999)
        scaled = REACH * np.arctanh(inside) @ self.backward
        scale = np.sqrt(np.square(scaled).mean(axis=1, dtype=np.float64)) + 1e-12
        return scaled / scale[:, None], np.log(scale) / self.sigma + self.sigma

    def scale(self, g: np.ndarray) -> np.ndarray:
        """Return s, of mean square 1, for a standard normal g."""
        return np.exp(self.sigma * g - self.sigma**2)


class _World:
    """The truth behind a sample: classes, topics, correlations, the two modalities, silence."""

    def __init__(self, shared: float, seed: int, classes: int) -> None:
        rng = np.random.default_rng([seed, 0])
        self.names, self.topic, self.topic_share, self.weight = _vocabulary(classes)
        general = len(self.topic_share)
        total = np.bincount(self.topic[general:], self.weight[general:])
        self.prior = self.topic_share[self.topic] * self.weight / total[self.topic]
        self.prior[:general] = 0
        k = np.arange(AUDIO_DIM)
        a, b, c = CORRELATION
        self.rho = a * np.exp(-((k / (b * shared)) ** c))
        by_topic = np.exp(-k / TOPIC_DECAY)
        means = np.sqrt(by_topic) * rng.standard_normal((general, AUDIO_DIM))[self.topic]
        means += np.sqrt(1 - by_topic) * rng.standard_normal((classes, AUDIO_DIM))
        for _ in range(5):  # classes equally far from the middle, or norms would tell them apart
            means /= np.linalg.norm(means, axis=1, keepdims=True)
            means -= self.prior @ means
            factor = np.linalg.cholesky(means.T @ (self.prior[:, None] * means))
            means = solve_triangular(factor, means.T, lower=True).T
        self.means = means
        self.visual, self.audio = _modalities(seed)
        self.silence = self.audio.features(rng.standard_normal((1, AUDIO_DIM), np.float32))[0]


@lru_cache(maxsize=4)
def _modalities(seed: int) -> tuple[_Modality, _Modality]:
    rng = np.random.default_rng([seed, 3])
    return _Modality(VISUAL, rng), _Modality(AUDIO, rng)


def _vocabulary(classes: int) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Return names, topics and weights within the topic by class, and the share of each topic.

    The label of rank r is to be on clips in proportion to 1 / (r + 1). The general labels come
    first; any other class joins the topic that has least of its share so far.
    """
    lines = _TOPICS.replace("\n ,", ",").replace("\n ", " ").strip().splitlines()
    weight = 1 / np.arange(2.0, classes + 2)
    share = weight[: len(lines)] / weight[: len(lines)].sum()
    topic = np.arange(classes)
    held = np.zeros(len(lines))
    for index in range(len(lines), classes):
        topic[index] = (held / share).argmin()
        held[topic[index]] += weight[index]
    weight[: len(lines)] = held  # the general label is drawn first as often as all others
    names = [""] * classes
    for number, line in enumerate(lines):
        general, things = line.split(": ")
        composed = _names(general, things.split(", "))
        for member, name in zip(np.flatnonzero(topic == number), composed, strict=False):
            names[member] = name
    return names, topic, share, weight


def _names(general: str, things: list[str]) -> Iterator[str]:
    yield general
    yield from things
    for aspect in _ASPECTS.split():
        for thing in things:
            yield f"{thing} {aspect}"


@lru_cache(maxsize=4)
def _world(shared: float, seed: int, classes: int) -> _World:
    return _World(shared, seed, classes)


# --- drawing and writing -------------------------------------------------------------------------


def _draw_labels(
    world: _World, clips: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Draw each clip's subject, int64 (clips,), and labels, ascending.

    Labels are drawn within a topic without replacement, in proportion to their weights (by
    exponential races: the k-th to arrive is the k-th drawn). The subject is the first drawn that is
    no general label; where that one is a clip's only label, the subject stays unnamed.
    """
    topic = rng.choice(len(world.topic_share), clips, p=world.topic_share)
    share = np.array(LABEL_COUNTS) / sum(LABEL_COUNTS)
    count = 1 + rng.choice(len(share), clips, p=share)
    subject = np.empty(clips, np.int64)
    labels: list[np.ndarray] = [np.empty(0)] * clips
    for number in range(len(world.topic_share)):
        classes = np.flatnonzero(world.topic == number)
        rows = np.flatnonzero(topic == number)
        arrival = rng.standard_exponential((len(rows), len(classes)), np.float32)
        arrival /= world.weight[classes].astype(np.float32)
        most = min(len(share), len(classes))
        first = np.argpartition(arrival, most - 1, axis=1)[:, :most]
        order = np.take_along_axis(arrival, first, axis=1).argsort(axis=1)
        drawn = classes[np.take_along_axis(first, order, axis=1)]
        subject[rows] = np.where(drawn[:, 0] == number, drawn[:, 1], drawn[:, 0])
        for row, found in zip(rows, drawn, strict=True):
            labels[row] = np.sort(found[: count[row]]).astype(np.int32)
    return subject, labels


def _draw_latents(
    world: _World, subject: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw x (clips, 1024), y (clips, 128) and both g (clips, 2), float32."""
    clips = len(subject)
    x = rng.standard_normal((clips, VISUAL_DIM), np.float32)
    y = rng.standard_normal((clips, AUDIO_DIM), np.float32)
    factor = np.sqrt(1 - CLASS_SHARE) * rng.standard_normal((clips, AUDIO_DIM), np.float32)
    factor += np.sqrt(CLASS_SHARE) * world.means[subject]
    common, own = np.sqrt(world.rho), np.sqrt(1 - world.rho)
    x[:, :AUDIO_DIM] = common * factor + own * x[:, :AUDIO_DIM]
    y = (common * factor + own * y).astype(np.float32)
    g = rng.standard_normal((clips, 2), np.float32)
    g[:, 1] = SCALE_CORRELATION * g[:, 0] + np.sqrt(1 - SCALE_CORRELATION**2) * g[:, 1]
    return x, y, g


def _draw_features(
    world: _World, subject: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    x, y, g = _draw_latents(world, subject, rng)
    visual = world.visual.features(x * world.visual.scale(g[:, :1]))
    audio = world.audio.features(y * world.audio.scale(g[:, 1:]))
    audio[rng.random(len(subject)) < SILENT_SHARE] = world.silence
    return visual, audio


def _recipe(config: SampleConfig) -> dict[str, Any]:
    """Everything that determines the sample, as JSON knows it."""
    recipe = {
        "source": "synthetic sample",
        "config": config.model_dump(mode="json", exclude={"out"}),
        "model": {
            "visual": VISUAL,
            "audio": AUDIO,
            "correlation": CORRELATION,
            "scale_correlation": SCALE_CORRELATION,
            "class_share": CLASS_SHARE,
            "topic_decay": TOPIC_DECAY,
            "silent_share": SILENT_SHARE,
            "label_counts": LABEL_COUNTS,
        },
    }
    return json.loads(json.dumps(recipe))


def write_sample(config: SampleConfig, progress: bool = True) -> None:
    """Write the sample, or leave it as it is when the same sample is already there.

    ``out`` then holds ``shards/sampleNNNN.tfrecord``, ``vocabulary.csv`` and, written last,
    ``sample.json``: the configuration and the constants of the model, from which
    `log_likelihood_ratio` rebuilds the truth. The same configuration gives the same bytes (on one
    machine: another one's linear algebra may round differently).

    Parameters
    ----------
    config : SampleConfig
        The sample to write; another sample that is in ``config.out`` is replaced.
    progress : bool
        Show a progress bar.

    Raises
    ------
    InputError
        If ``out`` holds shards that are no sample, or cannot be written to.
    """
    marker, shards = config.out / "sample.json", config.out / "shards"
    recipe = _recipe(config)
    if marker.exists() and shards.exists() and _read(marker) == recipe:
        return
    if shards.exists() and not marker.exists():
        raise InputError(
            f"{shards}: these shards are not a sample of ours (there is no {marker.name} beside "
            "them); choose another folder for the sample."
        )
    partial = config.out / f".shards.{os.getpid()}.partial"
    try:
        partial.mkdir(parents=True)
        counts, names = _write_shards(config, partial, progress)
        if shards.exists():
            marker.write_text("{}\n")  # until the new marker is there, this is no whole sample
            shutil.rmtree(shards)
        partial.rename(shards)
        write_vocabulary(config.out / "vocabulary.csv", names, counts)
        note = marker.with_name(f".{marker.name}.partial")
        note.write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")
        note.replace(marker)
    except OSError as error:
        raise InputError(
            f"{config.out}: the sample cannot be written ({error.strerror}); check the folder."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _read(marker: Path) -> Any:
    try:
        return json.loads(marker.read_text(encoding="utf-8"))
    except ValueError:
        return None


def _write_shards(
    config: SampleConfig, folder: Path, progress: bool
) -> tuple[list[int], list[str]]:
    world = _world(config.shared, config.seed, config.classes)
    subject, labels = _draw_labels(world, config.clips, np.random.default_rng([config.seed, 1]))
    starts = range(0, config.clips, config.clips_per_shard)
    for number, start in enumerate(tqdm(starts, "sample", unit="shard", disable=not progress)):
        rows = range(start, min(start + config.clips_per_shard, config.clips))
        rng = np.random.default_rng([config.seed, 2, number])
        visual, audio = _draw_features(world, subject[rows.start : rows.stop], rng)
        clips = (
            Clip(f"s{row:05d}", labels[row], visual[row - start], audio[row - start])
            for row in rows
        )
        write_records(folder / f"sample{number:04d}.tfrecord", map(encode_example, clips))
    counts = np.bincount(np.concatenate(labels), minlength=config.classes)
    return counts.tolist(), world.names


# --- the ceiling ---------------------------------------------------------------------------------


def log_likelihood_ratio(config: SampleConfig, visual: np.ndarray, audio: np.ndarray) -> np.ndarray:
    """Say how much better each pair is explained as one clip than as parts of two.

    The entries are log p(v, a) − log p(v) − log p(a) in the model of the sample. To rank by them
    is the best any model can do with these features, so their recall is a ceiling.

    Exact but for the scales: x and y are found by undoing the tanh, the rotation and the spectrum,
    which changes no ratio, and then s is taken to be the root mean square of s x (error 2 % in the
    visual modality, 6 % in audio). Given both scales, the ratio is that of a mixture over subjects
    of Gaussians, summed over all subjects. A silent audio says nothing: its ratio is 0.

    Parameters
    ----------
    config : SampleConfig
        Of the sample the features come from (``out``, ``clips`` and ``clips_per_shard`` are free).
    visual : array, float32, (n, 1024)
    audio : array, float32, (m, 128)

    Returns
    -------
    array, float64, (n, m)
        In nats. Needs about 8 · 3862 · (n + m) bytes beside the result.

    Raises
    ------
    InputError
        If the features have the wrong shape.
    """
    for name, array, dim in (("visual", visual, VISUAL_DIM), ("audio", audio, AUDIO_DIM)):
        if array.ndim != 2 or array.shape[1] != dim:
            raise InputError(
                f"{name} features have the shape {array.shape} where (clips, {dim}) is expected; "
                "hand in video-level features."
            )
    world = _world(config.shared, config.seed, config.classes)
    x, g_visual = world.visual.latent(visual)
    y, g_audio = world.audio.latent(audio)
    subjects = world.prior > 0
    means, prior = world.means[subjects], world.prior[subjects]
    ratio = _mixture_ratio(x[:, :AUDIO_DIM], y, world.rho, CLASS_SHARE * world.rho, means, prior)
    ratio += _gaussian_ratio(
        g_visual[:, None], g_audio[:, None], np.ones(1), np.array([SCALE_CORRELATION])
    )
    ratio[:, (np.asarray(audio) == world.silence).all(axis=1)] = 0
    return ratio


def _gaussian_ratio(
    x: np.ndarray, y: np.ndarray, variance: np.ndarray, correlation: np.ndarray
) -> np.ndarray:
    """Ratio of pairs (n, m) whose K components are independent, zero-mean and jointly normal."""
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
    """Ratio of pairs (n, m) under the mixture over classes.

    Given the class, component k of both has mean μ = √β m, variance 1 − β and covariance ρ − β.
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
    left_most, right_most = left.max(axis=1, keepdims=True), right.max(axis=1, keepdims=True)
    together = np.exp(left - left_most) @ np.exp(right - right_most).T
    with np.errstate(divide="ignore"):  # a pair no class explains: −inf ranks it last
        ratio = np.log(together)
    ratio += left_most + right_most.T + _gaussian_ratio(x, y, 1 - beta, (rho - beta) / (1 - beta))
    ratio -= logsumexp(x @ (d * mu).T + own, axis=1)[:, None]
    ratio -= logsumexp(y @ (d * mu).T + own, axis=1)
    return ratio
