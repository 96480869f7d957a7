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

from xmodal.checkpoint import RunFolder, load_run
from xmodal.config import InputError, StageConfig
from xmodal.data.features import SPLITS, FeatureSet, open_splits
from xmodal.files import atomic, find_run, locked
from xmodal.metrics import Ranks, galleries, gallery_ranks, recall
from xmodal.model import Embeddings

AUDIO_TO_VIDEO, VIDEO_TO_AUDIO = "audio→video", "video→audio"
KS = (1, 5, 10)
RANKS = "ranks.parquet"
"""The ranks that a ``recall.csv`` beside it summarises."""


class RankingConfig(StageConfig):
    """Among how many clips matches are ranked, and where this is kept."""

    galleries: list[PositiveInt] = Field(
        [256, 512, 1024], description="Candidates per query, as the rows of Tables 1 and 2"
    )
    resamples: int = Field(1000, gt=0, description="Resamples of the bootstrap")
    seed: int = Field(0, ge=0, description="Seed that draws the galleries")
    out: Path | None = Field(None, description="Folder for recall.csv and ranks; null: the run's")


class EvaluateConfig(RankingConfig):
    """Which run is evaluated, on which clips; all but the galleries is our choice."""

    run: Path = Field(description="Training run, or weights of the package")
    features: Path = Field(Path("data/sample/features"), description="Feature set to evaluate on")


def directions(clips: Embeddings | FeatureSet) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name, the queries and the gallery of both directions of retrieval."""
    yield AUDIO_TO_VIDEO, clips.audio, clips.visual
    yield VIDEO_TO_AUDIO, clips.visual, clips.audio


def nearest(query: Tensor, gallery: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k most similar items of the gallery for each query, most similar first.

    Their cosines and row numbers, float32 and int64, (queries, k), of unit vectors, float32,
    (queries, embedding_dim) and (items, embedding_dim).
    InputError if there are fewer items, or an embedding is not finite: NaN would come first.
    """
    if not 1 <= k <= len(gallery):
        raise InputError(f"asked for {k} neighbours of a gallery of {len(gallery)}: lower k")
    if not (query.isfinite().all() and gallery.isfinite().all()):
        raise InputError("an embedding is not finite: leave that clip out, or train again")
    parts = [(part @ gallery.T).topk(k, dim=1) for part in query.split(1024)]
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
    insists on vectors of length 1, see `xmodal.metrics.ranks`. InputError if there are too few
    clips for every size.

    A line a query: member (number of the model), direction, gallery, clip (row of the query),
    better and tied, see `Ranks`.
    """
    count = len(models[0].visual)
    rows = np.arange(count) if keep is None else np.flatnonzero(keep)
    fitting = dict.fromkeys(n for n in sizes if 1 <= n <= len(rows))
    if not fitting:
        raise InputError(
            f"of {count} clips {len(rows)} can be ranked (silent ones cannot), too few for a "
            f"gallery of {' or '.join(map(str, sizes))}: use a larger feature set"
        )
    parts: dict[str, list[pd.DataFrame]] = {AUDIO_TO_VIDEO: [], VIDEO_TO_AUDIO: []}
    for size, (member, one) in product(fitting, enumerate(models)):
        clip = rows[galleries(len(rows), size, seed).flatten()]
        both = gallery_ranks(one.audio[rows], one.visual[rows], size, seed, cosine)
        for direction, found in zip(parts, both, strict=True):
            columns = {"member": member, "direction": direction, "gallery": size, "clip": clip}
            parts[direction].append(pd.DataFrame(columns | found._asdict()))
    return pd.concat([*parts[AUDIO_TO_VIDEO], *parts[VIDEO_TO_AUDIO]], ignore_index=True)


def recall_of(ranked: pd.DataFrame, resamples: int = 1000, by: Sequence[str] = ()) -> pd.DataFrame:
    """Summarise ranks as recall; several members are averaged, query by query, first.

    ``ranked`` is what `rank_frame` returns, perhaps of several models told apart by the columns
    ``by``. Columns direction, gallery, galleries (how many), queries, k, recall, low, high
    (percent; by ``resamples`` of the queries), median_rank, mean_rank, and those of ``by``.
    """
    parts, told_apart = [], [*by, "direction", "gallery"]
    for key, part in ranked.groupby(told_apart, sort=False):
        found = [ranks_in(one) for _, one in part.groupby("member", sort=False)]
        measured = pd.DataFrame(recall(*found, ks=KS, resamples=resamples)._asdict())
        parts.append(measured.assign(**dict(zip(told_apart, key, strict=True))))
    frame = pd.concat(parts, ignore_index=True).rename(columns={"ks": "k"})
    frame["galleries"] = frame["queries"] // frame["gallery"]
    frame[["recall", "low", "high"]] *= 100
    columns = "direction gallery galleries queries k recall low high median_rank mean_rank"
    return frame[[*columns.split(), *by]]


def ranks_in(ranked: pd.DataFrame) -> Ranks:
    """Return the ranks in a frame of `rank_frame`."""
    return Ranks(*(torch.from_numpy(ranked[name].to_numpy(np.int64)) for name in Ranks._fields))


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
    """Embed a split with the best weights of a run: unit vectors, float32, (clips, embedding_dim).

    InputError if there is no finished run, or it was trained on features of other sizes.
    """
    require_fit(run, features)
    return load_run(run)[0].embed(features.visual, features.audio)


def require_fit(run: Path | str, features: FeatureSet) -> None:
    """Make sure that a run was trained on features of a split's sizes, made by the same encoders.

    InputError if it was not; encoders that are not known of one of the two do not count.
    """
    folder = RunFolder(find_run(run))
    sizes, encoder = folder.read("config.json")["sizes"], folder.encoder()
    wanted = (sizes["visual_dim"], sizes["audio_dim"])
    found = (features.visual.shape[1], features.audio.shape[1])
    if wanted != found or (features.encoder and encoder not in ("", features.encoder)):
        made, others = (f" of {name}" if name else "" for name in (encoder, features.encoder))
        raise InputError(
            f"{run} was trained on features of sizes {wanted}{made}, this split has {found}"
            f"{others}: use the feature set that it was trained on"
        )


def evaluate(config: EvaluateConfig) -> pd.DataFrame:
    """Measure the recall of a run on clips that are not silent; `leave` it in the run, or ``out``.

    Returns
    -------
    DataFrame
        `recall_frame`, at each gallery size and among all clips, with a column split
        ("validation" or "evaluation").
    """
    parts, sets = [], open_splits(config.features, *SPLITS[1:])
    require_fit(config.run, sets[0])
    model, _ = load_run(config.run)
    for features in sets:
        sizes = [*config.galleries, int((~features.silent).sum())]
        embedded = [model.embed(features.visual, features.audio)]
        found = rank_frame(embedded, sizes, ~features.silent, config.seed)
        parts.append(found.assign(split=features.split, clip=features.ids[found["clip"]]))
    ranked = pd.concat(parts, ignore_index=True)
    frame = recall_of(ranked, config.resamples, ["split"])
    own = find_run(config.run) == config.run  # not one that comes with the package
    if folder := config.out or (config.run if own else None):
        leave(folder, ranked, recall=frame)
    return frame


def leave(folder: Path, ranked: pd.DataFrame, **frames: pd.DataFrame) -> None:
    """Leave frames in a folder as CSV, and ranks, of clips by their ids, for `compare`."""
    writes = {f"{name}.csv": frame.to_csv for name, frame in frames.items() if len(frame)}
    for name, write in {RANKS: ranked.to_parquet, **writes}.items():
        with locked(folder / name), atomic(folder / name) as fresh:
            write(fresh, index=False)


def ensemble(members: Sequence[Embeddings], weights: Sequence[float] = ()) -> Embeddings:
    """Combine several models into one whose cosine is the mean of theirs, or a weighted one."""
    shares = np.array(weights or [1.0] * len(members))
    roots = np.sqrt(shares / shares.sum()).tolist()
    sides = zip(*(member[:2] for member in members), strict=True)
    scaled = ([root * x for root, x in zip(roots, side, strict=True)] for side in sides)
    return Embeddings(*(torch.cat(side, dim=1) for side in scaled))
