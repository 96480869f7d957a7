"""Embed clips once, save them, and search among them by an id, a label or features.

An index is a folder whose vectors are memory-mapped: it opens at once and may be larger than
memory. Search is exact; above a size, an inverted file of faiss looks at a part of the items, and
how many of the true nearest it finds is measured when it is built.
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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

from xmodal.checkpoint import WEIGHTS, RunFolder, find_run, load_run
from xmodal.config import InputError, StageConfig, unknown
from xmodal.data.features import (
    CHUNK,
    SPLITS,
    UNPAIRED,
    FeatureSet,
    begin_rows,
    evenly,
    label_rows,
    map_clips,
    open_features,
    read_chunks,
    read_manifest,
)
from xmodal.evaluation import hubness
from xmodal.evaluation.recall import require_fit
from xmodal.files import atomic, digest, locked, read_json, require_empty
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
    ``ids`` texts, (clips,); ``labels`` ones, sparse (clips, classes), called by ``names``.
    ``penalty``, float32 (clips,) of each modality, is the hubness correction, taken off a cosine:
    infinite where the modality is missing. ``parts`` are inverted files of faiss, one of each
    modality, where there are very many clips. ``run`` embeds queries that are features; ``about``
    is what ``index.json`` says, such as the share of the true nearest that are ``found``.
    ``youtube`` has the YouTube ids that are known, by clip.
    """

    embedded: Embeddings
    ids: np.ndarray
    labels: sparse.csr_array
    names: Sequence[str]
    penalty: Sequence[Tensor] = ()
    parts: Sequence[Any] = ()
    run: Path = Path()
    about: dict[str, Any] = field(default_factory=dict)
    youtube: Mapping[str, str | None] = field(default_factory=dict)

    def __str__(self) -> str:
        """Say how many clips there are, and how well what is nearest to a query is found."""
        share = 100 * min(self.about.get("found") or [1])
        return f"{len(self.ids):,} clips; {share:.1f}% of the ten true nearest items are found"

    @cached_property
    def model(self) -> JointEmbedding:
        """The model of the run, loaded when the first query needs it."""
        return load_run(self.run)[0]

    def labels_of(self, row: int) -> list[str]:
        """Return the labels of a clip."""
        return [self.names[number] for number in self.labels[[row]].indices]

    def rows(self, clip: str | None, label: str | None) -> np.ndarray:
        """Return the rows of one clip, or of the clips that carry a label; InputError if none."""
        if clip is not None:
            found = np.flatnonzero(self.ids == clip)
            if not len(found):
                raise InputError(f"no clip has the id {clip!r}; ids are such as {self.ids[0]}")
            return found
        names, wanted = [name.lower() for name in self.names], str(label).lower()
        if wanted not in names:
            raise unknown("label", str(label), self.names)
        return self.labels[:, [names.index(wanted)]].nonzero()[0]

    def search(
        self,
        video: str | None = None,
        audio: str | None = None,
        k: int = 10,
        label: str | None = None,
        find: Find = "audio",
        features: np.ndarray | None = None,
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
            What is found for a label or features; the query is of the other modality.
        features
            Features that are the query, of one clip, (length,), or of several, whose mean is taken.

        Returns
        -------
        DataFrame
            The nearest items, the best first: rank, id, labels (joined by "; "), cosine; link, to
            YouTube, if any is known; and, but for features, own (whether it is the query's own
            clip), shared (labels in common with the query, of which several clips have those that
            all of them carry).

        Raises
        ------
        InputError
            If not exactly one query is given, no clip has that id or label, the features are not
            finite or of another length, or there are fewer than k items.
        """
        if [one is None for one in (video, audio, label, features)].count(False) != 1:
            raise InputError("one query is needed: the id of a video or a sound, a label, features")
        if video is not None or audio is not None:
            find = "audio" if audio is None else "video"
        asked = 1 - SIDE_OF[find]
        if features is None:
            rows = self.rows(audio if video is None else video, label)
            query = self.embedded[:2][asked][rows].mean(dim=0)
        else:
            query = self.embed(features, asked)
        found, cosine = self.nearest(normalize(query, dim=0), find, k)
        labels = ["; ".join(self.labels_of(row)) for row in found]
        columns = {"id": self.ids[found].tolist(), "labels": labels, "cosine": cosine.numpy()}
        frame = pd.DataFrame({"rank": range(1, k + 1), **columns})
        if self.youtube:
            videos = map(self.youtube.get, columns["id"])
            frame["link"] = [f"https://youtu.be/{video}" if video else "" for video in videos]
        if features is not None:
            return frame
        wanted = self.labels[rows].sum(axis=0) == len(rows)
        own = found == rows[0] if label is None else False
        return frame.assign(own=own, shared=(self.labels[found] @ wanted).astype(int))

    def nearest(self, query: Tensor, find: Find, k: int) -> tuple[np.ndarray, Tensor]:
        """Return the rows of the k items nearest to a unit vector, and their cosines."""
        side = SIDE_OF[find]
        items, rows = self.embedded[:2][side], torch.tensor([-1])
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
        return rows.numpy(), cosine

    def embed(self, features: np.ndarray, side: int) -> Tensor:
        """Embed the features of a side (0: visual), and return their mean."""
        rows = np.atleast_2d(features)
        stored = RunFolder(self.run).read("config.json")["sizes"]
        sizes = [stored[f"{name}_dim"] for name in SIDES]
        if rows.shape[1:] != (sizes[side],) or not np.isfinite(rows).all():
            raise InputError(
                f"features of shape {np.shape(features)} are no query here: give {sizes[side]} "
                f"finite {SIDES[side]} numbers, or rows of so many"
            )
        both = [np.zeros((len(rows), size), np.float32) for size in sizes]
        both[side][:] = rows
        return self.model.embed(both[0], both[1])[:2][side].mean(dim=0)


def open_gallery(run: Path | str) -> Gallery:
    """Open the index of a run, or that in a folder; of the package's weights, the clips with them.

    Raises
    ------
    InputError
        If there is none, it is damaged, or it was made with other weights.
    """
    folder, home = Path(run), None
    if not (folder / NOTE).exists():
        home = find_run(run)
        if (home / CLIPS).exists():
            return _clips_of_package(home)
        folder = home / "index"
    if not (folder / NOTE).exists():
        raise InputError(f"{run} has no index: `xmodal index {run} --features ...` makes one")
    about, parts = read_json(folder / NOTE), []
    faiss = import_faiss() if about.get("found") else None
    try:
        names = [str(name) for name in about["label_names"]]
        visual, audio, ids, labels = map_clips(folder, len(names), "c")
        penalties = [np.load(folder / f"{side}_penalty.npy", mmap_mode="c") for side in SIDES]
        numbers = [visual, audio, *penalties]
        shapes = [(about["clips"], visual.shape[1])] * 2 + [(about["clips"],)] * 2
        if [(x.shape, x.dtype.str) for x in numbers] != [(shape, "<f4") for shape in shapes]:
            raise ValueError
        if ids.view("u4").max(initial=0) > sys.maxunicode:
            raise ValueError
        if faiss:
            files = [str(folder / f"{side}.faiss") for side in SIDES]
            parts = [faiss.read_index(file, faiss.IO_FLAG_MMAP) for file in files]
        made_by, noted = Path(about["run"]), about["weights"]
        first, second, *penalty = map(torch.from_numpy, numbers)
    except Exception:  # numpy and faiss raise some ten kinds for a damaged file
        raise InputError(f"{folder}: the index is damaged; make it again") from None
    there = read_manifest(Path(about.get("features", ""))).get("splits", {})
    now = [there[name]["fingerprint"] for name in about["config"]["splits"] if name in there]
    if now and now != about["data"]:
        raise InputError(f"{folder} holds other clips than {about['features']}: make it again")
    home = home or find_run(made_by)
    weights = home / WEIGHTS
    if not weights.is_file() or digest(weights) != noted:
        raise InputError(f"{folder} was made with other weights of {home}: make it again")
    return Gallery(Embeddings(first, second), ids, labels, names, penalty, parts, home, about)


def _clips_of_package(home: Path) -> Gallery:
    """Open the embedded clips that come with the weights of a run."""
    stored = load_file(home / CLIPS)
    visual, audio = (normalize(stored[name].float(), dim=1) for name in SIDES)
    ids, names, videos = (
        bytes(stored[name].numpy()).decode().split("\n")
        for name in ("ids", "label_names", "youtube_ids")
    )
    labels = label_rows(stored["label_indptr"].numpy(), stored["label_indices"].numpy(), len(names))
    known = {clip: video for clip, video in zip(ids, videos, strict=True) if video}
    penalty = [stored[f"{name}_penalty"] for name in SIDES]
    embedded = Embeddings(visual, audio)
    return Gallery(embedded, np.array(ids), labels, names, penalty, run=home, youtube=known)


def import_faiss() -> Any:
    """Import faiss; InputError where it is not installed."""
    try:
        import faiss
    except ImportError:
        raise InputError("so many clips need faiss: pip install '.[large]'") from None
    return faiss


def read_query(path: Path) -> np.ndarray:
    """Read features that are a query from an ``.npy`` file; InputError if it holds none."""
    try:
        return np.load(path).astype(np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read as an .npy array of features") from error


def build_index(config: IndexConfig) -> Gallery:
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
    wanted = [split for split in config.splits if split != UNPAIRED or split in splits]
    sets = [open_features(config.features, split) for split in wanted]
    require_fit(config.run, sets[0])
    made_from = {
        "run": str(config.run),
        "weights": digest(home / WEIGHTS),
        "data": [clips.fingerprint for clips in sets],
        "config": config.model_dump(mode="json", exclude={"out", "features", "run"}),
    }
    about = read_json(folder / NOTE)
    if {name: about.get(name) for name in made_from} == made_from:
        return open_gallery(folder)
    if not (folder / NOTE).exists():
        require_empty(folder, "an index")
    with locked(folder), atomic(folder) as work:
        work.mkdir()
        about = made_from | _write(work, config, sets) | {"features": str(config.features)}
        text = json.dumps(about, indent=1, ensure_ascii=False)
        (work / NOTE).write_text(text + "\n", encoding="utf-8")
    return open_gallery(folder)


def _write(work: Path, config: IndexConfig, sets: list[FeatureSet]) -> dict[str, Any]:
    """Write the arrays of an index to an empty folder; return what is noted of them."""
    model, _ = load_run(config.run)
    correction, bank = hubness.Correction(0, 0), None
    if config.correct_hubs:
        train, validation = (open_features(config.features, split) for split in SPLITS[:2])
        some = train.take(evenly(len(train), BANK))
        bank = model.embed(some.visual, some.audio)
        embedded = model.embed(validation.visual, validation.audio)
        correction = hubness.choose_correction(embedded, bank, validation)
    clips = sum(map(len, sets))
    shape, paths = (clips, model.dim), [work / f"{side}.npy" for side in SIDES]
    penalties: list[list[Tensor]] = [[], []]
    bar = tqdm(desc="embedding", total=clips, unit="clip", disable=None)
    with bar, begin_rows(paths[0], "<f4", shape) as v, begin_rows(paths[1], "<f4", shape) as a:
        for visual, audio in (c for some in sets for c in read_chunks(some.visual, some.audio)):
            embedded = model.embed(visual, audio)
            attractions = [torch.zeros(len(visual), 1)] * 2
            if bank and correction.weight:
                attractions = hubness.attraction(embedded, bank, correction.sharpness)
            each = zip(embedded[:2], attractions, (v, a), penalties, strict=True)
            for values, attraction, file, penalty in each:
                there = values.isfinite().all(dim=1, keepdim=True)
                file.write(torch.where(there, values, 0).numpy().tobytes())
                penalty.append(torch.where(there, correction.weight * attraction, math.inf)[:, 0])
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
        sides = [np.load(path, mmap_mode="r") for path in paths]
        for name, items, queries in zip(SIDES, sides, sides[::-1], strict=True):
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


def export(config: ExportConfig) -> str:
    """Write the embeddings of an index as NumPy arrays or Parquet; return a sentence on it.

    A row a clip, as `xmodal.data.pairs` reads them: visual, audio (unit vectors, float32), ids, and
    labels joined by ``|``. InputError if there is no index, or ``out`` cannot be written.
    """
    if config.out.suffix not in (".npz", ".parquet"):
        raise InputError(f"{config.out} ends neither in .npz nor in .parquet: name another file")
    gallery = open_gallery(config.run)
    visual, audio = (side.numpy() for side in gallery.embedded[:2])
    labels = np.array(["|".join(gallery.labels_of(row)) for row in range(len(visual))])
    arrays = {"visual": visual, "audio": audio, "ids": gallery.ids, "labels": labels}
    with locked(config.out), atomic(config.out) as fresh, fresh.open("wb") as file:
        if config.out.suffix == ".npz":
            np.savez(file, **arrays)  # type: ignore[arg-type]
        else:
            pd.DataFrame({name: list(rows) for name, rows in arrays.items()}).to_parquet(file)
    return f"{config.out}: {len(visual):,} clips, {visual.shape[1]} dimensions"
