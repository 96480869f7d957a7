"""From clip ids to YouTube ids, asked of YouTube-8M's lookup service.

The features name a video by four letters or digits. For the clip ``ABCD`` the address
``/2/j/i/AB/ABCD.js`` answers ``i("ABCD","its YouTube id");`` as long as the video is public
(YouTube-8M, "Translating Video IDs").
"""

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import requests
from pydantic import Field
from tqdm import tqdm

from xmodal.config import InputError
from xmodal.data.features import open_features
from xmodal.youtube8m.web import (
    BusyError,
    RefusedError,
    WebConfig,
    open_session,
    patiently,
    read_answer,
)
from xmodal.youtube8m.youtube_ids import CLIP_ID, YOUTUBE_ID, open_cache, read_youtube_ids

SUSPICIOUS = 50
"""Deleted videos in a row that rather mean a wrong server; our choice."""


class ResolveConfig(WebConfig):
    """Which ids `resolve` asks for, and how."""

    features: Path | None = Field(None, description="Feature set whose ids to resolve (01_data).")
    split: Literal["train", "validation", "evaluation"] = Field(
        "evaluation", description="Split of the feature set."
    )
    ids: tuple[str, ...] = Field((), description="Clip ids, besides those of the feature set.")
    cache: Path = Field(
        Path("data/youtube_ids.csv"), description="CSV of what is known; it is added to."
    )
    rate: float = Field(10, gt=0, description="Requests a second at most; our choice.")
    server: str = Field(
        "http://data.yt8m.org",
        pattern="^https?://",
        description="Address of the lookup service, without /2/j/i.",
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


def resolve(config: ResolveConfig) -> Resolved:
    """Ask for the YouTube ids that the cache does not know, and add each to it at once.

    Returns
    -------
    Resolved
        The numbers; the ids themselves are in the cache, for `read_youtube_ids`.

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
    found = 0
    try:
        with open_session() as session, open_cache(config.cache) as file:
            lookup = Lookup(session, config)
            believed = file.tell()  # the answers up to here are beyond doubt
            in_row = 0
            for clip in tqdm(asked, "resolving", unit="id", disable=None):
                youtube_id = lookup.ask(clip)
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
    except OSError as error:
        raise InputError(
            f"{config.cache}: cannot be written ({error.strerror}); what it holds is kept, and the "
            "same command goes on."
        ) from error
    return Resolved(found, len(asked) - found, len(wanted) - len(asked), config.cache)


def _wanted(config: ResolveConfig) -> list[str]:
    """Return the ids to resolve, each once."""
    ids = list(config.ids)
    if config.features is not None:
        ids += map(str, open_features(config.features, config.split).ids)
    if not ids:
        raise InputError("there are no ids to resolve; name a feature set, or ids.")
    for clip in ids:
        if not re.fullmatch(CLIP_ID, clip):
            raise InputError(
                f"{clip!r} is no id of YouTube-8M, which has four letters or digits; clips of the "
                "synthetic sample, or of other data, have no video to find."
            )
    return list(dict.fromkeys(ids))


class Lookup:
    """The lookup service, asked one id at a time and never more often than allowed."""

    def __init__(self, session: requests.Session, config: ResolveConfig):
        self.session = session
        self.config = config
        self._next = time.monotonic()
        self._reached = False

    def ask(self, clip: str) -> str | None:
        """Return the YouTube id of a clip, None if the video is deleted; InputError otherwise."""
        url = f"{self.config.server.rstrip('/')}/2/j/i/{clip[:2]}/{clip}.js"
        try:
            retry = patiently(self.config, first_contact=not self._reached)
            text = retry(self._ask_once, url).decode("utf-8", "replace")
        except BusyError as error:
            raise InputError(
                f"{error}; what is known is kept in {self.config.cache}, and the same command "
                "goes on."
            ) from error
        except RefusedError as error:
            if error.status not in (403, 404):
                raise InputError(f"{error}; check the address of the server.") from error
            self._reached = True
            return None
        self._reached = True
        answered = re.fullmatch(rf'i\("{clip}","({YOUTUBE_ID})"\);\s*', text)
        if not answered:
            raise InputError(
                f"{url}: the answer is not that of the lookup service ({text[:40]!r}); check the "
                "address of the server."
            )
        return answered[1]

    def _ask_once(self, url: str) -> bytes:
        now = time.monotonic()
        time.sleep(max(0.0, self._next - now))
        self._next = max(now, self._next) + 1 / self.config.rate
        return read_answer(self.session, url, self.config.timeout)
