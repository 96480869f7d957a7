"""From clip ids to YouTube ids, asked of YouTube-8M's lookup service.

The features name a video by four letters or digits. For the clip ``ABCD`` the address
``/2/j/i/AB/ABCD.js`` answers ``i("ABCD","its YouTube id");`` as long as the video is public
(YouTube-8M, "Translating Video IDs").
"""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import requests
from pydantic import Field
from tqdm import tqdm

from xmodal.config import InputError
from xmodal.data.features import open_features
from xmodal.files import locked
from xmodal.youtube8m.web import WebConfig, WebError, open_session, read

CLIP_ID = "[A-Za-z0-9]{4}"
"""What YouTube-8M calls a video in release 2, as a regular expression."""
YOUTUBE_ID = "[A-Za-z0-9_-]{11}"
"""What YouTube calls it, and release 1."""
HEADER = "id,youtube_id"
SUSPICIOUS = 50
"""Deleted videos in a row that rather mean a wrong server; our choice."""


class ResolveConfig(WebConfig):
    """Which ids `resolve` asks for, and how; the rate is our choice."""

    features: Path | None = Field(None, description="feature set whose ids to resolve (01_data)")
    split: Literal["train", "validation", "evaluation"] = Field(
        "evaluation", description="split of the feature set"
    )
    ids: tuple[str, ...] = Field((), description="clip ids, besides those of the feature set")
    cache: Path = Field(Path("data/youtube_ids.csv"), description="CSV that is added to")
    rate: float = Field(10, gt=0, description="requests a second at most")
    server: str = Field(
        "http://data.yt8m.org", pattern="^https?://", description="address of the lookup service"
    )


@dataclass(frozen=True)
class Resolved:
    """How many ids `resolve` found, found deleted, and knew already."""

    found: int
    deleted: int
    known: int
    cache: Path

    def __str__(self) -> str:
        return (
            f"{self.cache}: {self.found} found, {self.deleted} deleted videos, "
            f"{self.known} already known"
        )


class Pace:
    """Called before each request, waits until there are no more of them than ``rate`` a second."""

    def __init__(self, rate: float):
        self.interval = 1 / rate
        self.next = time.monotonic()

    def __call__(self) -> None:
        now = time.monotonic()
        time.sleep(max(0.0, self.next - now))
        self.next = max(now, self.next) + self.interval


def resolve(config: ResolveConfig) -> Resolved:
    """Ask for the YouTube ids that the cache does not know, and add each to it at once.

    They are then in the cache, for `read_youtube_ids`.

    Raises
    ------
    InputError
        No ids are given or one is none of YouTube-8M's, the cache is another file or cannot be
        written, the server cannot be reached, or does not answer as the lookup service does. What
        is known until then is kept.
    """
    wanted = _wanted(config)
    known = read_youtube_ids(config.cache)
    asked = [clip for clip in wanted if clip not in known]
    found = in_row = 0
    pace = Pace(config.rate)
    with (
        locked(config.cache),
        open_session(config, before_retry=pace) as session,
        _open_cache(config.cache) as file,
    ):
        believed = file.tell()  # the answers up to here are beyond doubt
        for clip in tqdm(asked, "resolving", unit="id", disable=None):
            if of_youtube := re.fullmatch(YOUTUBE_ID, clip):
                youtube_id: str | None = of_youtube[0]
            else:
                pace()
                youtube_id = _look_up(session, config, clip)
            file.write(f"{clip},{youtube_id or ''}\n".encode())
            file.flush()
            if youtube_id:
                found, in_row, believed = found + 1, 0, file.tell()
                continue
            in_row += 1
            if in_row == SUSPICIOUS:
                file.truncate(believed)
                raise InputError(
                    f"{config.server}: {SUSPICIOUS} ids in a row were answered as deleted "
                    "videos are, which is hard to believe; check the address of the server "
                    "(none of these answers is kept)."
                )
    return Resolved(found, len(asked) - found, len(wanted) - len(asked), config.cache)


def read_youtube_ids(path: str | os.PathLike[str]) -> dict[str, str | None]:
    """Read what `resolve` noted.

    Parameters
    ----------
    path
        A CSV file with the columns ``id`` and ``youtube_id``. A last line without its line end was
        cut off by an interruption and does not count.

    Returns
    -------
    dict
        The YouTube id of each clip id, None for a deleted video; empty when there is no file.

    Raises
    ------
    InputError
        It is not such a file, or cannot be read.
    """
    try:
        text = Path(path).read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path.") from error
    header, *lines = text.split("\n")
    if not (header == HEADER if lines else HEADER.startswith(header)):
        raise InputError(f"{path}: is no CSV file of {HEADER}; choose another one.")
    known: dict[str, str | None] = {}
    for number, line in enumerate(lines[:-1], 2):
        row = re.fullmatch(f"({CLIP_ID}|{YOUTUBE_ID}),({YOUTUBE_ID})?", line)
        if not row:
            raise InputError(f"{path}: line {number} is not {HEADER}; mend or remove that line.")
        known[row[1]] = row[2]
    return known


def _open_cache(path: Path) -> BinaryIO:
    """Open the cache to add to it, without a last line that was cut off."""
    file = path.open("ab")
    file.truncate(path.read_bytes().rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)
    if not file.tell():
        file.write(f"{HEADER}\n".encode())
        file.flush()
    return file


def _wanted(config: ResolveConfig) -> list[str]:
    """Return the ids to resolve, each once."""
    ids = list(config.ids)
    if config.features is not None:
        ids += map(str, open_features(config.features, config.split).ids)
    if not ids:
        raise InputError("there are no ids to resolve; name a feature set, or ids.")
    for clip in ids:
        if not re.fullmatch(f"{CLIP_ID}|{YOUTUBE_ID}", clip):
            raise InputError(
                f"{clip!r} is no id of YouTube-8M, which has four letters or digits, or in release "
                "1 YouTube's eleven; clips of other data have no video to find."
            )
    return list(dict.fromkeys(ids))


def _look_up(session: requests.Session, config: ResolveConfig, clip: str) -> str | None:
    """Return the YouTube id of a clip, None if the video is deleted; InputError otherwise."""
    url = f"{config.server.rstrip('/')}/2/j/i/{clip[:2]}/{clip}.js"
    try:
        text = read(session, url, config.timeout).decode(errors="replace")
    except WebError as error:
        if error.status in (403, 404):
            return None
        raise InputError(
            f"{error}; check the network and the address of the server: what is known is kept in "
            f"{config.cache}, and the same command goes on."
        ) from error
    answered = re.fullmatch(rf'i\("{clip}","({YOUTUBE_ID})"\);\s*', text)
    if not answered:
        raise InputError(
            f"{url}: the answer is not that of the lookup service ({text[:40]!r}); check the "
            "address of the server."
        )
    return answered[1]
