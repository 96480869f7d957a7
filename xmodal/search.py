"""Search among embedded clips by an id, a label or features; only features need torch.

An index is a folder whose vectors are memory-mapped: it opens at once and may be larger than
memory. Search is exact; above a size, an inverted file of faiss looks at a part of the items.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file
from scipy import sparse

from xmodal.config import InputError, unknown
from xmodal.data.features import label_rows, map_clips, read_manifest
from xmodal.files import WEIGHTS, digest, find_run, optional, read_json
from xmodal.search_options import Find

CLIPS = "clips.safetensors"
"""Embedded clips that come with the weights of a run."""
SIDES, SIDE_OF = ("visual", "audio"), {"video": 0, "audio": 1}
DAMAGED = "{}: the index is damaged, or of another version; make it again"
NOTE = "index.json"
"""Written last: what an index was made from, and how it is searched."""
QUERIES, SCORES = 1024, 2**22
"""Queries that are answered at once, and their scores that are held at once."""
LARGE = "so many clips need `pip install '.[large]'`"
DISTINCT = 0.98
"""Cosine to a better item from which on an item nearly repeats it; our choice."""


@dataclass(frozen=True)
class Gallery:
    """Embedded clips to search among.

    ``embedded`` are unit vectors of videos and of sounds, float32 (clips, embedding_dim), 0 where
    one is missing; ``ids`` texts, (clips,); ``labels`` ones, sparse (clips, classes), called by
    ``names``. ``penalty``, float32 (clips,) of each modality, is the hubness correction, taken off
    a cosine: infinite where the modality is missing. ``parts`` are inverted files of faiss, one of
    each modality, where there are very many clips. ``run`` embeds queries that are features;
    ``about`` is what ``index.json`` says, such as the share of the true nearest that are ``found``.
    ``youtube`` has the YouTube ids that are known, by clip.
    """

    embedded: Sequence[np.ndarray]
    ids: np.ndarray
    labels: sparse.csr_array
    names: Sequence[str]
    penalty: Sequence[np.ndarray] = ()
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
    def model(self) -> Any:
        """The model of the run, loaded when the first query needs it; InputError if it changed."""
        from xmodal.checkpoint import load_run

        model, noted = load_run(self.run)[0], self.about.get("weights")
        if noted and digest(self.run / WEIGHTS) != noted:
            raise InputError(f"{self.run} has other weights than its index by now: open it again")
        return model

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
            mask &= np.isfinite(self.penalty[side])
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
        side, own, rows = SIDE_OF[find], np.full(1, -1), np.zeros(0, int)
        asked, there = SIDES[1 - side], self.embedded[1 - side]
        if features is not None:
            queries = getattr(self.model, f"embed_{asked}")(features).numpy()
            names, several = [*range(len(queries))], np.ndim(features) > 1
        elif label is not None:
            rows, names, several = np.flatnonzero(self.carriers(label)), [label], False
            queries = there[rows].sum(axis=0, keepdims=True)
        else:
            several = not isinstance(given, str)
            names = [given] if isinstance(given, str) else [*(given or ())]
            own = rows = self.rows(names)
            queries = there[rows]
        length = np.linalg.norm(queries, axis=1, keepdims=True)
        for at in np.flatnonzero(~(length > 0))[:1]:
            raise InputError(f"{names[at]} has no {asked} features: ask for another clip")
        queries, own = queries / length, np.broadcast_to(own, len(queries))
        found, query, repeated = self._found(queries, find, k, own, where, exclude_own, distinct)
        frame = pd.DataFrame({"query": [names[at] for at in query]})
        frame["rank"] = frame.groupby(query).cumcount() + 1
        frame["id"] = self.ids[found]
        frame["labels"] = [self.labels_of(row) for row in found]
        cosine = (queries[query] * self.embedded[side][found]).sum(axis=1)
        frame["score"] = cosine - self.penalty[side][found] if self.penalty else cosine
        frame["cosine"] = cosine
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
        queries: np.ndarray,
        find: Find,
        k: int,
        own: np.ndarray,
        where: Sequence[str],
        exclude_own: bool,
        distinct: float | None,
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Return the rows of the items, the number of the query of each, and the repeated ones."""
        items, mask = self.embedded[SIDE_OF[find]], self.candidates(find, where)
        most = int(mask.sum())
        looked_at = max(1, min(k + exclude_own, most))
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
        self, queries: np.ndarray, find: Find, k: int, mask: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the rows of the k best items for unit vectors, (queries, dim): (queries, k).

        Of items that score the same, the first come first. ``mask`` tells which clips may be found;
        InputError if the vectors are damaged.
        """
        side = SIDE_OF[find]
        items, cost = self.embedded[side], np.zeros(len(self.ids), np.float32)
        if self.parts:
            limits = {}
            if mask is not None:
                faiss, cells = optional("faiss", LARGE), self.parts[side].nprobe
                chosen = faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
                limits = {"params": faiss.SearchParametersIVF(sel=chosen, nprobe=cells)}
            words = np.pad(queries, ((0, 0), (0, 1)), constant_values=-1)
            rows = self.parts[side].search(words, k, **limits)[1]
            if 0 <= rows.min() <= rows.max() < len(items):
                return rows
        # all are compared if there are no parts, or the cells looked at hold too few
        cost = cost + self.penalty[side] if self.penalty else cost
        if mask is not None:
            cost[~mask] = np.inf
        parts = np.array_split(queries, range(QUERIES, len(queries), QUERIES))
        return np.concatenate([_best(some, items, cost, k) for some in parts])


def _best(queries: np.ndarray, items: np.ndarray, cost: np.ndarray, k: int) -> np.ndarray:
    """Return the rows of the k items that score best for each query, some items at a time.

    Only scores that may be among the best are sorted, with the best so far.
    """
    number = np.arange(len(queries))
    best, rows = (np.empty((len(queries), 0), kind) for kind in (np.float32, int))
    for start in range(0, len(items), block := SCORES // len(queries)):
        score = queries @ items[start : start + block].T
        score -= cost[start : start + block]
        if not score.max() < np.inf:  # nor NaN
            raise InputError("the vectors of the index are damaged: make it again")
        floor, last = best[:, -1:], min(k, score.shape[1])
        if best.shape[1] < k:
            floor = np.partition(score, -last, axis=1)[:, [-last]]
        query, place = divmod(np.flatnonzero(score >= floor), score.shape[1])  # nonzero is slow
        values = np.concatenate([best.ravel(), score[query, place]])
        query = np.concatenate([np.repeat(number, best.shape[1]), query])
        order = np.lexsort((-values, query))
        kept = np.arange(min(k, best.shape[1] + score.shape[1]))
        first = order[np.searchsorted(query[order], number)[:, None] + kept]
        best, rows = values[first], np.concatenate([rows.ravel(), place + start])[first]
    return rows


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
    faiss = optional("faiss", LARGE) if about.get("found") else None
    try:
        names = [str(name) for name in about["label_names"]]
        visual, audio, ids, labels = map_clips(folder, len(names))
        penalty = [np.load(folder / f"{side}_penalty.npy", mmap_mode="r") for side in SIDES]
        numbers, clips = (visual, audio, *penalty), about["clips"]
        shapes = [(clips, visual.shape[1])] * 2 + [(clips,)] * 2
        if [x.shape for x in numbers] != shapes or {x.dtype.str for x in numbers} != {"<f4"}:
            raise ValueError
        if ids.view("u4").max(initial=0) > sys.maxunicode:
            raise ValueError
        if faiss:
            files = [str(folder / f"{side}.faiss") for side in SIDES]
            parts = [faiss.read_index(file, faiss.IO_FLAG_MMAP) for file in files]
        made_by, noted, made_of = Path(about["run"]), about["weights"], dict(about["sets"])
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
    if read_json(folder / NOTE) != about:
        raise InputError(f"{folder}: another index took its place just now; start again")
    return Gallery((visual, audio), ids, labels, names, penalty, parts, home, about)


def _clips_of_package(home: Path) -> Gallery:
    """Open the embedded clips that come with the weights of a run."""
    stored = load_file(home / CLIPS)
    embedded = [stored[name].astype(np.float32) for name in SIDES]
    for side in embedded:
        side /= np.linalg.norm(side, axis=1, keepdims=True)
    ids, names, videos = (
        bytes(stored[name]).decode().split("\n") for name in ("ids", "label_names", "youtube_ids")
    )
    labels = label_rows(stored["label_indptr"], stored["label_indices"], len(names))
    known = {clip: video for clip, video in zip(ids, videos, strict=True) if video}
    penalty = [stored[f"{name}_penalty"] for name in SIDES]
    return Gallery(embedded, np.array(ids), labels, names, penalty, run=home, youtube=known)
