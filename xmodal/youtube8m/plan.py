"""Download plans of YouTube-8M: where the shards are, which belong to a part, what to call them.

A plan is JSON, ``{"files": {name: md5}}``. Shard names end in two characters of upper and lower
case (``trainaA.tfrecord`` and ``trainAa.tfrecord``), so some collide on the file systems that do
not tell the cases apart; files on disk therefore have other names (our choice, see `safe_name`).
"""

import re
from dataclasses import dataclass
from hashlib import md5
from typing import Annotated

from pydantic import BaseModel, StringConstraints, ValidationError

from xmodal.config import InputError

LEVELS = {1: "video_level", 2: "video"}
"""What each release calls its video-level features (YouTube-8M's download page)."""


@dataclass(frozen=True)
class Source:
    """The addresses of a release: Google's us, eu or asia, or a mirror with the same paths."""

    mirror: str
    release: int

    def plan(self, split: str) -> str:
        """Address of the download plan of a split."""
        base = self._own or "http://data.yt8m.org"
        return f"{base}/{self.release}/download_plans/{LEVELS[self.release]}_{split}.json"

    def shard(self, split: str, name: str) -> str:
        """Address of a shard."""
        base = self._own or f"http://{self.mirror}.data.yt8m.org"
        return f"{base}/{self.release}/{LEVELS[self.release]}/{split}/{name}"

    def vocabulary(self) -> str:
        """Address of the vocabulary."""
        base = self._own or "https://research.google.com/youtube8m"
        return f"{base}/csv/{self.release}/vocabulary.csv"

    @property
    def _own(self) -> str:
        return self.mirror if self.mirror.startswith("http") else ""


class Plan(BaseModel):
    """The MD5 (hexadecimal) of each shard, by name; a name is never a path, nor hidden."""

    files: dict[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$")],
        Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")],
    ]


def parse_plan(text: bytes, url: str) -> dict[str, str]:
    """Read a plan.

    Returns
    -------
    dict
        The MD5 (hexadecimal) of each shard, by name.

    Raises
    ------
    InputError
        It is no such plan; the message names ``url``, where it came from.
    """
    try:
        return Plan.model_validate_json(text).files
    except ValidationError as error:
        raise InputError(f"{url}: is no YouTube-8M download plan; try another mirror.") from error


def in_part(name: str, part: int, parts: int) -> bool:
    """Tell whether a shard belongs to the ``part``-th (from 1) of ``parts`` parts of the data set.

    The MD5 of its name decides, as in YouTube-8M's own download script (``shard=m,n``).
    """
    digest = md5(name.encode(), usedforsecurity=False).hexdigest()
    return int(digest, 16) % parts == part - 1


def safe_name(name: str) -> str:
    """Return a name that no other shard's differs from in upper and lower case alone.

    An upper-case letter becomes ``_`` and its lower-case form, ``_`` becomes ``__``:
    ``trainaA.tfrecord`` is ``traina_a.tfrecord`` on disk. `original_name` is the inverse.
    """
    return re.sub("[A-Z_]", lambda found: "_" + found[0].lower(), name)


def original_name(name: str) -> str:
    """Return the shard name that `safe_name` was given."""
    return re.sub("_([a-z_])", lambda found: found[1].upper(), name)
