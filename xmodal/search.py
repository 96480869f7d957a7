"""Embed clips once, save them, and search among them by an id, a label or features.

An index is a folder whose vectors are memory-mapped: it opens at once and may be larger than
memory. Search is exact; above a size, an inverted file of faiss looks at a part of the items, and
how many of the true nearest it finds is measured when it is built.
"""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from safetensors.torch import load_file
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
from xmodal.evaluation.recall import embed_run, require_fit
from xmodal.files import atomic, locked, require_empty
from xmodal.model import Embeddings, JointEmbedding

CLIPS = "clips.safetensors"
"""Embedded clips that come with the weights of a run."""
BANK = 8192
"""Training clips, at most, that tell which items are hubs; our choice."""
SAMPLES, FOUND = 256, 0.99
"""Queries that measure an inverted file, and the share of their ten nearest it is to find."""
SIDES, SIDE_OF = ("visual", "audio"), {"video": 0, "audio": 1}
NOTE = "index.json"
"""Written last: what an index was made from, and how it is searched."""
ARRAYS = (*SIDES, "visual_penalty", "audio_penalty", "ids", "label_indptr", "label_indices")
Find = Literal["audio", "video"]


class IndexConfig(StageConfig):
    """What an index holds."""

    run: str = Field(description="Folder of a finished training, or weights of the package")
    features: Path = Field(description="Feature set with the clips to search among")
    out: Path | None = Field(None, description="Folder for the index; null: index/ of the run")
    splits: tuple[str, ...] = Field((*SPLITS, UNPAIRED), description="Splits that it holds")
    correct_hubs: bool = Field(True, description="Choose a hubness correction on validation clips")
    exact: int = Field(200_000, ge=0, description="Clips up to which all are compared")


class SearchConfig(StageConfig):
    """What is looked for, and where."""

    run: str = Field(description="Run with an index, folder of one, or weights of the package")
    video: str | None = Field(None, description="Id of the clip whose video is the query")
    audio: str | None = Field(None, description="Id of the clip whose sound is the query")
    label: str | None = Field(None, description="Label whose clips together are the query")
    features: Path | None = Field(None, description="File .npy with features that are the query")
    file: Path | None = Field(None, description="Video, sound or picture that is the query")
    encoders: Literal["packaged", "yt8m"] = Field("packaged", description="Encoders of the file")
    encoder_files: Path | None = Field(None, description="Folder with the files that yt8m needs")
    find: Find = Field("audio", description="What is found where the query is not a clip's id")
    k: int = Field(10, gt=0, description="Number of items to find")
    youtube_ids: Path | None = Field(None, description="CSV of `xmodal resolve`, to add links")
    as_json: bool = Field(False, alias="json", description="Print the items as JSON")
    as_csv: bool = Field(False, alias="csv", description="Print the items as CSV")


class ExportConfig(StageConfig):
    """Which embeddings are exported, and where to."""

    run: str = Field(description="Run with an index, folder of one, or weights of the package")
    out: Path = Field(description="File to write, .npz or .parquet")


@dataclass(frozen=True)
class Gallery:
    """Embedded clips to search among.

    ``embedded`` are unit vectors, float32 (clips, embedding_dim), 0 where a modality is missing;
    ``ids`` texts, (clips,); ``labels`` ones, sparse (clips, classes), which go by their numbers
    unless there are ``names``. ``penalty``, float32 (clips,) of each modality, is the hubness
    correction, taken off a cosine: infinite where the modality is missing. ``parts`` are inverted
    files of faiss, one of each modality, where there are very many clips.
    """

    embedded: Embeddings
    ids: np.ndarray
    labels: sparse.csr_array
    names: Sequence[str] = ()
    penalty: Sequence[Tensor] = ()
    parts: Sequence[Any] = ()

    @property
    def sides(self) -> tuple[Tensor, Tensor]:
        """The embeddings of all videos and of all sounds."""
        return self.embedded.visual, self.embedded.audio

    def row(self, clip: str) -> int:
        """Return the row of a clip; InputError if there is none of that id."""
        found = np.flatnonzero(self.ids == clip)
        if not len(found):
            raise InputError(f"no clip has the id {clip!r}; ids are such as {str(self.ids[0])!r}")
        return int(found[0])

    def labels_of(self, row: int) -> list[str]:
        """Return the labels of a clip, by name, or by number where names are not known."""
        numbers = self.labels.indices[self.labels.indptr[row] : self.labels.indptr[row + 1]]
        return [self.names[n] if self.names else str(n) for n in numbers]

    def carrying(self, label: str) -> np.ndarray:
        """Return the rows of the clips that carry a label; InputError if no label is called so."""
        known = list(self.names or map(str, range(self.labels.shape[1])))
        if label not in known:
            raise InputError(f"no label is called {label!r}; labels are such as {known[:3]}")
        return self.labels[:, [known.index(label)]].nonzero()[0]

    def search(
        self,
        video: str | None = None,
        audio: str | None = None,
        k: int = 10,
        label: str | None = None,
        find: Find = "audio",
    ) -> pd.DataFrame:
        """Find the sounds that fit a clip's video, or the videos that fit its sound.

        Parameters
        ----------
        video, audio
            Id of the clip that is the query; its own other half is among the items.
        k
            Number of items.
        label
            Label whose clips are the query, by the mean of their embeddings: "any video of a
            guitar". Their other halves are among the items, which so carry the label more often.
        find
            What is found for a label; the query is the mean of the other modality.

        Returns
        -------
        DataFrame
            The nearest items, the best first: rank, id, labels (joined by "; "), cosine, own
            (whether it is the query's own clip), shared (labels in common with the query, of which
            several clips have those that all of them carry).

        Raises
        ------
        InputError
            If not exactly one query is given, no clip has that id or label, or there are fewer
            than k items.
        """
        if [video, audio, label].count(None) != 2:
            raise InputError("one query is needed: the id of a video, that of a sound, or a label")
        if label is None:
            rows, find = np.array([self.row(str(video or audio))]), "video" if audio else "audio"
        else:
            rows = self.carrying(label)
        query = self.sides[1 - SIDE_OF[find]][rows].mean(dim=0)
        found = self.found(normalize(query, dim=0), find, k)
        wanted = self.labels[rows].sum(axis=0) == len(rows)
        shared = (self.labels[found.index] @ wanted).astype(int)
        own = found.index == rows[0] if label is None else False
        return found.assign(own=own, shared=shared).reset_index(drop=True)

    def found(self, query: Tensor, find: Find = "audio", k: int = 10) -> pd.DataFrame:
        """Return the k items nearest to a query, a unit vector: rank, id, labels, cosine.

        The index of the frame has the rows of the items.
        """
        side = SIDE_OF[find]
        items, rows = self.sides[side], torch.tensor([-1])
        if not query.norm() > 0:
            raise InputError(f"the query has no {SIDES[1 - side]} features: ask for another clip")
        if self.parts:
            asked = torch.cat([query, -torch.ones(1)])[None].numpy()
            rows = torch.from_numpy(self.parts[side].search(asked, k)[1][0])
        if 0 <= rows.min() <= rows.max() < len(items):
            cosine = items[rows] @ query
        else:  # there are no parts, or the cells looked at hold fewer than k
            cosine = items @ query
            score = cosine - self.penalty[side] if self.penalty else cosine
            if not 1 <= k <= score.isfinite().sum():
                raise InputError(f"there are fewer than {k} items to be found: lower k")
            rows = score.topk(k).indices
            cosine = cosine[rows]
        if not cosine.isfinite().all():
            raise InputError("the vectors of the index are damaged: make it again")
        labels = ["; ".join(self.labels_of(row)) for row in rows.tolist()]
        columns = {
            "id": self.ids[rows.numpy()].tolist(),
            "labels": labels,
            "cosine": cosine.numpy(),
        }
        return pd.DataFrame({"rank": range(1, len(rows) + 1), **columns}, index=rows.numpy())


@dataclass(frozen=True)
class Index(Gallery):
    """A `Gallery` whose queries may be features, too, which ``run`` embeds.

    ``about`` is what ``index.json`` says, such as the share of the true nearest that are ``found``.
    """

    run: Path = Path()
    about: dict[str, Any] = field(default_factory=dict)

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
            if (home / CLIPS).exists():
                return cls(**vars(open_gallery(home)), run=home)
            folder = home / "index"
        if not (folder / NOTE).exists():
            raise InputError(f"{run} has no index: `xmodal index {run} --features ...` makes one")
        about, parts = _read_note(folder), []
        faiss = import_faiss() if about.get("found") else None
        try:
            arrays = [np.load(folder / f"{name}.npy", mmap_mode="c") for name in ARRAYS]
            ids, indptr, indices = arrays[4:]
            clips, size = arrays[0].shape
            expected = [
                ("<f4", shape) for shape in ((clips, size), (clips, size), (clips,), (clips,))
            ]
            sound = [(values.dtype, values.shape) for values in arrays[:4]] == expected
            sound &= {clips, len(ids), len(indptr) - 1} == {about["clips"]}
            if not sound or ids.view("u4").max(initial=0) > sys.maxunicode:
                raise ValueError
            labels = _rows_of_labels(indptr, indices, len(about["label_names"]))
            labels.check_format()  # scipy's C code trusts it
            if faiss:
                files = [str(folder / f"{side}.faiss") for side in SIDES]
                parts = [faiss.read_index(file, faiss.IO_FLAG_MMAP) for file in files]
            visual, audio, *penalty = map(torch.from_numpy, arrays[:4])
            embedded, names = Embeddings(visual, audio), about["label_names"]
            index = cls(embedded, ids, labels, names, penalty, parts, Path(about["run"]), about)
            "".join([*names, index.described(), about["weights"]])  # all texts
        except Exception:  # numpy and faiss raise some ten kinds for a damaged file
            raise InputError(f"{folder}: the index is damaged; make it again") from None
        home = home or find_run(index.run)
        weights = home / WEIGHTS
        if not weights.is_file() or digest(weights) != about["weights"]:
            raise InputError(f"{folder} was made with other weights of {home}: make it again")
        return replace(index, run=home)

    @cached_property
    def model(self) -> JointEmbedding:
        """The model of the run, loaded when the first query needs it."""
        return load_run(self.run)[0]

    def described(self) -> str:
        """Say how many clips the index holds, and how well it finds what is nearest to a query."""
        share = 100 * min(self.about.get("found") or [1])
        return f"{len(self.ids):,} clips; {share:.1f} % of the ten true nearest items are found"

    def query(self, features: np.ndarray, find: Find = "audio") -> Tensor:
        """Embed features as a query: of one clip, (length,), or of several, whose mean is taken.

        They are visual if audio is to be found, and audio if videos are; InputError if they are
        not finite or of another length.
        """
        side, rows = 1 - SIDE_OF[find], np.atleast_2d(features)
        stored = RunFolder(self.run).read("config.json")["sizes"]
        sizes = [stored[f"{name}_dim"] for name in SIDES]
        if rows.shape[1:] != (sizes[side],) or not np.isfinite(rows).all():
            raise InputError(
                f"features of shape {np.shape(features)} are no query here: give {sizes[side]} "
                f"finite {SIDES[side]} numbers, or rows of so many"
            )
        both = [np.zeros((len(rows), size), np.float32) for size in sizes]
        both[side][:] = rows
        embedded = self.model.embed(both[0], both[1])
        return normalize((embedded.visual, embedded.audio)[side].mean(dim=0), dim=0)


def import_faiss() -> Any:
    """Import faiss; InputError where it is not installed."""
    try:
        import faiss
    except ImportError:
        raise InputError("so many clips need faiss: pip install 'xmodal[large]'") from None
    return faiss


def read_query(path: Path) -> np.ndarray:
    """Read features that are a query from an ``.npy`` file; InputError if it holds none."""
    try:
        return np.load(path).astype(np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read as an .npy array of features") from error


def gallery_of(run: Path | str, features: Path | str) -> Gallery:
    """Embed the evaluation clips of a feature set with a run, to search among them.

    InputError if there is no such run or feature set, or the two do not fit.
    """
    clips = open_features(features, "evaluation")
    embedded = embed_run(Path(run), clips)
    return Gallery(embedded, np.asarray(clips.ids), clips.labels, clips.label_names)


def open_gallery(run: Path | str, names: Sequence[str] = ()) -> Gallery:
    """Open the embedded clips that come with the weights of a run, such as "yt8m-recipe".

    They come with the numbers of their labels alone, as the names are YouTube-8M's: with its
    vocabulary at hand, give ``names=read_vocabulary(path)``.

    InputError if there is no such run, or none come with it.
    """
    path = find_run(run) / CLIPS
    if not path.exists():
        raise InputError(f"{run} comes with no embedded clips: name weights of the package")
    stored = load_file(path)
    visual, audio = (normalize(stored[name].float(), dim=1) for name in SIDES)
    ids = np.array(bytes(stored["ids"].numpy()).decode().split("\n"))
    indptr, indices = (stored[f"label_{name}"].numpy() for name in ("indptr", "indices"))
    labels = _rows_of_labels(indptr, indices, len(names) or int(indices.max(initial=-1)) + 1)
    return Gallery(Embeddings(visual, audio), ids, labels, names)


def _rows_of_labels(indptr: np.ndarray, indices: np.ndarray, classes: int) -> sparse.csr_array:
    """Return which clip carries which label, from compressed sparse rows."""
    ones = np.ones(len(indices), np.float32)
    return sparse.csr_array((ones, indices, indptr), (len(indptr) - 1, classes))


def build_index(config: IndexConfig) -> Index:
    """Embed clips with a run and write its index, unless the same index is there already.

    The hubness correction is that of `xmodal.evaluation.hubness`: training clips are the bank of
    queries, and its strength is what does best on validation clips. An index of more than ``exact``
    clips has an inverted file of faiss for each modality; as many of its cells are looked at as it
    takes to find `FOUND` of the ten true nearest, on average of sample queries, which are other
    halves of its own clips.

    Raises
    ------
    InputError
        If run and features do not fit each other, the folder cannot be written, or none is named
        for an index of weights of the package.
    """
    home = find_run(config.run)
    if (home / CLIPS).exists() and not config.out:
        raise InputError(f"{config.run} stays as it is: name a folder for the index with --out")
    folder = config.out or home / "index"
    splits = read_manifest(config.features).get("splits", {})
    sets = [open_features(config.features, s) for s in config.splits if s in (*SPLITS, *splits)]
    require_fit(config.run, sets[0])
    made_from = {
        "run": str(config.run),
        "weights": digest(home / WEIGHTS),
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
        about = made_from | _write(work, config, sets)
        text = json.dumps(about, indent=1, ensure_ascii=False)
        (work / NOTE).write_text(text + "\n", encoding="utf-8")
    return Index.open(folder)


def _write(work: Path, config: IndexConfig, sets: list[FeatureSet]) -> dict[str, Any]:
    """Write the arrays of an index to an empty folder; return what is noted of them."""
    clips = sum(map(len, sets))
    model, settings = load_run(config.run)
    correction, bank = hubness.Correction(0, 0), None
    if config.correct_hubs:
        train, validation = (open_features(config.features, split) for split in SPLITS[:2])
        rows = np.linspace(0, len(train) - 1, min(len(train), BANK)).astype(int)
        bank = model.embed(train.visual[rows], train.audio[rows])
        embedded = model.embed(validation.visual, validation.audio)
        correction = hubness.choose_correction(embedded, bank, validation)
    penalties: list[list[Tensor]] = [[], []]
    shape, (first, second) = (clips, settings.embedding_dim), (work / f"{s}.npy" for s in SIDES)
    bar = tqdm(desc="embedding", total=clips, unit="clip", disable=None)
    with bar, begin_rows(first, "<f4", shape) as v, begin_rows(second, "<f4", shape) as a:
        for visual, audio in (c for some in sets for c in read_chunks(some.visual, some.audio)):
            embedded = model.embed(visual, audio)
            attractions = [torch.zeros(len(visual), 1)] * 2
            if bank and correction.weight:
                attractions = hubness.attraction(embedded, bank, correction.sharpness)
            for side, (file, values) in enumerate(zip((v, a), embedded[:2], strict=True)):
                present = values.isfinite().all(dim=1)
                file.write(torch.where(present[:, None], values, 0).numpy().tobytes())
                penalty = correction.weight * attractions[side][:, 0]
                penalties[side].append(torch.where(present, penalty, math.inf))
            bar.update(len(visual))
    labels = sparse.vstack([some.labels for some in sets], format="csr")
    arrays = {
        **{f"{s}_penalty": torch.cat(p).numpy() for s, p in zip(SIDES, penalties, strict=True)},
        "ids": np.concatenate([np.asarray(some.ids) for some in sets]),
        "label_indptr": labels.indptr.astype(np.int64),
        "label_indices": labels.indices.astype(np.int32),
    }
    for name, values in arrays.items():
        np.save(work / f"{name}.npy", values)
    found = []
    if clips > config.exact:
        visual, audio = (np.load(path, mmap_mode="r") for path in (first, second))
        for name, items, queries in (("visual", visual, audio), ("audio", audio, visual)):
            path, penalty = work / f"{name}.faiss", arrays[f"{name}_penalty"]
            found.append(write_parts(path, items, penalty, queries))
    note = {"clips": clips, "label_names": sets[0].label_names}
    return note | {"correction": correction._asdict(), "found": found}


def write_parts(path: Path, vectors: np.ndarray, penalty: np.ndarray, queries: np.ndarray) -> float:
    """Write an inverted file of faiss; return the share of the ten true nearest that it finds.

    The penalty is one more dimension, in which a query is −1: the inner product is then what ranks.
    """
    faiss = import_faiss()
    present = np.flatnonzero(np.isfinite(penalty))
    cells, size = int(4 * math.sqrt(len(present))), vectors.shape[1] + 1
    index = faiss.index_factory(size, f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
    rng = np.random.default_rng(0)

    def rows(some: np.ndarray) -> np.ndarray:
        return np.hstack([vectors[some], penalty[some, None]]).astype(np.float32)

    index.train(rows(np.sort(rng.choice(present, min(len(present), 64 * cells), replace=False))))
    for start in range(0, len(present), CHUNK):
        some = present[start : start + CHUNK]
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
    faiss.write_index(index, str(path))
    return found


def _read_note(folder: Path) -> dict[str, Any]:
    """Return what is noted of an index; {} if there is none, or it is damaged."""
    try:
        return dict(json.loads((folder / NOTE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def export(config: ExportConfig) -> str:
    """Write the embeddings of an index as NumPy arrays or Parquet; return a sentence on it.

    A row a clip, as `xmodal.data.pairs` reads them: visual, audio (unit vectors, float32), ids, and
    labels joined by ``|``. InputError if there is no index, or ``out`` cannot be written.
    """
    if config.out.suffix not in (".npz", ".parquet"):
        raise InputError(f"{config.out} ends neither in .npz nor in .parquet: name another file")
    index = Index.open(config.run)
    visual, audio = (side.numpy() for side in index.sides)
    labels = ["|".join(index.labels_of(row)) for row in range(len(visual))]
    with locked(config.out), atomic(config.out) as fresh:
        if config.out.suffix == ".npz":
            with fresh.open("wb") as file:
                np.savez(file, visual=visual, audio=audio, ids=index.ids, labels=np.array(labels))
        else:
            columns = {"visual": list(visual), "audio": list(audio)}
            pd.DataFrame({**columns, "ids": index.ids, "labels": labels}).to_parquet(fresh)
    return f"{config.out}: {len(visual):,} clips, {visual.shape[1]} dimensions"
