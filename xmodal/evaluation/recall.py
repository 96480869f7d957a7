"""From trained runs to tidy frames of recall (paper, section 4.1)."""

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from xmodal.checkpoint import RunFolder, find_run, load_run
from xmodal.config import InputError, StageConfig
from xmodal.data.features import FeatureSet, open_features
from xmodal.files import atomic, locked
from xmodal.metrics import Ranks, galleries, gallery_ranks, recall
from xmodal.model import Embeddings

AUDIO_TO_VIDEO, VIDEO_TO_AUDIO = "audio→video", "video→audio"
KS = (1, 5, 10)
COLUMNS = ["direction", "gallery", "galleries", "queries", "k"]
COLUMNS += ["recall", "low", "high", "median_rank", "mean_rank"]
"""The columns of `recall_of`, which those that tell models apart follow."""
APART = "evaluation, scaled apart"


class MeasureConfig(StageConfig):
    """What is measured of one run; all is our choice."""

    run: Path = Field(description="training run")
    features: Path = Field(description="feature set; its validation and evaluation clips are used")
    galleries: list[PositiveInt] = Field(
        [256, 1024], description="candidates per query; all clips are a gallery too"
    )
    resamples: int = Field(1000, gt=0, description="of the bootstrap")
    seed: int = Field(0, ge=0, description="draws the galleries")


def directions(clips: Embeddings | FeatureSet) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name, the queries and the gallery of both directions of retrieval."""
    yield AUDIO_TO_VIDEO, clips.audio, clips.visual
    yield VIDEO_TO_AUDIO, clips.visual, clips.audio


def nearest(query: Tensor, gallery: Tensor, k: int, chunk: int = 1024) -> tuple[Tensor, Tensor]:
    """Return the k most similar items of the gallery for each query, most similar first.

    Their cosines and row numbers, float32 and int64, (queries, k), of unit vectors, float32,
    (queries, embedding_dim) and (items, embedding_dim); ``chunk`` queries are compared at a time.
    InputError if there are fewer items, or an embedding is not finite: NaN would come first.
    """
    if not 1 <= k <= len(gallery):
        raise InputError(f"asked for {k} neighbours of a gallery of {len(gallery)}: lower k")
    for name, rows in (("query", query), ("item", gallery)):
        if not (finite := rows.isfinite().all(dim=1)).all():
            raise InputError(
                f"the embedding of {name} {int(finite.byte().argmin())} is not finite: "
                "leave it out, or embed it with weights and features that are"
            )
    parts = [(part @ gallery.T).topk(k, dim=1) for part in query.split(chunk)]
    return torch.cat([p.values for p in parts]), torch.cat([p.indices for p in parts])


def rank_frame(
    models: Sequence[Embeddings],
    sizes: Sequence[int],
    keep: np.ndarray | None = None,
    seed: int = 0,
    cosine: bool = True,
) -> pd.DataFrame:
    """Rank the match of every query in both directions at several gallery sizes.

    ``models`` are the embeddings of one model, or of several that differ in their seed alone. Clips
    to ``keep`` (bool, (clips,); all if not given) are queries and candidates; ``sizes`` of
    galleries that they are too few for are left out. ``seed`` draws the galleries; ``cosine``
    insists on vectors of length 1, see `ranks`. InputError if there are too few clips for
    every size.

    A line a query: member (number of the model), direction, gallery, clip (row of the query),
    better and tied, see `Ranks`.
    """
    count = len(models[0].visual)
    rows = np.arange(count) if keep is None else np.flatnonzero(keep)
    fitting = [n for n in sizes if 1 <= n <= len(rows)]
    if not fitting:
        raise InputError(
            f"of {count} clips {len(rows)} can be ranked (silent ones cannot), too few for a "
            f"gallery of {' or '.join(map(str, sizes))}: use a larger feature set"
        )
    found = {
        (size, member): gallery_ranks(one.audio[rows], one.visual[rows], size, seed, cosine)
        for size, (member, one) in product(fitting, enumerate(models))
    }
    parts = []
    for way, direction in enumerate((AUDIO_TO_VIDEO, VIDEO_TO_AUDIO)):
        for (size, member), both in found.items():
            columns = {
                "member": member,
                "direction": direction,
                "gallery": size,
                "clip": rows[galleries(len(rows), size, seed).flatten()],
                **both[way]._asdict(),
            }
            parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def recall_of(ranked: pd.DataFrame, resamples: int = 1000, by: Sequence[str] = ()) -> pd.DataFrame:
    """Summarise ranks as recall; several members are averaged, query by query, first.

    ``ranked`` is what `rank_frame` returns, perhaps of several models told apart by the columns
    ``by``. Columns direction, gallery, galleries (how many), queries, k, recall, low, high
    (percent; by ``resamples`` of the queries), median_rank, mean_rank, and those of ``by``.
    """
    parts, told_apart = [], [*by, "direction", "gallery"]
    for key, part in ranked.groupby(told_apart, sort=False):
        found = [
            Ranks(*(torch.from_numpy(one[name].to_numpy(np.int64)) for name in Ranks._fields))
            for _, one in part.groupby("member", sort=False)
        ]
        measured = pd.DataFrame(recall(*found, ks=KS, resamples=resamples)._asdict())
        parts.append(measured.assign(**dict(zip(told_apart, key, strict=True))))
    frame = pd.concat(parts, ignore_index=True).rename(columns={"ks": "k"})
    frame["galleries"] = frame["queries"] // frame["gallery"]
    frame[["recall", "low", "high"]] *= 100
    return frame[[*COLUMNS, *by]]


def recall_frame(
    models: Sequence[Embeddings],
    sizes: Sequence[int],
    keep: np.ndarray | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> pd.DataFrame:
    """Measure recall: `recall_of` the `rank_frame`."""
    return recall_of(rank_frame(models, sizes, keep, seed), resamples)


def mean_recall(
    embedded: Embeddings, features: FeatureSet, gallery: int = 1024, cosine: bool = True
) -> float:
    """Return Recall@1 over clips that are not silent, the mean of both directions, in percent."""
    keep = ~features.silent
    size = min(gallery, int(keep.sum()))
    if not size:
        raise InputError(f"all {len(keep)} {features.split} clips are silent: none can be ranked")
    both = gallery_ranks(embedded.audio[keep], embedded.visual[keep], size, cosine=cosine)
    return 50 * sum(recall(way, ks=(1,), resamples=0).recall[0] for way in both)


def embed_run(run: Path, features: FeatureSet) -> Embeddings:
    """Embed a split with a run's best weights.

    Parameters
    ----------
    run : Path
        Folder of a finished training.
    features : FeatureSet
        Clips to embed.

    Returns
    -------
    Embeddings
        Unit vectors, float32, (clips, embedding_dim).

    Raises
    ------
    InputError
        If there is no finished run, it was trained on features of other sizes, or an embedding is
        not finite.
    """
    require_fit(run, features)
    embedded = load_run(run)[0].embed(features.visual, features.audio)
    finite = (embedded.visual.isfinite() & embedded.audio.isfinite()).all(dim=1)
    if not finite.all():
        clip = f"clip {features.ids[int(finite.byte().argmin())]} of the {features.split} split"
        raise InputError(f"{run}: the embedding of {clip} is not finite; prepare or train again")
    return embedded


def require_fit(run: Path | str, features: FeatureSet) -> None:
    """Make sure that a run was trained on features of a split's sizes; InputError if it was not."""
    sizes = RunFolder(find_run(run)).read("config.json")["sizes"]
    wanted = (sizes["visual_dim"], sizes["audio_dim"])
    found = (features.visual.shape[1], features.audio.shape[1])
    if wanted != found:
        raise InputError(
            f"{run} was trained on features of sizes {wanted}, this split has {found}: "
            "use the feature set that it was trained on"
        )


def embed_apart(run: Path, features: FeatureSet) -> Embeddings:
    """Embed a split with a run that scales both modalities jointly, each scaled by itself instead.

    Every visual feature is given the mean length that it has after joint scaling, and every audio
    feature likewise, so that no half of a clip tells the length of the other.
    """
    model, _ = load_run(run)
    model.config = model.config.model_copy(update={"joint_normalise": False})
    both = [np.asarray(part, np.float32) for part in (features.visual, features.audio)]
    lengths = [np.linalg.norm(part, axis=1, keepdims=True).clip(1e-12) for part in both]
    whole = np.hypot(*lengths)
    scaled = (x / n * (n / whole).mean() for x, n in zip(both, lengths, strict=True))
    return model.embed(*scaled)


def measure_run(config: MeasureConfig) -> pd.DataFrame:
    """Measure a run on the clips that are not silent, and leave ``recall.csv`` in its folder.

    Returns
    -------
    DataFrame
        `recall_frame` with a column split ("validation", "evaluation", and of a run that scales
        both modalities jointly `APART`: the evaluation clips by `embed_apart`).
    """
    parts = []
    splits = {"validation": embed_run, "evaluation": embed_run}
    if load_run(config.run)[1].joint_normalise:
        splits[APART] = embed_apart
    for split, embed in splits.items():
        features = open_features(config.features, split.split(",")[0])
        sizes = [*config.galleries, int((~features.silent).sum())]
        embedded = [embed(config.run, features)]
        found = recall_frame(embedded, sizes, ~features.silent, config.seed, config.resamples)
        parts.append(found.assign(split=split))
    frame = pd.concat(parts, ignore_index=True)
    if find_run(config.run) == config.run:  # not one that comes with the package
        path = config.run / "recall.csv"
        with locked(path), atomic(path) as fresh:
            frame.to_csv(fresh, index=False)
    return frame


def joined(members: Sequence[Embeddings]) -> Embeddings:
    """Join several models into one whose cosine is the mean of theirs (our choice of ensemble)."""
    if not members:
        raise InputError("there is no model to join: name at least one run")
    scale = len(members) ** -0.5
    return Embeddings(
        torch.cat([m.visual for m in members], dim=1) * scale,
        torch.cat([m.audio for m in members], dim=1) * scale,
    )


def embed_runs(runs: Sequence[Path], features: FeatureSet) -> dict[int, list[Embeddings]]:
    """Embed a split with several runs: embedding dimension → the embeddings of its runs.

    InputError if two runs of one dimension differ in more than their seed, training data included.
    """
    first: dict[int, tuple[Path, dict]] = {}
    embedded: dict[int, list[Embeddings]] = {}
    for run in runs:
        embeddings = embed_run(run, features)
        stored = RunFolder(run).read("config.json")
        ignored = ("seed", "out", "overwrite", "progress")
        settings = {name: v for name, v in stored["config"].items() if name not in ignored}
        settings["features"] = stored["data"]
        dimension = settings["embedding_dim"]
        other, same = first.setdefault(dimension, (run, settings))
        differing = [name for name in settings if settings[name] != same[name]]
        if differing:
            raise InputError(
                f"{other} and {run} differ in {', '.join(differing)}, so they cannot be averaged: "
                "name the runs to compare with the parameter runs"
            )
        embedded.setdefault(dimension, []).append(embeddings)
    return embedded
