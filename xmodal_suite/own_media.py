"""Few pairs of one's own, measured by folds (notebook 08), seen and heard; all of it our choice."""

import os
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from html import escape
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import HTML
from PIL import Image, ImageOps

from xmodal.config import InputError
from xmodal.data.pairs import Pairs, linked
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.evaluation.recall import directions
from xmodal.media.decode import sound, timed_pictures
from xmodal.media.extract import ExtractConfig, find_media
from xmodal.metrics import TOLERANCE
from xmodal.model import Embeddings
from xmodal_suite.toys import FRAMES, RATE, SECONDS, SIDE, write_clip

MATCH, KIND = "the match", "its kind"
"""What is sought among the results of a query."""


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
            "folds, or add pairs"
        )
    return [np.sort(fold) for fold in dealt]


def write_fold(pairs: Pairs, split: np.ndarray, folder: Path, shuffle: int | None = None) -> Path:
    """Prepare a fold from each pair's split; a seed may ``shuffle`` sounds of training pairs."""
    audio = np.array(pairs.audio)
    if shuffle is not None:
        training = np.flatnonzero(split == "train")
        audio[training] = audio[np.random.default_rng(shuffle).permutation(training)]
    folder.mkdir(parents=True, exist_ok=True)
    file, features = folder / "pairs.npz", folder / "features"
    np.savez(file, visual=pairs.visual, audio=audio, ids=pairs.ids, split=split)
    prepare(PrepareConfig(shards=file, out=features, source="a fold"))
    return features


def answers(embedded: Embeddings, rows: np.ndarray, kinds: np.ndarray) -> pd.DataFrame:
    """Rank, for the queries in some rows, their match and the first item of their kind.

    All clips are candidates. A line a query, direction and ``sought`` (`MATCH` or `KIND`), with the
    columns of `xmodal.evaluation.recall.rank_frame`; so many items are ``right``.
    """
    match, same = rows[:, None] == np.arange(len(kinds)), kinds[rows][:, None] == kinds
    parts = []
    for direction, query, items in directions(embedded):
        cosine = (query[rows] @ items.T).numpy()
        for sought, wanted in ((MATCH, match), (KIND, same)):
            best = np.where(wanted, cosine, -np.inf).max(axis=1, keepdims=True)
            lead = np.where(wanted, -np.inf, cosine - best)
            columns = {"member": 0, "direction": direction, "gallery": len(kinds), "clip": rows}
            columns |= {"better": (lead > TOLERANCE).sum(axis=1), "sought": sought}
            columns |= {"tied": (np.abs(lead) <= TOLERANCE).sum(axis=1) + 1}
            columns |= {"right": wanted.sum(axis=1)}
            parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def own_files(media: Path, page: Path) -> dict[str, dict[str, str]]:
    """Return the picture and the sound of each clip in a folder, by paths relative to a page."""
    clips, *_ = find_media(ExtractConfig(folder=media))
    return {
        clip: {
            role: os.path.relpath(files[modality][0], page.parent)
            for role, modality in (("picture", "visual"), ("sound", "audio"))
            if files[modality]
        }
        for clip, files in clips.items()
    }


def seen_and_heard(media: Path, picture: Path | str, heard: str) -> dict[str, str]:
    """Return the first seconds of a clip's or file's pictures, with the sound of a clip, in base64.

    ``webm`` is a small video, ``strip`` a PNG of two of its pictures, half a second apart.
    """
    clips, *_ = find_media(ExtractConfig(folder=media))
    path = picture if isinstance(picture, Path) else clips[picture]["visual"][0]
    shown = [small(one) for one in film(path, FRAMES, SECONDS)]
    blocks = np.concatenate(list(sound(clips[heard]["audio"][0], RATE)))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "clip.webm")
        write_clip(out, shown, blocks[: SECONDS * RATE])
        webm = out.read_bytes()
    strip = BytesIO()
    Image.fromarray(np.hstack([shown[FRAMES // 2], shown[FRAMES]])).quantize(16).save(strip, "PNG")
    return {"webm": b64encode(webm).decode(), "strip": b64encode(strip.getvalue()).decode()}


def film(path: Path, rate: int, seconds: int) -> Iterator[np.ndarray]:
    """Yield ``rate`` pictures a second of a file's first seconds, to be shown; the last one stays.

    RGB, uint8, (height, width, 3). NoTrackError if there are none, InputError if none can be read.
    """
    begin, shown, left = None, np.zeros(0), list(range(rate * seconds))
    for time, picture in timed_pictures(path):
        begin = time if begin is None else begin
        while shown.size and left and left[0] < (time - begin) * rate - 0.1:
            yield shown
            left.pop(0)
        if not left:
            return
        shown = picture
    yield from [shown] * len(left)


def small(picture: np.ndarray) -> np.ndarray:
    """Return a picture in a square of `SIDE` pixels, on white."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(ImageOps.pad(image, (SIDE, SIDE), color="white"))


def players(webms: pd.Series, words: pd.Series) -> HTML:
    """Show videos side by side, each with a line of words below it."""
    figures = [
        '<figure style="display: inline-block; margin: 4px; width: 160px">'
        f'<video controls loop width="160" src="data:video/webm;base64,{webm}"></video>'
        f"<figcaption>{escape(text)}</figcaption></figure>"
        for webm, text in zip(webms, words, strict=True)
    ]
    return HTML("".join(figures))
