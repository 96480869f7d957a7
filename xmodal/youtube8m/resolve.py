"""From clip ids to YouTube ids, asked of YouTube-8M's lookup service.

For the clip ``ABCD`` the address ``/2/j/i/AB/ABCD.js`` answers ``i("ABCD","its YouTube id");`` as
long as the video is public (YouTube-8M, "Translating Video IDs").
"""

import os
import re
import time
from pathlib import Path
from typing import Literal

import requests
from pydantic import Field
from tqdm import tqdm

from xmodal.config import InputError, StageConfig
from xmodal.data.features import open_features
from xmodal.files import locked
from xmodal.youtube8m import TIMEOUT, open_session

CLIP_ID = "[A-Za-z0-9]{4}"
"""What YouTube-8M calls a video (release 2), as a regular expression."""
YOUTUBE_ID = "[A-Za-z0-9_-]{11}"
"""What YouTube calls it."""
HEADER = "id,youtube_id\n"


class ResolveConfig(StageConfig):
    """Which ids `resolve` asks for, and how; the rate is our choice."""

    features: Path | None = Field(None, description="Feature set whose clips are looked up")
    split: Literal["train", "validation", "evaluation"] = Field(
        "evaluation", description="Split of the feature set"
    )
    ids: tuple[str, ...] = Field((), description="Clip ids to look up as well")
    cache: Path = Field(Path("data/youtube_ids.csv"), description="CSV that answers are added to")
    rate: float = Field(10, gt=0, description="Requests a second at most")
    server: str = Field("http://data.yt8m.org", description="Address of the lookup service")


def resolve(config: ResolveConfig) -> dict[str, int]:
    """Ask for the YouTube ids that the cache does not know, and add each answer to it at once.

    Returns how many were found, are of deleted videos, and were already known.

    InputError if no ids are given or one is none of YouTube-8M's, the cache is another file or
    cannot be written, or the server does not answer as the lookup service does. What is known
    until then is kept.
    """
    ids = list(config.ids)
    if config.features is not None:
        ids += map(str, open_features(config.features, config.split).ids)
    if not ids:
        raise InputError("there are no ids to resolve; name a feature set, or ids.")
    for clip in ids:
        if not re.fullmatch(CLIP_ID, clip):
            raise InputError(f"{clip!r} is no id of YouTube-8M: those are four letters or digits.")
    known, found = read_youtube_ids(config.cache), 0
    asked = [clip for clip in dict.fromkeys(ids) if clip not in known]
    with locked(config.cache), open_session() as session, config.cache.open("a") as cache:
        if not cache.tell():
            cache.write(HEADER)
        for clip in tqdm(asked, "resolving", unit="id", disable=None):
            youtube_id = _look_up(session, config, clip)
            found += youtube_id is not None
            cache.write(f"{clip},{youtube_id or ''}\n")
            cache.flush()
    known_before = len(set(ids)) - len(asked)
    return {"found": found, "deleted": len(asked) - found, "known": known_before}


def read_youtube_ids(path: str | os.PathLike[str]) -> dict[str, str | None]:
    """Read the YouTube id of each clip that `resolve` noted: None for a deleted video.

    Nothing is known where there is no file. InputError if it is another file or cannot be read.
    """
    try:
        header, *lines = Path(path).read_text().splitlines(keepends=True) or [HEADER]
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); check the path.") from error
    rows = [re.fullmatch(f"({CLIP_ID}),({YOUTUBE_ID})?\n", line) for line in lines]
    if header != HEADER or not all(rows):
        raise InputError(f"{path}: a line is no {HEADER.strip()}; mend it or choose another file.")
    return {row[1]: row[2] for row in rows if row}


def _look_up(session: requests.Session, config: ResolveConfig, clip: str) -> str | None:
    """Return the YouTube id of a clip, or None if the video is deleted."""
    time.sleep(1 / config.rate)
    url = f"{config.server.rstrip('/')}/2/j/i/{clip[:2]}/{clip}.js"
    try:
        response = session.get(url, timeout=TIMEOUT)
        if response.status_code in (403, 404):
            return None
        response.raise_for_status()
        if answer := re.fullmatch(rf'i\("{clip}","({YOUTUBE_ID})"\);\s*', response.text):
            return answer[1]
        told = "something else"
    except OSError as error:  # of requests, or no certificates
        told = str(error)
    raise InputError(f"{url}: no answer of a lookup service ({told}); check the server, try later.")
