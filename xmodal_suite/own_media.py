"""Few pairs of one's own, measured by folds (notebook 08): each is evaluated once; our choice."""

import os
from pathlib import Path

import numpy as np

from xmodal.config import InputError
from xmodal.data.pairs import Pairs, linked
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.media.extract import ExtractConfig, find_media
from xmodal.metrics import ranks
from xmodal.model import Embeddings


def deal_folds(pairs: Pairs, folds: int, seed: int) -> list[np.ndarray]:
    """Assign pairs to folds, and return the rows of each: int64, ascending.

    Pairs of one group, or with the same picture or sound, stay together. Groups are assigned from
    largest to smallest, each to the smallest fold so far; ``seed`` orders groups of one size.
    InputError if a fold has fewer than two pairs.
    """
    groups = linked(pairs)
    order = np.random.default_rng(seed).permutation(len(groups))
    dealt: list[list[int]] = [[] for _ in range(folds)]
    for number in sorted(order, key=lambda number: -len(groups[number])):
        min(dealt, key=len).extend(groups[number])
    if min(map(len, dealt)) < 2:
        raise InputError(
            f"{len(pairs.ids)} pairs in {len(groups)} groups are too few for {folds} folds: lower "
            "folds, or set folders_apart=False"
        )
    return [np.sort(fold) for fold in dealt]


def write_fold(pairs: Pairs, split: np.ndarray, folder: Path, shuffle: int | None = None) -> Path:
    """Prepare the feature set of a fold from the name of each pair's split, (n,), and return it.

    With a seed to ``shuffle`` by, the sounds of the training pairs change places.
    """
    audio = np.array(pairs.audio)
    if shuffle is not None:
        training = np.flatnonzero(split == "train")
        audio[training] = audio[np.random.default_rng(shuffle).permutation(training)]
    folder.mkdir(parents=True, exist_ok=True)
    file, features = folder / "pairs.npz", folder / "features"
    np.savez(file, visual=pairs.visual, audio=audio, ids=pairs.ids, split=split)
    prepare(PrepareConfig(shards=file, out=features, source="a fold"))
    return features


def normalised_rank(embedded: Embeddings, rows: np.ndarray) -> float:
    """Return where the match ranks among some clips, both ways: 0 first, 1 last, 0.5 by chance."""
    ways = ranks(embedded.audio[rows], embedded.visual[rows])
    mean = sum(way.average().mean().item() for way in ways) / 2
    return (mean - 1) / (len(rows) - 1)


def own_files(media: Path, page: Path) -> dict[str, dict[str, str]]:
    """Return the picture and the sound of each clip in a folder, by paths relative to a page."""
    clips, _ = find_media(ExtractConfig(folder=media))
    return {
        clip: {
            role: os.path.relpath(files[modality][0], page.parent)
            for role, modality in (("picture", "visual"), ("sound", "audio"))
            if files[modality]
        }
        for clip, files in clips.items()
    }
