"""From a folder of own videos, pictures and sounds to one file of paired features."""

import os
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field
from tqdm import tqdm

from xmodal.config import InputError, StageConfig
from xmodal.files import atomic, files_below, locked
from xmodal.media import optional
from xmodal.media.decode import NoTrackError, pictures, sound
from xmodal.media.encoders import Encoders, open_encoders

VIDEOS = "mp4 m4v mov mkv webm avi mpg mpeg ts mts m2ts ogv flv wmv 3gp"
PICTURES = "png jpg jpeg webp bmp gif tif tiff"
SOUNDS = "wav mp3 ogg oga opus flac m4a aac aif aiff wma amr caf"
KINDS = {f".{suffix}": kind for kind in (VIDEOS, PICTURES, SOUNDS) for suffix in kind.split()}
"""What a file is taken for; one with another suffix is not looked at."""
MODALITIES = {"visual": (VIDEOS, PICTURES), "audio": (VIDEOS, SOUNDS)}
"""Which kinds of files can give a clip a modality; the first that has it does."""


class ExtractConfig(StageConfig):
    """What `extract` reads, what it embeds it with, and where it writes."""

    folder: Path = Field(description="Folder searched for media files, with all folders below it")
    out: Path = Field(Path("features.npz"), description="File of features to write, .npz")
    encoders: Literal["packaged", "yt8m"] = Field(
        "packaged", description="packaged: nothing to download; yt8m: YouTube-8M's own"
    )
    files: Path | None = Field(None, description="Folder with the files that yt8m needs")
    visual_model: str | None = Field(None, description="Instead: Hugging Face model of pictures")
    audio_model: str | None = Field(None, description="With it: one of sound, by id or folder")
    skip: tuple[str, ...] = Field((), description="Names to leave out, as patterns such as *_desc*")
    paired: bool = Field(False, description="Keep only clips with both pictures and sound")
    apart: bool = Field(True, description="Let no two splits share a folder, for a fair measure")


class Extracted(NamedTuple):
    """What `extract` did: ``clips`` were written, ``pairs`` of them with both modalities.

    ``skipped`` maps each file that could not be used to the reason.
    """

    out: Path
    clips: int
    pairs: int
    skipped: dict[str, str]

    def __str__(self) -> str:
        """Sum it up, with a line for each file that was skipped."""
        counts = f"{self.clips} clips, {self.pairs} with both pictures and sound"
        lines = [f"skipped: {file}: {reason}" for file, reason in self.skipped.items()]
        return "\n".join([f"{self.out}: {counts}, {len(lines)} files skipped", *lines])


def extract(config: ExtractConfig, encoders: Encoders | None = None) -> Extracted:
    """Embed the media files of a folder (by other ``encoders``, if given), and write one file.

    Files of one folder and one name but for the suffix are a clip: ``a/cow.mp4``, or ``a/cow.png``
    and ``a/cow.ogg``. A clip may lack a modality. A file that cannot be used is reported and
    skipped; the others are not affected.

    ``out`` holds ``visual`` (n, V) and ``audio`` (n, A), float32, rows of NaN where a clip lacks
    the modality; ``ids`` (n,), paths below ``folder`` without suffix; ``labels`` and, if they are
    to be ``apart``, ``group`` (n,), the folders the clips are in, if there are folders;
    ``encoder``, the name of the set.

    InputError if no file can be used, an encoder cannot be loaded, or ``out`` cannot be written.
    """
    clips, skipped = find_media(config)
    optional("av")  # without it, every file would be called broken
    models = config.visual_model, config.audio_model
    encoders = encoders or open_encoders(config.encoders, config.files, models)
    vectors: dict[str, dict[str, np.ndarray]] = {modality: {} for modality in MODALITIES}
    with locked(config.out):
        for clip, files in tqdm(clips.items(), "embedding", unit="clip", disable=None):
            for modality, path in ((m, path) for m, paths in files.items() for path in paths):
                if clip in vectors[modality]:
                    continue
                try:
                    vectors[modality][clip] = embed_file(path, modality, encoders)
                except InputError as error:
                    video = KINDS[path.suffix.lower()] == VIDEOS
                    if not (video and isinstance(error, NoTrackError)):  # it may be silent
                        reason = str(error).removeprefix(f"{path}: ")
                        skipped.setdefault(path.relative_to(config.folder).as_posix(), reason)
        both = [clip for clip in clips if all(clip in found for found in vectors.values())]
        some = [clip for clip in clips if any(clip in found for found in vectors.values())]
        kept = both if config.paired else some
        if not kept:
            first = "".join(f" ({file}: {reason})" for file, reason in [*skipped.items()][:1])
            raise InputError(f"{config.folder}: not one of {len(clips)} clips can be used{first}.")
        arrays = {"ids": np.array(kept), "encoder": np.array(encoders.name)}
        for modality, size in (("visual", encoders.visual_dim), ("audio", encoders.audio_dim)):
            nothing = np.full(size, np.nan, np.float32)
            arrays[modality] = np.stack([vectors[modality].get(clip, nothing) for clip in kept])
        folders = np.array([clip.rpartition("/")[0] for clip in kept])
        if folders.any():
            arrays |= {"labels": folders} | ({"group": folders} if config.apart else {})
        with atomic(config.out) as fresh, fresh.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    return Extracted(config.out, len(kept), len(both), skipped)


def embed_file(path: Path, modality: str, encoders: Encoders) -> np.ndarray:
    """Embed the pictures (``visual``) or the sound (``audio``) of a file: float32, (size,).

    NoTrackError if it holds none; InputError if it cannot be decoded, or features are not finite.
    """
    if modality == "visual":
        vector = encoders.visual(pictures(path))
    else:
        vector = encoders.audio(sound(path, encoders.rate))
    if not np.isfinite(vector).all():
        raise InputError(f"{path}: its {modality} features are not finite; the file is damaged.")
    return vector


def find_media(
    config: ExtractConfig,
) -> tuple[dict[str, dict[str, list[Path]]], dict[str, str]]:
    """Return the files that may give each clip each modality, and why others are unusable.

    Hidden files, and what is in hidden folders, are left out.
    """
    if not config.folder.is_dir():
        raise InputError(f"{config.folder}: is no folder.")
    clips: dict[str, dict[str, list[Path]]] = {}
    skipped = {}
    for path in files_below(config.folder):
        inside = path.relative_to(config.folder)
        kind = KINDS.get(path.suffix.lower())
        hidden = any(part.startswith(".") for part in inside.parts)
        left_out = any(fnmatch(name, p) for p in config.skip for name in (path.name, str(inside)))
        if kind is None or hidden or left_out:
            continue
        name = os.fsencode(inside).decode(errors="replace")
        if name != str(inside) or not path.is_file():
            skipped[name] = "is no regular file, or its name is no UTF-8."
            continue
        clip = clips.setdefault(inside.with_suffix("").as_posix(), {m: [] for m in MODALITIES})
        for modality, kinds in MODALITIES.items():
            if kind in kinds:
                clip[modality].insert(0 if kind == VIDEOS else len(clip[modality]), path)
    if config.paired:
        clips = {name: files for name, files in clips.items() if all(files.values())}
    if not clips:
        what = "pair of pictures and sound" if config.paired else "media file"
        raise InputError(f"{config.folder}: holds no {what}.")
    return clips, skipped
