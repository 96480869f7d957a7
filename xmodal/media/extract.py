"""From a folder of own videos, pictures and sounds to one file of paired features."""

import os
import sqlite3
from contextlib import closing
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field, field_validator
from tqdm import tqdm

from xmodal.config import InputError, StageConfig
from xmodal.files import atomic, files_below, locked
from xmodal.media.decode import NoTrackError, pictures, pyav, sound
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

    folder: Path = Field(description="folder searched for media files, with all folders below it")
    out: Path = Field(Path("features.npz"), description="file of features to write, .npz")
    encoders: Literal["packaged", "yt8m"] = Field(
        "packaged", description="packaged: nothing to download; yt8m: YouTube-8M's own"
    )
    files: Path | None = Field(None, description="folder with the files that yt8m needs")
    skip: tuple[str, ...] = Field((), description="names to leave out, as patterns such as *_desc*")
    paired: bool = Field(False, description="keep only clips with both pictures and sound")

    @field_validator("skip", mode="before")
    @classmethod
    def _one_is_enough(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("out")
    @classmethod
    def _is_npz(cls, value: Path) -> Path:
        if value.suffix != ".npz":
            raise ValueError("the file of features is to end in .npz")
        return value


class Extracted(NamedTuple):
    """What `extract` did: counts, and a frame (``file``, ``reason``) of what was passed over.

    ``clips`` were written, ``pairs`` of them with both modalities; ``embedded`` vectors are new,
    ``kept`` ones were there from an earlier call.
    """

    out: Path
    clips: int
    pairs: int
    embedded: int
    kept: int
    passed_over: pd.DataFrame

    def __str__(self) -> str:
        """Sum it up, with a line a file that was passed over."""
        lines = [
            f"{self.out}: {self.clips} clips, {self.pairs} with both pictures and sound; "
            f"{self.embedded} vectors embedded, {self.kept} kept from before"
        ]
        lines += [f"passed over: {file}: {reason}" for file, reason in self.passed_over.values]
        return "\n".join(lines)


def extract(config: ExtractConfig, encoders: Encoders | None = None) -> Extracted:
    """Embed the media files of a folder, and write their features to one file.

    ``encoders`` may be given in place of those that ``config`` names.

    Files of one folder and one name but for the suffix are a clip: ``a/cow.mp4``, or ``a/cow.png``
    and ``a/cow.ogg``. A clip may lack a modality. A broken file is reported and passed over, and
    loses nothing of the others. Each vector is noted in ``.NAME.done`` beside ``out`` as soon as it
    is there, so the same call goes on after an interruption, and later embeds only files that are
    new or changed, and tries again those that were broken.

    ``out`` holds ``visual`` (n, V) and ``audio`` (n, A), float32, rows of NaN where a clip lacks
    the modality; ``ids`` (n,), paths below ``folder`` without suffix; ``labels`` and ``group``
    (n,), the folders the clips are in, if there are folders; ``encoder``, the name of the set.

    Raises
    ------
    InputError
        There is nothing to embed, no file can be used, an encoder cannot be loaded, or ``out``
        cannot be written, or another process writes it.
    """
    clips, passed = find_media(config)
    pyav()  # without it, every file would be called broken
    encoders = encoders or open_encoders(config.encoders, config.files)
    vectors: dict[str, dict[str, np.ndarray]] = {}
    embedded = 0
    with locked(config.out), closing(_open_notes(config.out)) as notes:
        for clip, files in tqdm(clips.items(), "embedding", unit="clip", disable=None):
            vectors[clip] = {}
            for modality, path in ((m, f) for m, fs in files.items() for f in fs):
                if modality in vectors[clip]:
                    continue
                try:
                    vector, new = _noted(notes, path, modality, encoders)
                except InputError as error:
                    reason = str(error).removeprefix(f"{path}: ")
                    passed.append((path.relative_to(config.folder).as_posix(), reason))
                    continue
                if vector is not None:
                    vectors[clip][modality] = vector
                    embedded += new
        both = [clip for clip, found in vectors.items() if len(found) == len(MODALITIES)]
        kept = both if config.paired else [clip for clip, found in vectors.items() if found]
        table = pd.DataFrame(passed, columns=["file", "reason"]).drop_duplicates(ignore_index=True)
        if not kept:
            first = f" ({table.file[0]}: {table.reason[0]})" if len(table) else ""
            what = "holds both pictures and sound" if config.paired else "can be used"
            raise InputError(f"{config.folder}: not one of {len(clips)} clips {what}{first}.")
        _write(config.out, kept, vectors, encoders)
    return Extracted(
        config.out,
        len(kept),
        len(both),
        embedded,
        sum(map(len, vectors.values())) - embedded,
        table,
    )


def embed_file(path: Path, modality: str, encoders: Encoders) -> np.ndarray:
    """Embed the pictures (``visual``) or the sound (``audio``) of a file: float32.

    Raises
    ------
    NoTrackError
        The file holds nothing of the modality.
    InputError
        It cannot be decoded, or its features are not finite.
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
) -> tuple[dict[str, dict[str, list[Path]]], list[tuple[str, str]]]:
    """Return the files that may give each clip each modality, and (file, reason) of those unusable.

    Hidden files, and what is in hidden folders, are left out.
    """
    if not config.folder.is_dir():
        raise InputError(f"{config.folder}: is no folder.")
    clips: dict[str, dict[str, list[Path]]] = {}
    passed = []
    for path in files_below(config.folder):
        inside = path.relative_to(config.folder)
        kind = KINDS.get(path.suffix.lower())
        hidden = any(part.startswith(".") for part in inside.parts)
        skipped = any(fnmatch(name, p) for p in config.skip for name in (path.name, str(inside)))
        if kind is None or hidden or skipped:
            continue
        readable = os.fsencode(inside).decode(errors="replace")
        if readable != str(inside):
            passed.append((readable, "its name is no UTF-8."))
        elif not path.is_file():
            passed.append((inside.as_posix(), "is no regular file."))
        else:
            clip = clips.setdefault(inside.with_suffix("").as_posix(), {m: [] for m in MODALITIES})
            for modality, kinds in MODALITIES.items():
                if kind in kinds:
                    clip[modality].insert(0 if kind == VIDEOS else len(clip[modality]), path)
    if config.paired:
        clips = {name: files for name, files in clips.items() if all(files.values())}
    if not clips:
        what = "video, nor a picture and a sound of one name" if config.paired else "media file"
        raise InputError(f"{config.folder}: holds no {what}.")
    return clips, passed


def _open_notes(out: Path) -> sqlite3.Connection:
    """Open the notes of what is done, a small data base beside the file of features."""
    path = out.with_name(f".{out.name}.done")
    try:
        notes = sqlite3.connect(path)
        notes.execute(
            "CREATE TABLE IF NOT EXISTS done (file, modality, encoder, version, vector, "
            "PRIMARY KEY (file, modality, encoder))"
        )
    except (OSError, sqlite3.Error) as error:
        raise InputError(
            f"{path}: cannot be used ({error}); delete it, or choose another `out`."
        ) from None
    return notes


def _noted(
    notes: sqlite3.Connection, path: Path, modality: str, encoders: Encoders
) -> tuple[np.ndarray | None, bool]:
    """Return a file's vector, None for the sound of a silent video, and whether it is new."""
    found = path.stat()
    key = (os.path.abspath(path), modality, encoders.name)
    version = f"{found.st_size} bytes, {found.st_mtime_ns} ns"
    where = "file = ? AND modality = ? AND encoder = ? AND version = ?"
    row = notes.execute(f"SELECT vector FROM done WHERE {where}", (*key, version)).fetchone()
    if row:
        return None if row[0] is None else np.frombuffer(row[0], np.float32), False
    vector = None
    try:
        vector = embed_file(path, modality, encoders)
    except NoTrackError:
        if KINDS[path.suffix.lower()] != VIDEOS:
            raise
    blob = None if vector is None else vector.tobytes()
    try:
        with notes:
            values = (*key, version, blob)
            notes.execute("INSERT OR REPLACE INTO done VALUES (?, ?, ?, ?, ?)", values)
    except sqlite3.OperationalError as error:  # such as a full disk
        raise OSError(str(error)) from error
    return vector, True


def _write(
    out: Path, clips: list[str], vectors: dict[str, dict[str, np.ndarray]], encoders: Encoders
) -> None:
    """Write the features of some clips."""
    arrays: dict[str, np.ndarray] = {"ids": np.array(clips), "encoder": np.array(encoders.name)}
    for modality, size in (("visual", encoders.visual_dim), ("audio", encoders.audio_dim)):
        arrays[modality] = np.full((len(clips), size), np.nan, np.float32)
        for row, clip in enumerate(clips):
            if modality in vectors[clip]:
                arrays[modality][row] = vectors[clip][modality]
    folders = np.array([clip.rpartition("/")[0] for clip in clips])
    if folders.any():
        arrays |= {"labels": folders, "group": folders}
    with atomic(out) as fresh, fresh.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
