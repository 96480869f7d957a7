"""The built-in sample: synthetic clips in the files, the schema and the statistics of YouTube-8M.

Every number of the model is our choice. Those of one modality are fitted to what was measured on
YouTube-8M validation shards (release 2, 36,916 clips); what the two have in common is chosen so
that retrieval methods come in the order, and at about the distances, in which they come on real
clips. Nothing is copied: the names of the labels are ours, and the model is these equations.

A clip has a topic, labels of that topic (often its general label), a subject c with probability
π_c, usually one of the labels, and a scale s in each modality. For
k = 1..128::

    shared factor     f_k = √κ m_ck + √(1 − κ) n_k                       n_k ~ N(0, 1)
    latent vectors    x_k = √ρ_k f_k + √(1 − ρ_k) ε_k  (visual),   y_k  likewise (audio)
                      x_k ~ N(0, 1) for k = 129..1024: the visual side's own
    correlations      ρ_k = 0.92 exp(−((k − 1) / shared)²)
    scales            s = exp(σ g − σ²),   g ~ N(0, 1) in each modality, correlated across them
    features          1/128 + 2 tanh(D Q Λ^½ s x / 2)       element-wise tanh, Q orthogonal

The class means m are whitened, Σ_c π_c m_ck m_cl = δ_kl, and of nearly equal length, so x and y
are white whatever ρ is: ``shared`` changes what the modalities have in common, and leaves norms,
spectra and tails as they are. D holds standard deviations, Λ the spectrum; tanh keeps the features
in the range of YouTube-8M and thins their tails. Values are not rounded to the 8-bit grid: features
of a video are averages over its frames, so YouTube-8M's are not on the grid either.

The scales, the tanh and the subjects, of which each has its own mean, make the relation of the two
modalities one that no linear map can exhaust. Some clips share one audio vector, as silent videos
do in YouTube-8M.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from tqdm import tqdm

from xmodal.config import InputError, StageConfig
from xmodal.data.schema import Clip, encode_example
from xmodal.data.tfrecord import write_records
from xmodal.data.vocabulary import write_vocabulary
from xmodal.files import atomic, locked
from xmodal.synthetic.generator import CONSTANTS, Generator


class SampleConfig(StageConfig):
    """What the sample is; everything here is our choice.

    ``shared`` sets how much the two modalities have in common, and so how easy retrieval can be:
    it is about the number of strong ones among the 128 shared factors. With the default, a few
    hundred steps of the paper's method stay below linear CCA, and the recipe comes out above it,
    as on real clips. That order was put in by hand: recall on the sample says nothing about recall
    on YouTube-8M.
    """

    out: Path = Field(Path("data/sample"), description="folder to write to")
    clips: int = Field(24_000, gt=0, description="clips in all")
    clips_per_shard: int = Field(500, gt=0, description="clips in a shard")
    shared: float = Field(14, gt=0, description="about how many strong factors both share")
    seed: int = Field(0, ge=0, description="of the model and of the clips")
    classes: int = Field(3862, ge=150, le=3862, description="vocabulary size; 3,862 in YouTube-8M")


def write_sample(config: SampleConfig, progress: bool = True) -> None:
    """Write the sample, unless the same one is already there; another one is replaced.

    ``out`` then holds ``shards/sampleNNNN.tfrecord``, ``vocabulary.csv`` and, written last,
    ``sample.json``: the configuration and the constants of the model, all that `Generator` needs.
    The same configuration gives the same bytes on the same machine; elsewhere, linear algebra may
    round differently.

    Raises
    ------
    InputError
        If ``out`` holds shards that are not a sample, cannot be written to, or is being written.
    """
    marker, shards = config.out / "sample.json", config.out / "shards"
    vocabulary = config.out / "vocabulary.csv"
    description = _description(config)
    count = len(range(0, config.clips, config.clips_per_shard))
    files = [vocabulary, *(shards / f"sample{number:04d}.tfrecord" for number in range(count))]
    if _read(marker) == description and all(f.exists() and f.stat().st_size for f in files):
        return
    if shards.exists() and not marker.exists():
        raise InputError(
            f"{shards}: these shards are not a sample of ours (there is no {marker.name} beside "
            "them); choose another folder for the sample."
        )
    with locked(shards):
        with atomic(shards) as fresh:
            fresh.mkdir()
            classes, counts = _write_shards(config, fresh, progress)
            marker.write_text("{}\n")  # until the new marker is there, this is no whole sample
        write_vocabulary(vocabulary, classes, counts)
        with atomic(marker) as fresh:
            fresh.write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")


def _description(config: SampleConfig) -> dict[str, Any]:
    """Return everything that determines the sample, as it reads back from JSON."""
    settings = config.model_dump(mode="json", exclude={"out"})
    described = {"source": "synthetic sample", "config": settings, "model": CONSTANTS._asdict()}
    return json.loads(json.dumps(described))


def _read(marker: Path) -> Any:
    """Return what a marker says, or None if there is none, or a damaged one."""
    try:
        return json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write_shards(
    config: SampleConfig, folder: Path, progress: bool
) -> tuple[list[str], list[int]]:
    """Write all shards; return each label's name and its number of clips."""
    generator = Generator(config.shared, config.seed, config.classes)
    subject, labels = generator.draw_labels(config.clips, np.random.default_rng([config.seed, 1]))
    starts = range(0, config.clips, config.clips_per_shard)
    for number, start in enumerate(tqdm(starts, "sample", unit="shard", disable=not progress)):
        rows = slice(start, start + config.clips_per_shard)
        rng = np.random.default_rng([config.seed, 2, number])
        visual, audio = generator.draw_features(subject[rows], rng)
        ids = (f"s{start + row:05d}" for row in range(len(visual)))
        clips = map(Clip, ids, labels[rows], visual, audio)
        write_records(folder / f"sample{number:04d}.tfrecord", map(encode_example, clips))
    counts = np.bincount(np.concatenate(labels), minlength=config.classes)
    return generator.names, counts.tolist()
