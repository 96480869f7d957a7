"""Score ready-made embeddings of any system, and compare two systems on the same queries."""

from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from scipy import sparse
from torch.nn.functional import normalize

from xmodal.config import InputError, StageConfig
from xmodal.data.features import label_rows
from xmodal.data.pairs import NAMES, read_pairs, sparse_labels
from xmodal.evaluation import recall
from xmodal.evaluation.controls import controls_frame
from xmodal.evaluation.relevance import relevance_frame
from xmodal.files import atomic, locked
from xmodal.metrics import Ranks
from xmodal.model import Embeddings

TOLD_APART = ["split", "direction", "gallery"]


class MeasureConfig(recall.RankingConfig):
    """Which embeddings are measured, and what is written for other programs."""

    pairs: Path | None = Field(None, description="Embeddings as `xmodal export` writes them")
    visual: Path | None = Field(None, description="Embeddings of the videos alone, .npy, by row")
    audio: Path | None = Field(None, description="Embeddings of their sounds, .npy, by row")
    ids: Path | None = Field(None, description="Ids of the clips: a text, one a line, or .npy")
    labels: Path | None = Field(None, description="Labels, a line a clip, joined by |, or .npy")
    run: Path | None = Field(None, description="TREC run to write: the first items of queries")
    depth: int = Field(100, gt=0, description="Items per query in the TREC run")
    qrels: Path | None = Field(None, description="TREC judgements: shared labels, or the match")


def measure(config: MeasureConfig) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Rank ready-made embeddings by cosine: rows may have any length; one of zeros ties with all.

    InputError if the files do not fit each other, or a control does not score as chance does.

    Returns
    -------
    DataFrame, DataFrame, DataFrame
        Recall as of `evaluate`, in one split called "all"; `relevance_frame`, empty if there are no
        labels; `controls_frame`.
    """
    if not (config.pairs or (config.visual and config.audio)):
        raise InputError("embeddings are needed: PAIRS, or --visual FILE and --audio FILE")
    given = {name: file for name in NAMES[:4] if (file := getattr(config, name))}
    pairs = read_pairs(config.pairs, given)
    if pairs.visual.shape[1] != pairs.audio.shape[1] or not pairs.complete.all():
        raise InputError("visual and audio embeddings need rows of one width, and no row of NaN")
    if (config.run or config.qrels) and any(len(clip.split()) != 1 for clip in pairs.ids):
        raise InputError("an id with spaces cannot stand in a TREC file: give others with --ids")
    sides = (torch.from_numpy(np.array(side, np.float64)) for side in pairs[:2])
    embedded = Embeddings(*(normalize(side, dim=1, eps=1e-30).float() for side in sides))
    ranked = recall.rank_frame([embedded], [*config.galleries, len(pairs.ids)], seed=config.seed)
    ranked = ranked.assign(split="all", clip=pairs.ids[ranked["clip"]])
    controls = controls_frame(None, embedded, config.galleries, config.seed)
    labels = sparse.eye_array(len(pairs.ids), format="csr")  # without any, a clip is its own
    if names := pairs.label_names:
        labels = label_rows(*sparse_labels(pairs.labels, names), len(names))
    sizes = ranked["gallery"].unique().tolist() if names else []
    relevance = relevance_frame(embedded, labels, sizes, config.seed, config.resamples)
    measured = recall.recall_of(ranked, config.resamples, ["split"])
    if config.out:
        recall.leave(config.out, ranked, recall=measured, relevance=relevance)
    lines = run_lines(pairs.ids, embedded, config.depth), qrel_lines(pairs.ids, labels)
    for path, text in zip((config.run, config.qrels), lines, strict=True):
        if path:
            with locked(path), atomic(path) as fresh, fresh.open("w", encoding="utf-8") as file:
                file.writelines(text)
    return measured, relevance, controls


def run_lines(ids: np.ndarray, embedded: Embeddings, depth: int) -> Iterator[str]:
    """Yield a TREC run: query, Q0, document, rank, score, name of the system."""
    for direction, query, items in recall.directions(embedded):
        asked, found = direction.split("→")
        cosine, rows = recall.nearest(query, items, min(depth, len(items)))
        for clip, *retrieved in zip(ids, cosine.tolist(), rows.tolist(), strict=True):
            for rank, (score, row) in enumerate(zip(*retrieved, strict=True), 1):
                yield f"{asked}:{clip} Q0 {found}:{ids[row]} {rank} {score:.9g} xmodal\n"


def qrel_lines(ids: np.ndarray, labels: sparse.csr_array) -> Iterator[str]:
    """Yield TREC judgements: query, 0, document that shares a label, 1."""
    for asked, found in (("audio", "video"), ("video", "audio")):
        for row, clip in enumerate(ids):
            for other in (labels[[row]] @ labels.T).tocsr().indices:
                yield f"{asked}:{clip} 0 {found}:{ids[other]} 1\n"


class CompareConfig(StageConfig):
    """Whose ranks are compared, and how often they are drawn."""

    a: Path = Field(description="Folder of ranks: an evaluated run, or what was measured to")
    b: Path = Field(description="The other; a difference is A less B")
    resamples: int = Field(1000, gt=0, description="Resamples of the bootstrap, and of the test")
    seed: int = Field(0, ge=0, description="Seed that draws them")


def compare(config: CompareConfig) -> pd.DataFrame:
    """Test whether two systems differ on the same queries, among the same candidates.

    InputError if there are no ranks, or those of other clips or galleries.

    Returns
    -------
    DataFrame
        A line a split, direction, gallery and measure (R@K in percent, median rank): a, b,
        difference (a less b), low, high (95% interval; a bootstrap draws the queries), and p of the
        permutation test, two-sided, that swaps the systems query by query; exact if there are no
        more swaps than ``resamples``.
    """
    a, b = (dict(list(read_ranks(path).groupby(TOLD_APART))) for path in (config.a, config.b))
    common = [key for key in a if key in b]
    if not common or any(a[key]["clip"].tolist() != b[key]["clip"].tolist() for key in common):
        raise InputError(
            f"{config.a} and {config.b} rank other clips, or in other galleries: measure both on "
            "the same clips, with the same --galleries and --seed"
        )
    both = {key: np.stack([scores(a[key]), scores(b[key])]) for key in common}
    parts = {key: paired(both[key], config.resamples, config.seed) for key in common}
    return pd.concat(parts, names=TOLD_APART).droplevel(-1).reset_index()


def read_ranks(path: Path) -> pd.DataFrame:
    """Read the ranks in a folder, or a file; InputError if there are none."""
    file = path / recall.RANKS if path.is_dir() else path
    try:
        return pd.read_parquet(file, columns=[*TOLD_APART, "clip", *Ranks._fields])
    except Exception as error:  # Arrow raises some ten kinds for a damaged file
        leave = "`xmodal evaluate` leaves them, and so does `xmodal measure` with --out"
        raise InputError(f"{file}: cannot be read as ranks; {leave}") from error


def scores(ranked: pd.DataFrame) -> np.ndarray:
    """Return each query's hits, in percent, at each K, and its rank: (queries, 4)."""
    ranks = recall.ranks_in(ranked)
    hits = (100 * ranks.hits(k) for k in recall.KS)
    return torch.stack([*hits, ranks.average()], dim=1).double().numpy()


def summary(both: np.ndarray) -> np.ndarray:
    """Return R@K and the median rank of two systems, (2, 4), from their scores."""
    return np.column_stack([both[..., :-1].mean(axis=1), np.median(both[..., -1], axis=1)])


def paired(both: np.ndarray, resamples: int, seed: int) -> pd.DataFrame:
    """Compare the scores of two systems, (2, queries, 4), as `compare` says."""
    rng, queries = np.random.default_rng(seed), both.shape[1]
    drawn = (both[:, rng.integers(queries, size=queries)] for _ in range(resamples))
    swaps: Iterable[Any] = (rng.integers(2, size=queries) for _ in range(resamples))
    if every := 2**queries <= resamples:
        swaps = product((0, 1), repeat=queries)
    swapped = (both[[swap, np.subtract(1, swap)], range(queries)] for swap in swaps)
    found, resampled, chance = (
        np.array([np.subtract(*summary(one)) for one in some]) for some in ([both], drawn, swapped)
    )
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    extreme = (np.abs(chance) >= np.abs(found) - 1e-9).sum(axis=0)
    p = (extreme + (not every)) / (len(chance) + (not every))  # what is observed is a swap, too
    (a, b), measures = summary(both), [*(f"R@{k}" for k in recall.KS), "median rank"]
    columns = {"measure": measures, "a": a, "b": b, "difference": found[0]}
    return pd.DataFrame({**columns, "low": low, "high": high, "p": p})
