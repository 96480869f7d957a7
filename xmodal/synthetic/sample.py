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
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from tqdm import tqdm

from xmodal.config import InputError, StageConfig
from xmodal.data.framing import write_records
from xmodal.data.schema import AUDIO_DIM, VISUAL_DIM, Clip, encode_example
from xmodal.data.vocabulary import write_vocabulary
from xmodal.synthetic.generator import (
    AUDIO,
    CLASS_SHARE,
    CORRELATION,
    LABEL_COUNTS,
    SCALE_CORRELATION,
    SILENT_SHARE,
    TOPIC_DECAY,
    VISUAL,
    World,
    make_world,
)

SHARED = 2.5
"""Default of ``SampleConfig.shared``; 1 has the canonical correlations of YouTube-8M."""


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


# --- drawing and writing -------------------------------------------------------------------------


def _draw_labels(
    world: World, clips: int, rng: np.random.Generator
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
    world: World, subject: np.ndarray, rng: np.random.Generator
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
    world: World, subject: np.ndarray, rng: np.random.Generator
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
    world = make_world(config.shared, config.seed, config.classes)
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
