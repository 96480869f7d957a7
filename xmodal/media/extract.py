"""From a folder of own videos, pictures and sounds to one file of paired features."""

import hashlib
import os
import sys
from collections import defaultdict
from fnmatch import fnmatch
from itertools import chain
from logging.handlers import BufferingHandler
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize

import numpy as np
import torch
from pydantic import Field
from tqdm import tqdm

from xmodal.config import InputError
from xmodal.files import atomic, digest, files_below, locked
from xmodal.media import optional
from xmodal.media.decode import LOG, NoTrackError, pictures, sound
from xmodal.media.encoders import Encoders, open_encoders
from xmodal.media.worker import elsewhere
from xmodal.search_options import EncoderConfig

VIDEOS = "mp4 m4v mov mkv webm avi mpg mpeg ts mts m2ts ogv flv wmv 3gp mxf"
PICTURES = "png jpg jpeg webp bmp gif tif tiff avif"
SOUNDS = "wav mp3 ogg oga opus flac m4a aac aif aiff wma amr caf"
KINDS = {f".{suffix}": kind for kind in (VIDEOS, PICTURES, SOUNDS) for suffix in kind.split()}
"""What a file is taken for; one with another suffix is passed over."""
MODALITIES = {"visual": (VIDEOS, PICTURES), "audio": (VIDEOS, SOUNDS)}
"""Which kinds of files can give a clip a modality; the first that has it does."""


class ExtractConfig(EncoderConfig):
    """What `extract` reads, what it embeds it with, and where it writes."""

    folder: Path = Field(description="Folder searched for media files, with all folders below it")
    out: Path = Field(Path("features.npz"), description="File of features to write, .npz")
    skip: tuple[str, ...] = Field((), description="Names to leave out, as patterns such as *_desc*")
    paired: bool = Field(False, description="Keep only clips with both pictures and sound")
    apart: bool = Field(True, description="Let no two splits share a folder, for a fair measure")


class Extracted(NamedTuple):
    """What `extract` did: ``clips`` were written, ``pairs`` of them with both modalities.

    ``skipped`` maps each file that could not be used to the reason; ``remarks`` maps what else is
    to be known, such as what was guessed, to the files that it was met in.
    """

    out: Path
    clips: int
    pairs: int
    skipped: dict[str, str]
    remarks: dict[str, list[str]]

    def __str__(self) -> str:
        """Sum it up, with a line for each file that was skipped, and for each remark."""
        counts = f"{self.clips} clips, {self.pairs} with both pictures and sound"
        lines = [f"{self.out}: {counts}, {len(self.skipped)} files skipped"]
        lines += [f"skipped: {file}: {reason}" for file, reason in self.skipped.items()]
        for what, files in self.remarks.items():
            lines.append(f"note: {what} ({len(files)} files, such as {files[0]})")
        return "\n".join(lines)


def extract(config: ExtractConfig, encoders: Encoders | None = None) -> Extracted:
    """Embed the media files of a folder (by other ``encoders``, if given), and write one file.

    Files of one folder and one name but for the suffix are a clip: ``a/cow.mp4``, or ``a/cow.png``
    and ``a/cow.ogg``; files that complete each other may differ in case. A clip may lack a
    modality. A file that cannot be used is reported and skipped; the others are not affected.
    Several files are embedded at a time, each in a thread. If ``out`` exists, features of files
    with the same content, made by the same code and encoders, are taken from it.

    ``out`` holds ``visual`` (n, V) and ``audio`` (n, A), float32, rows of NaN where a clip lacks
    the modality; ``ids`` (n,), paths below ``folder`` without suffix; ``labels`` and, if they are
    to be ``apart``, ``group`` (n,), the folders the clips are in, if there are folders;
    ``encoder``, the name of the set; ``folder``, whose files they are, seen from ``out``;
    ``visual_key`` and ``audio_key`` (n,), a digest of all that the features depend on, by which the
    next extraction knows them.

    InputError if no file can be used, an encoder cannot be loaded, or ``out`` cannot be written.
    """
    clips, skipped, remarks = find_media(config)
    optional("av")  # without it, every file would be called broken
    models = config.visual_model, config.audio_model
    encoders = encoders or open_encoders(config.encoders, config.encoder_files, models)
    code = b"".join(map(Path.read_bytes, sorted(Path(__file__).parent.glob("*.py"))))
    tasks = [(clip, modality) for clip in clips for modality in MODALITIES]
    sizes = {"visual": encoders.visual_dim, "audio": encoders.audio_dim}

    def embed(task: tuple[str, str]) -> tuple[np.ndarray, str]:
        """Return the features and the key of the first file that has a modality, or nothing."""
        clip, modality = task
        for path in clips[clip][modality]:
            try:
                made_of = [code, encoders.name, modality, digest(path)]
                key = hashlib.sha256(repr(made_of).encode()).hexdigest()
                return known[key] if key in known else embed_file(path, modality, encoders), key
            except (InputError, OSError) as error:
                video = KINDS[path.suffix.lower()] == VIDEOS
                if not (video and isinstance(error, NoTrackError)):  # it may be silent
                    reason = str(error).removeprefix(f"{path}: ")
                    skipped.setdefault(path.relative_to(config.folder).as_posix(), reason)
        return np.full(sizes[modality], np.nan, np.float32), ""

    told: Any = BufferingHandler(sys.maxsize)
    LOG.addHandler(told)
    with locked(config.out):
        known = earlier(config.out)
        try:
            with ThreadPool(min(4, torch.get_num_threads())) as pool:
                done = tqdm(pool.imap(embed, tasks), "embedding", len(tasks), disable=None)
                found = dict(zip(tasks, done, strict=True))
        finally:
            LOG.removeHandler(told)
        for path, what in sorted({record.args for record in told.buffer}):
            remarks[what].append(path.relative_to(config.folder).as_posix())
        held = {clip: [bool(found[clip, modality][1]) for modality in MODALITIES] for clip in clips}
        kept = [clip for clip in clips if (all if config.paired else any)(held[clip])]
        if not kept:
            first = "".join(f" ({file}: {reason})" for file, reason in [*skipped.items()][:1])
            raise InputError(f"{config.folder}: not one of {len(clips)} clips can be used{first}.")
        arrays = {"ids": np.array(kept), "encoder": np.array(encoders.name)}
        arrays["folder"] = np.array(os.path.relpath(config.folder, config.out.parent))
        for modality in MODALITIES:
            vectors, keys = zip(*(found[clip, modality] for clip in kept), strict=True)
            arrays |= {modality: np.stack(vectors), f"{modality}_key": np.array(keys)}
        folders = np.array([clip.rpartition("/")[0] for clip in kept])
        if folders.any():
            arrays |= {"labels": folders} | ({"group": folders} if config.apart else {})
        with atomic(config.out) as fresh, fresh.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    pairs = sum(map(all, held.values()))
    return Extracted(config.out, len(kept), pairs, dict(sorted(skipped.items())), remarks)


def earlier(out: Path) -> dict[str, np.ndarray]:
    """Return the features that a file holds, by their keys; none if it is missing or damaged."""
    try:
        with np.load(out) as arrays:
            pairs = [zip(arrays[f"{m}_key"], arrays[m], strict=True) for m in MODALITIES]
            return dict(chain(*pairs))
    except Exception:  # numpy raises some ten kinds
        return {}


def embed_file(path: Path, modality: str, encoders: Encoders) -> np.ndarray:
    """Embed the pictures (``visual``) or the sound (``audio``) of a file: float32, (size,).

    NoTrackError if it holds none; InputError if it cannot be decoded, or features are not finite.
    """
    if modality == "visual":
        vector = encoders.visual(elsewhere(pictures, path))
    else:
        blocks = elsewhere(sound, path, encoders.rate)
        vector = encoders.audio(np.concatenate([np.zeros(0, np.float32), *blocks]))
    if not np.isfinite(vector).all():
        raise InputError(f"{path}: its {modality} features are not finite; the file is damaged.")
    return vector


def find_media(
    config: ExtractConfig,
) -> tuple[dict[str, dict[str, list[Path]]], dict[str, str], dict[str, list[str]]]:
    """Return the files that may give each clip each modality, why others are unusable, and remarks.

    Hidden files, and what is in hidden folders, are left out.
    """
    if not config.folder.is_dir():
        raise InputError(f"{config.folder}: is no folder.")
    clips: dict[str, dict[str, list[Path]]] = {}
    skipped, remarks = {}, defaultdict(list)
    for path in files_below(config.folder):
        inside = path.relative_to(config.folder)
        names = path.name, str(inside)
        left_out = any(fnmatch(name, pattern) for name in names for pattern in config.skip)
        if left_out or any(part.startswith(".") for part in inside.parts):
            continue
        name, kind = os.fsencode(inside).decode(errors="replace"), path.suffix.lower()
        if kind not in KINDS:
            remarks[f"files of the kind {kind or 'without suffix'} are passed over"].append(name)
            continue
        if name != str(inside) or not path.is_file():
            skipped[name] = "is no regular file, or its name is no UTF-8."
            continue
        clip = normalize("NFC", inside.with_suffix("").as_posix())
        files = clips.setdefault(clip, {modality: [] for modality in MODALITIES})
        for modality, kinds in MODALITIES.items():
            if KINDS[kind] in kinds:
                files[modality].insert(0 if KINDS[kind] == VIDEOS else len(files[modality]), path)
    firsts: dict[str, str] = {}
    for clip, files in list(clips.items()):
        folder, slash, name = clip.rpartition("/")
        first = firsts.setdefault(folder + slash + name.casefold(), clip)
        if first != clip and not any(files[m] and clips[first][m] for m in MODALITIES):
            clips[first] = {m: clips[first][m] + some for m, some in clips.pop(clip).items()}
    if config.paired:
        clips = {name: files for name, files in clips.items() if all(files.values())}
    if not clips:
        what = "pair of pictures and sound" if config.paired else "media file"
        raise InputError(f"{config.folder}: holds no {what}.")
    return clips, skipped, remarks
