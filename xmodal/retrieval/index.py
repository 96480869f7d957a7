"""An index on disk: clips of a feature set, embedded once by a run, to be searched at once.

Vectors are memory-mapped, so an index opens in no time and may be larger than memory. Search is
exact; above a size, an inverted file of faiss looks at a part of the items only, and how many of
the true nearest it finds is measured when it is built.
"""

import json
import math
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor
from torch.nn.functional import normalize
from tqdm import tqdm

from xmodal.checkpoint import WEIGHTS, RunFolder, digest, find_run, load_run
from xmodal.config import InputError, StageConfig
from xmodal.data.features import (
    CHUNK,
    SPLITS,
    UNPAIRED,
    FeatureSet,
    begin_rows,
    open_features,
    read_chunks,
    read_manifest,
)
from xmodal.evaluation import hubness
from xmodal.evaluation.recall import require_fit
from xmodal.files import atomic, locked, require_empty
from xmodal.model import Embeddings, JointEmbedding
from xmodal.retrieval.gallery import FILE, Gallery, Lists, open_gallery, side_of

EXACT = 200_000
"""So many items are all compared with the query; our choice."""
BANK = 8192
"""Training clips that tell which items are hubs, at most; our choice."""
SAMPLES = 256
"""Queries on which the share of the true nearest that are found is measured."""
FOUND = 0.99
"""The share of the ten true nearest that an approximate search is to find."""
SIDES = ("visual", "audio")
NOTE = "index.json"
"""Written last: what an index was made from, and how it is searched."""
ARRAYS = (*SIDES, "visual_penalty", "audio_penalty", "ids", "label_indptr", "label_indices")
FILES = (NOTE, "visual.faiss", "audio.faiss", *(f"{name}.npy" for name in ARRAYS))
"""What an index holds; all else in its folder is its user's."""


class IndexConfig(StageConfig):
    """What an index holds."""

    run: str = Field(description="folder of a finished training, or weights of the package")
    features: Path = Field(description="feature set with the clips to search among")
    out: Path | None = Field(None, description="folder for the index; None: index/ of the run")
    splits: tuple[str, ...] = Field((*SPLITS, UNPAIRED), description="which of its clips")
    correct_hubs: bool = Field(True, description="as 06_beyond does, by training clips")
    exact: int = Field(EXACT, ge=0, description="most items that are all compared")


@dataclass(frozen=True)
class Index(Gallery):
    """A `Gallery` on disk, for queries that are features, too, which ``run`` embeds.

    ``penalty``, float32 (clips,) of each modality, is taken off a cosine, as the item is a hub;
    infinite if the clip lacks the modality. ``parts`` are inverted files of faiss, where there are
    many clips; ``about`` is what ``index.json`` says, such as the share of the true nearest that
    are ``found``.
    """

    run: Path = Path()
    penalty: tuple[Tensor, ...] = ()
    parts: tuple[Any, ...] = ()
    about: dict[str, Any] | None = None

    @classmethod
    def open(cls, run: Path | str) -> "Index":
        """Open the index of a run, or that in a folder; of the package's weights, their clips.

        Raises
        ------
        InputError
            If there is none, it is damaged, or it was made with other weights.
        """
        folder, home = Path(run), None
        if not (folder / NOTE).exists():
            home = find_run(run)
            if (home / FILE).exists():
                clips = open_gallery(home)
                nothing = torch.zeros(len(clips.ids))
                return cls(clips.embedded, clips.ids, clips.labels, (), home, (nothing, nothing))
            folder = home / "index"
        if not (folder / NOTE).exists():
            raise InputError(f"{run} has no index: make one with `xmodal index {run} features=...`")
        about = _read_note(folder)
        try:
            arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="c") for name in ARRAYS}
            vectors = Embeddings(*(torch.from_numpy(arrays[side]) for side in SIDES))
            penalty = tuple(torch.from_numpy(arrays[f"{side}_penalty"]) for side in SIDES)
            labels = Lists(arrays["label_indptr"], arrays["label_indices"])
            files = [folder / f"{side}.faiss" for side in SIDES if about["found"]]
            parts = tuple(faiss.read_index(str(file), faiss.IO_FLAG_MMAP) for file in files)
            names, made_by, weights = about["label_names"], about["run"], about["weights"]
            ones = np.ones(len(labels.indices), bool)
            shape = (about["clips"], len(names))
            sparse.csr_array((ones, labels.indices, labels.indptr), shape).check_format()
            index = cls(vectors, arrays["ids"], labels, names, Path(made_by), penalty, parts, about)
            complete = (
                all(len(x) == about["clips"] for x in (*vectors[:2], *penalty, arrays["ids"]))
                and vectors.visual.shape == vectors.audio.shape
                and vectors.visual.ndim == 2
                and all(x.dtype == torch.float32 for x in (*vectors[:2], *penalty))
                and all(isinstance(text, str) for text in (weights, *names, index.described()))
                and arrays["ids"].dtype.kind == "U"
                and all(part.d == vectors.visual.shape[1] + 1 for part in parts)
            )
        except Exception:  # numpy and faiss raise some ten kinds for a damaged file
            complete = False
        if not complete:
            raise InputError(f"{folder}: the index is damaged; make it again with `xmodal index`.")
        home = home or find_run(made_by)
        if _weights(home) != weights:
            raise InputError(f"{folder} was made with other weights of {home}: make it again")
        return replace(index, run=home)

    @cached_property
    def model(self) -> JointEmbedding:
        """The model of the run, loaded when the first query needs it."""
        return load_run(self.run)[0]

    @cached_property
    def there(self) -> list[int]:
        """How many videos, and how many sounds, can be found."""
        return [int(penalty.isfinite().sum()) for penalty in self.penalty]

    def described(self) -> str:
        """Say in a sentence what the index holds and how it is searched."""
        about = self.about or {"clips": len(self.ids), "correction": {"weight": 0}, "found": []}
        shares = " and ".join(f"{100 * share:.1f}" for share in about["found"])
        way = "whole"
        if shares:
            way = f"in part: {shares} % of the ten true nearest videos and sounds are found"
        hubs = "corrected" if about["correction"]["weight"] else "not corrected"
        return f"{about['clips']:,} clips, searched {way}; hubs {hubs}"

    def query(self, features: np.ndarray, find: Literal["audio", "video"] = "audio") -> Tensor:
        """Embed features as a query: of one clip, (length,), or of several, whose mean is taken.

        They are visual if audio is to be found, and audio if videos are; InputError if they are
        not finite or of another length.
        """
        stored = RunFolder(self.run).read("config.json")["sizes"]
        sizes = [stored["visual_dim"], stored["audio_dim"]]
        side = 1 - side_of(find)
        rows = np.atleast_2d(np.asarray(features))
        numbers = rows.dtype.kind in "fiu" and rows.ndim == 2 and rows.size
        if not numbers or rows.shape[1] != sizes[side] or not np.isfinite(rows).all():
            raise InputError(
                f"features of shape {np.shape(features)} are no query here: give {sizes[side]} "
                f"finite {SIDES[side]} numbers, or rows of so many, from the encoders that the "
                "model was trained on (of a file: --encoders)"
            )
        visual, audio = (np.zeros((len(rows), size), np.float32) for size in sizes)
        (visual, audio)[side][:] = rows
        embedded = self.model.embed(visual, audio)
        return normalize((embedded.visual, embedded.audio)[side].mean(dim=0), dim=0)

    def _closest(self, query: Tensor, side: int, k: int) -> tuple[Tensor, Tensor]:
        """Return the cosines and the rows of the k items nearest to a query, the best first."""
        items, penalty = self.sides[side], self.penalty[side]
        if not query.norm() > 0:
            raise InputError(f"the query has no {SIDES[1 - side]} features: ask for another clip")
        if not 1 <= k <= self.there[side]:
            raise InputError(
                f"asked for {k} neighbours of a gallery of {self.there[side]}: lower k"
            )
        rows = torch.zeros(0, dtype=torch.int64)
        if self.parts:
            asked = torch.cat([query, -torch.ones(1)])[None].numpy()
            rows = torch.from_numpy(self.parts[side].search(asked, k)[1][0])
            rows = rows[(rows >= 0) & (rows < len(items))]
        if len(rows.unique()) < k:  # all are searched, or those cells hold too few
            rows = (items @ query - penalty).topk(k).indices
        cosine = items[rows] @ query
        if not cosine.isfinite().all():
            raise InputError("the vectors of the index are damaged: make it again")
        return cosine, rows


def read_query(path: Path) -> np.ndarray:
    """Read features that are a query from an ``.npy`` file; InputError if it holds no array."""
    try:
        return np.load(path, allow_pickle=False)
    except Exception as error:  # numpy raises some ten kinds for a damaged file
        raise InputError(f"{path}: cannot be read as an .npy array of features.") from error


def build_index(config: IndexConfig) -> Index:
    """Embed clips with a run and write its index, unless the same index is there already.

    Hubs are corrected as in `xmodal.evaluation.hubness`: training clips are the bank of queries,
    and the strength is what does best on validation clips. An index of more than ``exact`` clips
    has an inverted file of faiss for each modality; as many of its cells are looked at as it takes
    to find `FOUND` of the ten true nearest, on average of sample queries, which are other halves of
    its own clips.

    Raises
    ------
    InputError
        If run and features do not fit each other, the folder cannot be written, or none is named
        for an index of weights that were handed on.
    """
    home = find_run(config.run)
    if (home / FILE).exists() and not config.out:
        raise InputError(
            f"{config.run} was handed on as it is: name a folder for the index, out=..."
        )
    folder = config.out or home / "index"
    noted = read_manifest(config.features).get("splits", {})
    sets = [open_features(config.features, s) for s in config.splits if s in (*SPLITS, *noted)]
    require_fit(config.run, sets[0])
    made_from = {
        "run": str(config.run),
        "weights": _weights(home),
        "data": [clips.fingerprint for clips in sets],
        "config": config.model_dump(mode="json", exclude={"out", "features", "run"}),
    }
    about = _read_note(folder)
    if {name: about.get(name) for name in made_from} == made_from:
        return Index.open(folder)
    if not (folder / NOTE).exists():
        require_empty(folder, "an index")
    with locked(folder), atomic(folder) as work:
        work.mkdir()
        about = made_from | _write(work, folder, config, sets)
        text = json.dumps(about, indent=1, ensure_ascii=False)
        (work / NOTE).write_text(text + "\n", encoding="utf-8")
    return Index.open(folder)


def _write(work: Path, folder: Path, config: IndexConfig, sets: list[FeatureSet]) -> dict[str, Any]:
    """Write the arrays of an index that will be ``folder``; return what is noted of them."""
    counts = [len(clips) for clips in sets]
    model, settings = load_run(config.run)
    shape = (sum(counts), settings.embedding_dim)
    correction, bank = _hubs(model, config)
    parts: list[list[Tensor]] = [[], []]
    bar = tqdm(desc="embedding", total=sum(counts), unit="clip", disable=None)
    with bar, ExitStack() as opened:
        files = [opened.enter_context(begin_rows(work / f"{s}.npy", "<f4", shape)) for s in SIDES]
        chunks = (chunk for clips in sets for chunk in read_chunks(clips.visual, clips.audio))
        for visual, audio in chunks:
            embedded = model.embed(visual, audio)
            taken = [torch.zeros(len(visual), 1)] * 2
            if bank and correction.weight:
                taken = hubness.attraction(embedded, bank, correction.sharpness)
            for side, values in enumerate((embedded.visual, embedded.audio)):
                there = values.isfinite().all(dim=1)
                files[side].write(torch.where(there[:, None], values, 0).numpy().tobytes())
                parts[side].append(
                    torch.where(there, correction.weight * taken[side][:, 0], math.inf)
                )
            bar.update(len(visual))
    penalties = [torch.cat(side).numpy() for side in parts]
    for name, penalty in zip(SIDES, penalties, strict=True):
        np.save(work / f"{name}_penalty.npy", penalty)
    np.save(work / "ids.npy", np.concatenate([np.asarray(clips.ids) for clips in sets]))
    labels = sparse.vstack([clips.labels for clips in sets], format="csr")
    np.save(work / "label_indptr.npy", labels.indptr.astype(np.int64))
    np.save(work / "label_indices.npy", labels.indices.astype(np.int32))
    found = []
    if sum(counts) > config.exact:
        vectors = [np.load(work / f"{side}.npy", mmap_mode="r") for side in SIDES]
        pairs = list(zip(vectors, penalties, strict=True))
        found = [write_parts(work, side, *pairs[side], vectors[1 - side]) for side in (0, 1)]
    return {
        "clips": sum(counts),
        "label_names": sets[0].label_names,
        "correction": correction._asdict(),
        "found": found,
    }


def _hubs(
    model: JointEmbedding, config: IndexConfig
) -> tuple[hubness.Correction, Embeddings | None]:
    """Return how hubs are corrected, as validation clips choose it, and the bank of queries."""
    if not config.correct_hubs:
        return hubness.Correction(0, 0), None
    train, validation = (open_features(config.features, split) for split in SPLITS[:2])
    rows = np.linspace(0, len(train) - 1, min(len(train), BANK)).astype(int)
    bank = model.embed(train.visual[rows], train.audio[rows])
    embedded = model.embed(validation.visual, validation.audio)
    return hubness.choose_correction(embedded, bank, validation), bank


def write_parts(
    work: Path, side: int, vectors: np.ndarray, penalty: np.ndarray, queries: np.ndarray
) -> float:
    """Write an inverted file; return the share of the ten true nearest that it finds.

    The penalty is one more dimension, in which a query is −1: the inner product is then what ranks.
    """
    there = np.flatnonzero(np.isfinite(penalty))
    cells = int(4 * math.sqrt(len(there)))
    size = vectors.shape[1] + 1
    index: Any = faiss.index_factory(size, f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
    rng = np.random.default_rng(0)

    def rows(some: np.ndarray) -> np.ndarray:
        return np.hstack([vectors[some], penalty[some, None]]).astype(np.float32)

    index.train(rows(np.sort(rng.choice(there, min(len(there), 64 * cells), replace=False))))
    for start in range(0, len(there), CHUNK):
        some = there[start : start + CHUNK]
        index.add_with_ids(rows(some), some)
    asked = queries[np.sort(rng.choice(len(queries), min(len(queries), SAMPLES), replace=False))]
    asked = np.hstack([asked, np.full((len(asked), 1), -1)]).astype(np.float32)
    index.nprobe = cells
    _, true = index.search(asked, 10)
    index.nprobe, found = 4, 0.0
    while found < FOUND and index.nprobe < cells:
        index.nprobe = min(cells, 2 * index.nprobe)
        _, near = index.search(asked, 10)
        found = float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(near, true, strict=True)]))
    try:
        faiss.write_index(index, str(work / f"{SIDES[side]}.faiss"))
    except RuntimeError as error:  # what faiss makes of a full disk
        raise OSError("faiss cannot write its file") from error
    return found


def _weights(run: Path) -> str:
    """Return the SHA-256 of a run's weights."""
    try:
        return digest(run / WEIGHTS)
    except OSError:
        raise RunFolder(run).damaged(WEIGHTS) from None


def _read_note(folder: Path) -> dict[str, Any]:
    """Return what is noted of an index; {} if there is none, or it is damaged."""
    try:
        return dict(json.loads((folder / NOTE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
