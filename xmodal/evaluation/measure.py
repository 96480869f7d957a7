"""Score ready-made embeddings of any system."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from scipy import sparse
from torch.nn.functional import normalize

from xmodal.config import InputError
from xmodal.data.features import label_rows
from xmodal.data.pairs import NAMES, read_pairs, sparse_labels
from xmodal.evaluation import recall
from xmodal.evaluation.controls import controls_frame
from xmodal.evaluation.relevance import relevance_frame
from xmodal.files import atomic, locked
from xmodal.model import Embeddings


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
