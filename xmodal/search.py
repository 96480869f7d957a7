"""Embed clips once, save them, and search among them by an id, a label or features.

An index is a folder whose vectors are memory-mapped: it opens at once and may be larger than
memory. Search is exact; above a size, an inverted file of faiss looks at a part of the items, and
how many of the true nearest it finds is measured when it is built.
"""

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from scipy import sparse
from torch import Tensor
from torch.nn.functional import normalize
from tqdm import tqdm

from xmodal.checkpoint import WEIGHTS, find_run, load_run
from xmodal.config import InputError, unknown
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
from xmodal.files import atomic, digest, locked, read_json, recover, require_empty
from xmodal.model import Embeddings, JointEmbedding
from xmodal.search_options import ExportConfig, Find, IndexConfig

CLIPS = "clips.safetensors"
"""Embedded clips that come with the weights of a run."""
BANK = 8192
"""Training clips, at most, that tell which items are hubs; our choice."""
SAMPLES, FOUND = 256, 0.99
"""Queries that measure an inverted file, and the share of their ten nearest it is to find."""
SIDES, SIDE_OF = ("visual", "audio"), {"video": 0, "audio": 1}
DAMAGED = "{}: the index is damaged, or of another version; make it again"
NOTE = "index.json"
"""Written last: what an index was made from, and how it is searched."""
BLOCK = 4096
"""Items that are compared at once: so few that the scores of 1,024 queries stay in the cache."""
DISTINCT = 0.98
"""Cosine to a better item from which on an item nearly repeats it; our choice."""


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
        found = self.about.get("found") or []
        how = (
            f"it finds {100 * min(found):.1f}% of the ten nearest" if found else "all are compared"
        )
        return f"{len(self.ids):,} clips; {how}"

    @cached_property
    def model(self) -> JointEmbedding:
        """The model of the run, loaded when the first query needs it."""
        return load_run(self.run)[0]

    def labels_of(self, row: int) -> list[str]:
        """Return the labels of a clip."""
        first, end = self.labels.indptr[row : row + 2]
        return [self.names[number] for number in self.labels.indices[first:end]]

    def rows(self, clips: Sequence[str]) -> np.ndarray:
        """Return the rows of clips; InputError if there is none of an id."""
        order = np.argsort(self.ids)
        places = np.searchsorted(self.ids, clips, sorter=order)
        rows = order[places.clip(max=len(order) - 1)]
        for clip in np.asarray(clips)[self.ids[rows] != clips][:1]:
            raise InputError(f"no clip has the id {str(clip)!r}; ids are such as {self.ids[0]}")
        return rows

    def carriers(self, label: str) -> np.ndarray:
        """Tell which clips carry a label, in any case: bool, (clips,); InputError if none can."""
        names = [name.lower() for name in self.names]
        if label.lower() not in names:
            raise unknown("label", label, self.names)
        return self.labels[:, [names.index(label.lower())]].toarray()[:, 0] > 0

    def candidates(self, find: Find, where: Sequence[str] = ()) -> np.ndarray:
        """Tell which clips can be found: bool, (clips,); ``where`` as in `search`."""
        side, mask = SIDE_OF[find], np.ones(len(self.ids), bool)
        if self.penalty:
            mask &= np.isfinite(self.penalty[side].numpy())
        for condition in where:
            name, equal, label = condition.replace("!=", "=", 1).partition("=")
            if name != "label" or not equal:
                raise InputError(f"{condition} is no condition: write label=NAME or label!=NAME")
            mask &= self.carriers(label) ^ ("!=" in condition)
        return mask

    def search(
        self,
        video: str | Sequence[str] | None = None,
        audio: str | Sequence[str] | None = None,
        k: int = 10,
        label: str | None = None,
        find: Find = "audio",
        features: np.ndarray | None = None,
        where: Sequence[str] = (),
        exclude_own: bool = False,
        distinct: float | None = None,
    ) -> pd.DataFrame:
        """Find the sounds that fit a clip's video, or the videos that fit its sound.

        Parameters
        ----------
        video, audio
            Id of the clip that is the query, or of several; its own other half is among the items.
        k
            Number of items for each query.
        label
            Label whose clips are the query, by the mean of their embeddings: "any video of a
            guitar". Their other halves are among the items, which so carry the label more often.
        find
            What is found for a label or features; the query is of the other modality.
        features
            Features that are the query, (length,), or of several queries, (queries, length).
        where
            Conditions that all items meet, such as "label=Guitar" or "label!=Guitar".
        exclude_own
            Leave out the other half of the query's own clip.
        distinct
            Leave out items whose cosine to a better one of the same query is at least this.

        Returns
        -------
        DataFrame
            The best items of each query: query (its id or number, if there are several), rank, id,
            labels (a list), score, cosine; link, to YouTube, if any is known; and, but for
            features, own (whether it is the query's own clip), shared (labels in common with the
            query, of which several clips have those that all of them carry). The score is the
            cosine less the hubness correction, and sorts the items. ``attrs["repeated"]`` counts
            what ``distinct`` left out, which may leave fewer than k.

        Raises
        ------
        InputError
            If not exactly one kind of query is given, no clip has that id or label, the features
            are not finite or of another length, or there are fewer than k items.
        """
        if [one is None for one in (video, audio, label, features)].count(False) != 1:
            raise InputError("one query is needed: the id of a video or a sound, a label, features")
        given = audio if video is None else video
        if given is not None:
            find = "audio" if audio is None else "video"
        asked, own, rows = SIDES[1 - SIDE_OF[find]], np.full(1, -1), np.zeros(0, int)
        if features is not None:
            queries = getattr(self.model, f"embed_{asked}")(features)
            names, several = [*range(len(queries))], np.ndim(features) > 1
        elif label is not None:
            rows, names, several = np.flatnonzero(self.carriers(label)), [label], False
            queries = getattr(self.embedded, asked)[rows].mean(dim=0, keepdim=True)
        else:
            several = not isinstance(given, str)
            names = [given] if isinstance(given, str) else [*(given or ())]
            own = rows = self.rows(names)
            queries = getattr(self.embedded, asked)[rows]
        for at in np.flatnonzero(~(queries.norm(dim=1) > 0))[:1]:
            raise InputError(f"{names[at]} has no {asked} features: ask for another clip")
        queries, own = normalize(queries, dim=1), np.broadcast_to(own, len(queries))
        found, query, repeated = self._found(queries, find, k, own, where, exclude_own, distinct)
        frame = pd.DataFrame({"query": [names[at] for at in query]})
        frame["rank"] = frame.groupby(query).cumcount() + 1
        frame["id"] = self.ids[found]
        frame["labels"] = [self.labels_of(row) for row in found]
        side = SIDE_OF[find]
        cosine = (queries[query] * self.embedded[:2][side][found]).sum(dim=1)
        score = cosine - self.penalty[side][found] if self.penalty else cosine
        frame["score"], frame["cosine"] = score.numpy(), cosine.numpy()
        if self.youtube:
            videos = map(self.youtube.get, frame["id"])
            frame["link"] = [f"https://youtu.be/{video}" if video else "" for video in videos]
        if features is None:
            wanted = self.labels[rows]
            if label is not None:
                wanted = sparse.csr_array((wanted.sum(axis=0) == len(rows))[None])
            frame["own"] = found == own[query]
            frame["shared"] = self.labels[found].multiply(wanted[query]).sum(axis=1).astype(int)
        frame.attrs["repeated"] = repeated
        return frame if several else frame.drop(columns="query")

    def _found(
        self,
        queries: Tensor,
        find: Find,
        k: int,
        own: np.ndarray,
        where: Sequence[str],
        exclude_own: bool,
        distinct: float | None,
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Return the rows of the items, the number of the query of each, and the repeated ones."""
        items, mask = self.embedded[:2][SIDE_OF[find]], self.candidates(find, where)
        most = int(mask.sum())
        looked_at = min(k + exclude_own, most)
        while True:
            near = self.nearest(queries, find, looked_at, mask if where else None)
            lists, repeated = [], 0
            for rows, mine in zip(near, own, strict=True):
                kept = list[int]()
                for row in rows:
                    if len(kept) == k or (exclude_own and row == mine):
                        continue
                    if distinct and len(kept) and (items[kept] @ items[row]).max() >= distinct:
                        repeated += 1
                    else:
                        kept.append(row)
                lists.append(kept)
            if looked_at == most or all(len(kept) == k for kept in lists):
                break
            looked_at = min(4 * looked_at, most)
        counts = [len(kept) for kept in lists]
        if most < k or (distinct is None and min(counts) < k):
            raise InputError(f"there are fewer than {k} items to be found: lower k")
        return np.concatenate(lists).astype(int), np.repeat(np.arange(len(own)), counts), repeated

    def nearest(
        self, queries: Tensor, find: Find, k: int, mask: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the rows of the k best items for unit vectors, (queries, dim): (queries, k).

        ``mask`` tells which clips may be found; InputError if the vectors are damaged.
        """
        side, asked = SIDE_OF[find], -torch.ones(len(queries), 1)
        items = self.embedded[:2][side]
        if self.parts:
            limits = {}
            if mask is not None:
                faiss, cells = import_faiss(), self.parts[side].nprobe
                chosen = faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
                limits = {"params": faiss.SearchParametersIVF(sel=chosen, nprobe=cells)}
            words = torch.cat([queries, asked], dim=1).numpy()
            rows = self.parts[side].search(words, k, **limits)[1]
            if 0 <= rows.min() <= rows.max() < len(items):
                return rows
        # all are compared if there are no parts, or the cells looked at hold too few
        lead = -self.penalty[side] if self.penalty else torch.zeros(len(items))
        if mask is not None:
            lead[~torch.from_numpy(mask)] = -math.inf
        found = []
        for some in queries.split(1024):
            best, rows = torch.empty(len(some), 0), torch.empty(len(some), 0, dtype=torch.long)
            for start in range(0, len(items), BLOCK):
                block = slice(start, start + BLOCK)
                score = torch.addmm(lead[block], some, items[block].T)
                values, places = score.topk(min(k, score.shape[1]))
                both = torch.cat([best, values], dim=1)
                best, order = both.topk(min(k, both.shape[1]))
                rows = torch.cat([rows, places + start], dim=1).gather(1, order)
            if best.isnan().any():
                raise InputError("the vectors of the index are damaged: make it again")
            found.append(rows)
        return torch.cat(found).numpy()


def open_gallery(run: Path | str) -> Gallery:
    """Open the index of a run, or that in a folder; of the package's weights, the clips with them.

    An index may be moved, with its run or alone; without its run, only ids and labels are queries.

    Raises
    ------
    InputError
        If there is none, it is damaged, or it was made with other weights or other clips.
    """
    folder = Path(run)
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
        made_by, noted, made_of = Path(about["run"]), about["weights"], dict(about["sets"])
        first, second, *penalty = map(torch.from_numpy, numbers)
    except Exception:  # numpy and faiss raise some ten kinds for a damaged file
        raise InputError(DAMAGED.format(folder)) from None
    for features, prints in made_of.items():
        there = read_manifest(Path(features)).get("splits", {})
        now = {split: there[split]["fingerprint"] for split in prints if split in there}
        if there and now != prints:
            raise InputError(f"{folder} holds other clips than {features}: make it again")
    near = folder.resolve().parent
    home = near if (near / WEIGHTS).is_file() else made_by
    if (home / WEIGHTS).is_file() and digest(home / WEIGHTS) != noted:
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


def build_index(config: IndexConfig) -> Gallery:
    """Embed clips with a run and write its index, unless the same index is there already.

    The hubness correction is that of `xmodal.evaluation.hubness`: training clips are the bank of
    queries, and its strength is what does best on validation clips. An index of more than ``exact``
    clips has an inverted file of faiss for each modality; as many of its cells are looked at as it
    takes to find `FOUND` of the ten true nearest, on average of sample queries, which are other
    halves of its own clips. Clips that are added are corrected as those that are there.

    Raises
    ------
    InputError
        If run and features do not fit each other, another index is there, clips to add are in it,
        clips to delete are not, the folder cannot be written, or none is named for an index of
        weights of the package.
    """
    home = find_run(config.run)
    if (home / CLIPS).exists() and not config.out:
        raise InputError(f"{config.run} stays as it is: name a folder for the index with --out")
    folder, sets = config.out or home / "index", list[FeatureSet]()
    changes = config.add or config.replace or bool(config.delete)
    if config.features:
        splits = read_manifest(config.features).get("splits", {})
        usual = [split for split in (*SPLITS, UNPAIRED) if split != UNPAIRED or split in splits]
        sets = [open_features(config.features, split) for split in config.splits or usual]
        require_fit(config.run, sets[0])
    elif not config.delete:
        raise InputError("the clips are missing: name their feature set with --features")
    prints = {one.split: one.fingerprint for one in sets}
    settings = config.model_dump(mode="json", include={"correct_hubs", "exact"})
    made_from: dict[str, Any] = {"run": str(home.resolve()), "weights": digest(home / WEIGHTS)}
    made_from |= {"config": settings, "changed": changes}
    made_from["sets"] = {str(config.features.resolve()): prints} if config.features else {}
    with locked(folder):
        recover(folder)  # a killed process may have left two
        about, earlier = read_json(folder / NOTE), None
        if changes:
            earlier = open_gallery(folder)
            held = {
                path: about["sets"].get(path, {}) | new for path, new in made_from["sets"].items()
            }
            made_from |= {"config": about["config"], "sets": about["sets"] | held}
        elif {name: about.get(name) for name in made_from} == made_from:
            return open_gallery(folder)
        elif about and not config.overwrite:
            raise InputError(f"{folder} holds another index: name another --out, or --overwrite it")
        elif not about:
            require_empty(folder, "an index")
        with atomic(folder) as work:
            work.mkdir()
            about = made_from | _write(work, config, sets, earlier, folder)
            text = json.dumps(about, indent=1, ensure_ascii=False)
            (work / NOTE).write_text(text + "\n", encoding="utf-8")
    return open_gallery(folder)


def _stay(config: IndexConfig, sets: list[FeatureSet], earlier: Gallery) -> np.ndarray:
    """Return the rows of an index that stay when clips are added or deleted."""
    new = np.concatenate([[], *(np.asarray(some.ids) for some in sets)]).astype(str)
    again = np.isin(earlier.ids, new)
    for clip in earlier.ids[again][: not config.replace]:
        raise InputError(
            f"{clip} and perhaps others are in the index: --replace them, or leave them"
        )
    again[earlier.rows(config.delete)] = True
    return np.flatnonzero(~again)


def _write(
    work: Path, config: IndexConfig, sets: list[FeatureSet], earlier: Gallery | None, folder: Path
) -> dict[str, Any]:
    """Write the arrays of an index to an empty folder; return what is noted of them.

    What stays of an ``earlier`` index, in its ``folder``, comes first.
    """
    model, _ = load_run(config.run)
    correction, bank, exact = hubness.Correction(0, 0), None, config.exact
    names, stay = [*sets[0].label_names] if sets else [], np.zeros(0, int)
    if earlier:
        stay, exact = _stay(config, sets, earlier), earlier.about["config"]["exact"]
        names = [*dict.fromkeys([*earlier.names, *names])]
        correction = hubness.Correction(**earlier.about["correction"])
        if correction.weight:
            try:
                banks = (np.load(folder / f"{side}_bank.npy") for side in SIDES)
                bank = Embeddings(*map(torch.from_numpy, banks))
            except (OSError, ValueError, EOFError):
                raise InputError(DAMAGED.format(folder)) from None
    elif config.correct_hubs and config.features:
        train, validation = (open_features(config.features, split) for split in SPLITS[:2])
        some = train.take(evenly(len(train), BANK))
        bank = model.embed(some.visual, some.audio)
        embedded = model.embed(validation.visual, validation.audio)
        correction = hubness.choose_correction(embedded, bank, validation)

    def embedded_clips() -> Iterator[tuple[Tensor, ...]]:
        """Give vectors and penalties of both modalities, some clips at a time."""
        if earlier:
            for start in range(0, len(stay), CHUNK):
                rows = stay[start : start + CHUNK]
                yield tuple(x[rows] for x in (*earlier.embedded[:2], *earlier.penalty))
        for visual, audio in (c for some in sets for c in read_chunks(some.visual, some.audio)):
            both = model.embed(visual, audio)
            pulls = [torch.zeros(len(visual), 1)] * 2
            if bank and correction.weight:
                pulls = hubness.attraction(both, bank, correction.sharpness)
            there = [side.isfinite().all(dim=1, keepdim=True) for side in both[:2]]
            values = [torch.where(t, x, 0) for t, x in zip(there, both[:2], strict=True)]
            lost = [
                torch.where(t, correction.weight * pull, math.inf)[:, 0]
                for t, pull in zip(there, pulls, strict=True)
            ]
            yield *values, *lost

    clips = len(stay) + sum(map(len, sets))
    if not clips:
        raise InputError(f"{folder} would hold no clip: delete fewer, or remove the folder")
    shape, paths = (clips, model.dim), [work / f"{side}.npy" for side in SIDES]
    penalties: list[list[Tensor]] = [[], []]
    bar = tqdm(desc="embedding", total=clips, unit="clip", disable=None)
    with bar, begin_rows(paths[0], "<f4", shape) as v, begin_rows(paths[1], "<f4", shape) as a:
        for visual, audio, *lost in embedded_clips():
            v.write(visual.numpy().tobytes())
            a.write(audio.numpy().tobytes())
            for penalty, part in zip(penalties, lost, strict=True):
                penalty.append(part)
            bar.update(len(visual))
    tables = [(earlier.ids[stay], earlier.labels[stay], earlier.names)] if earlier else []
    tables += [(some.ids, some.labels, some.label_names) for some in sets]
    number, tagged = {name: at for at, name in enumerate(names)}, []
    for _, table, own in tables:
        columns = np.array([number[name] for name in own], int)[table.indices]
        about = (table.data, columns, table.indptr)
        tagged.append(sparse.csr_array(about, (table.shape[0], len(names))))
    labels = sparse.vstack(tagged, format="csr")
    arrays = {
        **{f"{s}_penalty": torch.cat(p).numpy() for s, p in zip(SIDES, penalties, strict=True)},
        "ids": np.concatenate([np.asarray(ids) for ids, *_ in tables]),
        "label_indptr": labels.indptr.astype(np.int64),
        "label_indices": labels.indices.astype(np.int32),
    }
    if bank:
        arrays |= {f"{side}_bank": getattr(bank, side).numpy() for side in SIDES}
    for name, values in arrays.items():
        np.save(work / f"{name}.npy", values)
    found = []
    if clips > exact:
        sides = [np.load(path, mmap_mode="r") for path in paths]
        for name, items, queries in zip(SIDES, sides, sides[::-1], strict=True):
            path, penalty = work / f"{name}.faiss", arrays[f"{name}_penalty"]
            found.append(write_parts(path, items, penalty, queries))
    noted = {"correction": correction._asdict(), "found": found}
    return {"clips": clips, "label_names": names, **noted}


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

    A row a clip, as `xmodal.data.pairs` reads them: visual, audio (unit vectors, float32; NaN where
    a clip lacks the modality), ids, and labels joined by ``|``. InputError if there is no index, or
    ``out`` cannot be written.
    """
    if config.out.suffix not in (".npz", ".parquet"):
        raise InputError(f"{config.out} ends neither in .npz nor in .parquet: name another file")
    gallery = open_gallery(config.run)
    sides = (side.numpy() for side in gallery.embedded[:2])
    visual, audio = (
        np.where(side.any(axis=1, keepdims=True), side, np.float32("nan")) for side in sides
    )
    labels = np.array(["|".join(gallery.labels_of(row)) for row in range(len(visual))])
    arrays = {"visual": visual, "audio": audio, "ids": gallery.ids, "labels": labels}
    with locked(config.out), atomic(config.out) as fresh, fresh.open("wb") as file:
        if config.out.suffix == ".npz":
            np.savez(file, **arrays)  # type: ignore[arg-type]
        else:
            pd.DataFrame({name: list(rows) for name, rows in arrays.items()}).to_parquet(file)
    return f"{config.out}: {len(visual):,} clips, {visual.shape[1]} dimensions"
