"""Embedded clips to search among: those of a feature set, or those that come with the weights."""

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from xmodal.checkpoint import find_run
from xmodal.config import InputError
from xmodal.evaluation.recall import nearest
from xmodal.model import Embeddings

FILE = "clips.safetensors"


class Gallery(NamedTuple):
    """Clips with their embeddings, float32 (clips, embedding_dim), ids, and labels as numbers."""

    embedded: Embeddings
    ids: np.ndarray
    labels: list[list[int]]

    def row(self, clip: str) -> int:
        """Return the row of a clip; InputError if there is none of that id."""
        found = np.flatnonzero(self.ids == clip)
        if not len(found):
            raise InputError(f"no clip has the id {clip!r}: choose one such as {self.ids[0]!r}")
        return int(found[0])

    def search(self, video: str | None = None, audio: str | None = None, k: int = 10):
        """Find the sounds that fit a clip's video, or the videos that fit its sound.

        Parameters
        ----------
        video, audio : str
            Id of the clip that is the query, one of the two; its own other half is among the items.
        k : int
            How many are returned.

        Returns
        -------
        DataFrame
            The nearest items, the best first: rank, id, labels (numbers, joined by spaces), cosine.

        Raises
        ------
        InputError
            If no clip has that id, or there are fewer than k.
        """
        if (video is None) == (audio is None):
            raise InputError("one query is needed: the id of a video, or that of a sound")
        visual, sound = self.embedded.visual, self.embedded.audio
        query, items = (visual, sound) if audio is None else (sound, visual)
        return self.found(query[self.row(str(video or audio))], items, k)

    def found(self, query: Tensor, items: Tensor, k: int) -> pd.DataFrame:
        """Return the k items nearest to a query, a unit vector, as `search` does."""
        cosine, rows = nearest(query[None], items, k)
        return pd.DataFrame(
            {
                "rank": range(1, k + 1),
                "id": self.ids[rows[0]],
                "labels": [" ".join(map(str, self.labels[row])) for row in rows[0]],
                "cosine": cosine[0].numpy(),
            }
        )


def save_gallery(
    folder: Path, embedded: Embeddings, ids: np.ndarray, labels: tuple[np.ndarray, np.ndarray]
) -> None:
    """Write embedded clips, in float16, beside a run's weights; labels as indptr and indices."""
    indptr, indices = (torch.from_numpy(np.array(part, np.int32)) for part in labels)
    text = "\n".join(map(str, ids)).encode()
    arrays = {
        "visual": embedded.visual.half().contiguous(),
        "audio": embedded.audio.half().contiguous(),
        "ids": torch.frombuffer(bytearray(text), dtype=torch.uint8),
        "label_indptr": indptr,
        "label_indices": indices,
    }
    save_file(arrays, folder / FILE)


def open_gallery(run: Path | str) -> Gallery:
    """Open the embedded clips that come with a run's weights, such as "yt8m-recipe".

    InputError if there is no such run, or none come with it.
    """
    path = find_run(run) / FILE
    if not path.exists():
        raise InputError(f"{run} comes with no embedded clips: name weights of the package")
    arrays = load_file(path)
    visual, audio = (normalize(arrays[name].float(), dim=1) for name in ("visual", "audio"))
    ids = np.array(bytes(arrays["ids"].numpy()).decode().split("\n"))
    indptr, indices = arrays["label_indptr"].tolist(), arrays["label_indices"].tolist()
    labels = [indices[start:end] for start, end in pairwise(indptr)]
    return Gallery(Embeddings(visual, audio), ids, labels)
