"""The built-in sample: synthetic clips in the files, the schema and the statistics of YouTube-8M.

Every number of the model is our choice. Those of one modality are fitted to YouTube-8M validation
shards (release 2, 36,916 clips); what the two have in common is chosen so that retrieval methods
come in the order, and at about the distances, in which they come on real clips.

A clip has a topic, labels of that topic (often its general label), a subject c with probability
π_c, usually one of the labels, and a scale s in each modality. For k = 1..128::

    shared factor     f_k = √κ m_ck + √(1 − κ) n_k                       n_k ~ N(0, 1)
    latent vectors    x_k = √ρ_k f_k + √(1 − ρ_k) ε_k  (visual),   y_k in the same way (audio)
                      x_k ~ N(0, 1) for k = 129..1024: the visual side's own
    correlations      ρ_k = 0.92 exp(−((k − 1) / 14)²)
    scales            s = exp(σ g − σ²),   g ~ N(0, 1) in each modality, correlated across them
    features          1/128 + 2 tanh(D Q Λ^½ s x / 2)       element-wise tanh, Q orthogonal

The class means m are whitened, Σ_c π_c m_ck m_cl = δ_kl, and of nearly equal length, so x and y
are white whatever ρ is. D holds standard deviations, Λ the spectrum; tanh keeps the features in the
range of YouTube-8M. Scales, tanh and the means of the subjects make the relation of the two
modalities one that no linear map can exhaust. Some clips share one audio vector, as silent videos
do in YouTube-8M.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import Field
from scipy.linalg import solve_triangular
from tqdm import tqdm

from xmodal.config import InputError, StageConfig
from xmodal.data.schema import AUDIO_DIM, CLASSES, VISUAL_DIM, Clip, encode_example
from xmodal.data.tfrecord import write_records
from xmodal.data.vocabulary import write_vocabulary
from xmodal.files import atomic, locked

SOURCE = "synthetic sample"
"""What figures and tables made from it say of where their clips come from."""
LABELS = Path(__file__).with_name("sample_labels.json")
"""By topic, most frequent first, the things in it; and the aspects that make labels with each."""
CENTRE, REACH = 1 / 128, 2.0
"""Features lie within CENTRE ± REACH, the range of YouTube-8M."""


class SampleConfig(StageConfig):
    """What the sample is; everything here is our choice.

    Methods come in the same order as on real clips, by design: recall on the sample says nothing
    about recall on YouTube-8M.
    """

    out: Path = Field(Path("data/sample"), description="Folder to write the sample to.")
    clips: int = Field(24_000, gt=0, description="Number of clips in all.")
    clips_per_shard: int = Field(500, gt=0, description="Number of clips in a shard.")
    seed: int = Field(0, ge=0, description="Seed of the model and of the clips.")


class Marginal(NamedTuple):
    """Statistics of one modality."""

    dim: int
    deviation: tuple[float, float, float]  # a, b, c: feature j = 1.. has the deviation a (j + b)^−c
    spectrum: tuple[float, float]  # a, q: at u = k / dim it is 1 + a ((1 − u^q) / q − 1 / (1 + q))
    scale: float  # σ: standard deviation of the logarithm of a clip's scale
    squash: float  # the tanh reduces the deviation d (1 + squash d²) to d


VISUAL = Marginal(VISUAL_DIM, (0.89, 1.0, 0.114), (0.45, 0.05), 0.45, 0.42)
AUDIO = Marginal(AUDIO_DIM, (0.988, 0.0, 0.103), (1.3, 1.0), 0.36, 0.40)
RHO, SHARED = 0.92, 14.0  # the largest correlation; about how many strong factors both share
SCALE_CORRELATION = 0.37  # of a clip's two g, so that the norms correlate
CLASS_SHARE = 0.9  # κ: how much of what both share is explained by the subject
TOPIC_DECAY = 10.0  # number of shared factors in which class means follow the topic
SILENT_SHARE = 0.014  # of the clips, which have the silent audio vector
LABEL_COUNTS = (  # shares of the clips that have 1, 2, 3, ... labels
    0.246, 0.224, 0.188, 0.156, 0.088, 0.045, 0.026, 0.013, 0.007, 0.004, 0.002, 0.001,
)  # fmt: skip
VERSION = 1
"""Raised when the same configuration gives another sample."""


def write_sample(config: SampleConfig) -> None:
    """Write the sample, unless the same one is already there; another one is replaced.

    ``out`` then holds ``shards/sampleNNNN.tfrecord``, ``vocabulary.csv`` and, written last,
    ``sample.json``: the configuration and the version of the model. The same configuration gives
    the same bytes on the same machine; elsewhere, linear algebra may round differently. InputError
    if ``out`` holds shards that are not a sample, cannot be written to, or is being written.
    """
    names = ("sample.json", "shards", "vocabulary.csv")
    marker, shards, vocabulary = (config.out / name for name in names)
    settings = config.model_dump(mode="json", exclude={"out"})
    noted = {"source": SOURCE, "config": settings, "version": VERSION}
    description = f"{json.dumps(noted, indent=1)}\n".encode()
    starts = range(0, config.clips, config.clips_per_shard)
    files = [shards / f"sample{number:04d}.tfrecord" for number in range(len(starts))]
    complete = all(file.exists() for file in [marker, vocabulary, *files])
    if complete and marker.read_bytes() == description:
        return
    if shards.exists() and not marker.exists():
        raise InputError(
            f"{shards}: no sample, for want of {marker.name} next to it; choose another folder."
        )
    with locked(shards):
        generator = Generator(config.seed)
        rng = np.random.default_rng([config.seed, 1])
        subject, labels = generator.draw_labels(config.clips, rng)
        with atomic(shards) as fresh:
            fresh.mkdir()
            for number, start in enumerate(tqdm(starts, "sample", disable=None)):
                rows = slice(start, start + config.clips_per_shard)
                rng = np.random.default_rng([config.seed, 2, number])
                features = generator.draw_features(subject[rows], rng)
                ids = [f"s{start + row:05d}" for row in range(len(subject[rows]))]
                clips = map(Clip, ids, labels[rows], *features)
                write_records(fresh / files[number].name, map(encode_example, clips))
            marker.write_text("{}\n")  # until the new marker is there, the sample is not complete
        counts = np.bincount(np.concatenate(labels), minlength=CLASSES[2])
        write_vocabulary(vocabulary, generator.names, counts.tolist())
        with atomic(marker) as fresh:
            fresh.write_bytes(description)


class Generator:
    """The classes, the correlations and the two modalities of a sample; draws its clips."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 0])
        self.names, self.topic, self.topic_share, self.weight = compose_labels(CLASSES[2])
        general = len(self.topic_share)
        total = np.bincount(self.topic[general:], self.weight[general:])
        self.prior = self.topic_share[self.topic] * self.weight / total[self.topic]
        self.prior[:general] = 0  # a general label is never the subject
        k = np.arange(AUDIO_DIM)
        self.rho = RHO * np.exp(-((k / SHARED) ** 2.0))
        by_topic = np.exp(-k / TOPIC_DECAY)
        means = np.sqrt(by_topic) * rng.standard_normal((general, AUDIO_DIM))[self.topic]
        means += np.sqrt(1 - by_topic) * rng.standard_normal((CLASSES[2], AUDIO_DIM))
        for _ in range(5):  # equal lengths, or a clip's norm would say what its subject is
            means /= np.linalg.norm(means, axis=1, keepdims=True)
            means -= self.prior @ means
            factor = np.linalg.cholesky(means.T @ (self.prior[:, None] * means))
            means = solve_triangular(factor, means.T, lower=True).T
        self.means = means
        maps = np.random.default_rng([seed, 3])
        self.visual, self.audio = (_feature_map(some, maps) for some in (VISUAL, AUDIO))
        self.silence = _features(rng.standard_normal((1, AUDIO_DIM), np.float32), self.audio)[0]

    def draw_labels(
        self, clips: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Draw each clip's subject, int64 (clips,), and its labels, int32, ascending.

        Labels are drawn within a topic without replacement, by weight: each arrives after an
        exponential time, and the first are drawn. The subject is the first that is not general.
        """
        topic = rng.choice(len(self.topic_share), clips, p=self.topic_share)
        share = np.array(LABEL_COUNTS) / sum(LABEL_COUNTS)
        count = 1 + rng.choice(len(share), clips, p=share)
        subject = np.empty(clips, np.int64)
        labels: list[np.ndarray] = [np.empty(0)] * clips
        for general in range(len(self.topic_share)):
            classes = np.flatnonzero(self.topic == general)
            rows = np.flatnonzero(topic == general)
            arrival = rng.standard_exponential((len(rows), len(classes)), np.float32)
            arrival /= self.weight[classes].astype(np.float32)
            most = min(len(share), len(classes))
            first = np.argpartition(arrival, most - 1, axis=1)[:, :most]
            order = np.take_along_axis(arrival, first, axis=1).argsort(axis=1)
            drawn = classes[np.take_along_axis(first, order, axis=1)]
            subject[rows] = np.where(drawn[:, 0] == general, drawn[:, 1], drawn[:, 0])
            for row, found in zip(rows, drawn, strict=True):
                labels[row] = np.sort(found[: count[row]]).astype(np.int32)
        return subject, labels

    def draw_latents(
        self, subject: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw x (clips, 1024), y (clips, 128) and both g (clips, 2), float32."""
        clips, correlation = len(subject), SCALE_CORRELATION
        x = rng.standard_normal((clips, VISUAL_DIM), np.float32)
        y = rng.standard_normal((clips, AUDIO_DIM), np.float32)
        factor = np.sqrt(1 - CLASS_SHARE) * rng.standard_normal((clips, AUDIO_DIM), np.float32)
        factor += np.sqrt(CLASS_SHARE) * self.means[subject]
        common, own = np.sqrt(self.rho), np.sqrt(1 - self.rho)
        x[:, :AUDIO_DIM] = common * factor + own * x[:, :AUDIO_DIM]
        y = (common * factor + own * y).astype(np.float32)
        g = rng.standard_normal((clips, 2), np.float32)
        g[:, 1] = correlation * g[:, 0] + np.sqrt(1 - correlation**2) * g[:, 1]
        return x, y, g

    def draw_features(
        self, subject: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw visual (clips, 1024) and audio features (clips, 128), float32, of given subjects."""
        x, y, g = self.draw_latents(subject, rng)
        visual = _features(x * np.exp(VISUAL.scale * g[:, :1] - VISUAL.scale**2), self.visual)
        audio = _features(y * np.exp(AUDIO.scale * g[:, 1:] - AUDIO.scale**2), self.audio)
        audio[rng.random(len(subject)) < SILENT_SHARE] = self.silence
        return visual, audio


def _feature_map(marginal: Marginal, rng: np.random.Generator) -> np.ndarray:
    """Return D Q Λ^½, transposed, with the deviations that the tanh reduces to D: float32."""
    index = np.arange(1, marginal.dim + 1)
    a, b, c = marginal.deviation
    deviation = a * (index + b) ** -c
    deviation *= 1 + marginal.squash * deviation**2
    a, q = marginal.spectrum
    u = (index - 0.5) / marginal.dim
    root = np.sqrt(1 + a * ((1 - u**q) / q - 1 / (1 + q)))
    rotation, _ = np.linalg.qr(rng.standard_normal((marginal.dim, marginal.dim)))
    return ((rotation * root).T * deviation).astype(np.float32)


def _features(scaled: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Turn s x into features within the range of YouTube-8M."""
    return CENTRE + REACH * np.tanh(scaled @ matrix / REACH)


def compose_labels(classes: int) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Make labels so that the one of rank r is on clips in proportion to 1 / (r + 1).

    Returns the names of the classes, of which t is at first the general label of topic t; the topic
    of each; the share of clips of each topic; how often each class is drawn within its topic.
    """
    text = json.loads(LABELS.read_text(encoding="utf-8"))
    topics = text["topics"]
    weight = 1 / np.arange(2.0, classes + 2)
    share = weight[: len(topics)] / weight[: len(topics)].sum()
    topic = np.arange(classes)
    held = np.zeros(len(topics))
    for index in range(len(topics), classes):  # joins the topic that lacks most of its share
        topic[index] = (held / share).argmin()
        held[topic[index]] += weight[index]
    weight[: len(topics)] = held  # the general label is drawn first as often as all the others
    names = np.empty(classes, object)
    for number, (general, things) in enumerate(topics.items()):
        pairs = [f"{thing} {aspect}" for aspect in text["aspects"] for thing in things]
        members = np.flatnonzero(topic == number)
        names[members] = [general, *things, *pairs][: len(members)]
    return names.tolist(), topic, share, weight
