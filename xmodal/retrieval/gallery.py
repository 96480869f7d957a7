"""Embedded clips to search among: those of a feature set, or those that come with the weights."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from html import escape
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn.functional import normalize

from xmodal.checkpoint import find_run
from xmodal.config import InputError
from xmodal.data.features import open_features
from xmodal.evaluation.recall import embed_run, nearest
from xmodal.model import Embeddings

FILE = "clips.safetensors"


class Lists(Sequence[list[int]]):
    """Lists of numbers as compressed sparse rows, which may be memory-mapped."""

    def __init__(self, indptr: np.ndarray, indices: np.ndarray) -> None:
        self.indptr, self.indices = indptr, indices

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __getitem__(self, row: Any) -> Any:
        """Return one list."""
        if not 0 <= int(row) < len(self):
            raise IndexError(row)
        return self.indices[self.indptr[int(row)] : self.indptr[int(row) + 1]].tolist()


@dataclass(frozen=True)
class Gallery:
    """Clips with their embeddings, float32 (clips, embedding_dim), ids, and labels as numbers.

    ``names``: what the labels are called, by number; without them they are known by their numbers.
    """

    embedded: Embeddings
    ids: np.ndarray
    labels: Sequence[list[int]]
    names: Sequence[str] = ()

    @property
    def sides(self) -> tuple[Tensor, Tensor]:
        """The embeddings of all videos and of all sounds."""
        return self.embedded.visual, self.embedded.audio

    def row(self, clip: str) -> int:
        """Return the row of a clip; InputError if there is none of that id."""
        found = np.flatnonzero(self.ids == clip)
        if not len(found):
            raise InputError(
                f"no clip has the id {clip!r}: the nearest is {near(clip, texts(self.ids))}"
            )
        return int(found[0])

    def carrying(self, label: str | int) -> list[int]:
        """Return the rows of the clips that carry a label, given by its name or its number.

        InputError if there are none.
        """
        called = {self.called(number): number for row in self.labels for number in row}
        number = called.get(label) if isinstance(label, str) else label
        rows = [row for row, carried in enumerate(self.labels) if number in carried]
        if not rows:
            known = "the nearest is" if self.names else "labels have numbers here, such as"
            raise InputError(
                f"no clip carries the label {label!r}: {known} {near(str(label), called)}"
            )
        return rows

    def search(
        self,
        video: str | None = None,
        audio: str | None = None,
        k: int = 10,
        label: str | int | None = None,
        find: Literal["audio", "video"] = "audio",
    ) -> pd.DataFrame:
        """Find the sounds that fit a clip's video, or the videos that fit its sound.

        Parameters
        ----------
        video, audio : str
            Id of the clip that is the query, one of the two; its own other half is among the items.
        k : int
            How many are returned.
        label : str or int
            Instead of a clip: name (or number) of a label. The query is then the mean embedding of
            all clips that carry it, which stands for "any video of a guitar" without a clip to be
            chosen first. Expect more items with that label than a single clip would find, for the
            other halves of these clips are among the items; for a single clip, take an id out of
            ``ids[carrying(label)]``.
        find : {"audio", "video"}
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
            than k clips.
        """
        if [video, audio, label].count(None) != 2:
            raise InputError("one query is needed: the id of a video, that of a sound, or a label")
        if label is None:
            rows, find = [self.row(str(video or audio))], "audio" if audio is None else "video"
        else:
            rows = self.carrying(label)
        query = self.sides[1 - side_of(find)][rows]
        found = self._found(normalize(query.mean(dim=0), dim=0), find, k)
        wanted = set.intersection(*(set(self.labels[row]) for row in rows))
        shared = [len(wanted.intersection(self.labels[row])) for row in found.index]
        own = found.index == rows[0] if label is None else False
        return found.assign(own=own, shared=shared).reset_index(drop=True)

    def found(
        self, query: Tensor, find: Literal["audio", "video"] = "audio", k: int = 10
    ) -> pd.DataFrame:
        """Return the k items nearest to a query, a unit vector: rank, id, labels, cosine."""
        return self._found(query, find, k).reset_index(drop=True)

    def _found(self, query: Tensor, find: str, k: int) -> pd.DataFrame:
        """Return what `found` does, with the rows of the items as index."""
        cosine, rows = self._closest(query, side_of(find), k)
        return pd.DataFrame(
            {
                "rank": range(1, len(rows) + 1),
                "id": texts(self.ids[rows.numpy()]),
                "labels": ["; ".join(map(self.called, self.labels[row])) for row in rows],
                "cosine": cosine.numpy(),
            },
            index=rows.numpy(),
        )

    def _closest(self, query: Tensor, side: int, k: int) -> tuple[Tensor, Tensor]:
        """Return the cosines and the rows of the k items nearest to a query, the best first."""
        cosine, rows = nearest(query[None], self.sides[side], k)
        return cosine[0], rows[0]

    def called(self, number: int) -> str:
        """Return what a label is called: its name, or its number where names are not known."""
        return self.names[number] if self.names else str(number)


def side_of(find: str) -> int:
    """Return which of the two embeddings is searched: 0 for video, 1 for audio."""
    if find not in ("video", "audio"):
        raise InputError(f"{find!r} cannot be found: find 'audio' or 'video'")
    return int(find == "audio")


def texts(ids: np.ndarray) -> list[str]:
    """Return ids as Python's text; InputError if they are damaged."""
    if np.ascontiguousarray(ids).view(np.uint32).max(initial=0) > sys.maxunicode:
        raise InputError("the ids of the clips are damaged: make the index again")
    return ids.tolist()


def near(word: str, known: Iterable[str]) -> str:
    """Return the known word that is most like another, quoted."""
    return repr(str(get_close_matches(word, map(str, known), 1, cutoff=0)[0]))


def thumbnails(found: pd.DataFrame, youtube_ids: Mapping[str, str | None]) -> str:
    """Return what `Gallery.search` found as HTML: pictures that lead to the videos on YouTube.

    ``youtube_ids``: those of some clips, as `xmodal.youtube8m.resolve.read_youtube_ids` gives them;
    other clips are left out. Whoever shows it loads the pictures from YouTube's servers.
    """
    shown = []
    for rank, clip, labels in zip(found["rank"], found["id"], found["labels"], strict=True):
        if youtube_id := youtube_ids.get(clip):
            video, words = quote(youtube_id, safe=""), escape(f"{rank}: {labels}")
            image = f'<img src="https://i.ytimg.com/vi/{video}/mqdefault.jpg" alt="{words}"'
            image += f' title="{words}" width="160" loading="lazy">'
            shown.append(f'<a href="https://youtu.be/{video}">{image}</a>')
    return "\n".join(shown)


def gallery_of(run: Path | str, features: Path | str) -> Gallery:
    """Embed the evaluation clips of a feature set with a run, to search among them by name.

    Parameters
    ----------
    run : path or str
        Folder of a finished training, or weights of the package such as "yt8m-recipe".
    features : path or str
        Folder of a feature set; its label names are kept.

    Raises
    ------
    InputError
        If there is no such run or feature set, or the two do not fit.
    """
    clips = open_features(features, "evaluation")
    labels = list(Lists(clips.labels.indptr, clips.labels.indices))
    return Gallery(embed_run(Path(run), clips), np.asarray(clips.ids), labels, clips.label_names)


def save_gallery(
    folder: Path, embedded: Embeddings, ids: np.ndarray, labels: tuple[np.ndarray, np.ndarray]
) -> None:
    """Write embedded clips, in float16, beside a run's weights; labels as indptr and indices."""
    indptr, indices = (torch.from_numpy(np.array(part, np.int32)) for part in labels)
    text = "\n".join(map(str, ids)).encode()
    if text.count(b"\n") >= len(ids) > 0:
        raise InputError("an id holds a line break, which parts ids in a file: rename the clip")
    arrays = {
        "visual": embedded.visual.half().contiguous(),
        "audio": embedded.audio.half().contiguous(),
        "ids": torch.frombuffer(bytearray(text), dtype=torch.uint8),
        "label_indptr": indptr,
        "label_indices": indices,
    }
    (folder / FILE).write_bytes(save(arrays))


def open_gallery(run: Path | str, names: Sequence[str] = ()) -> Gallery:
    """Open the embedded clips that come with a run's weights, such as "yt8m-recipe".

    They come with the numbers of their labels alone, as the names are YouTube-8M's: with its
    vocabulary at hand, give ``names=read_vocabulary(path)``.

    InputError if there is no such run, or none come with it.
    """
    path = find_run(run) / FILE
    if not path.exists():
        raise InputError(f"{run} comes with no embedded clips: name weights of the package")
    arrays = load_file(path)
    visual, audio = (normalize(arrays[name].float(), dim=1) for name in ("visual", "audio"))
    ids = np.array(bytes(arrays["ids"].numpy()).decode().split("\n"))
    labels = list(Lists(arrays["label_indptr"].numpy(), arrays["label_indices"].numpy()))
    return Gallery(Embeddings(visual, audio), ids, labels, names)
