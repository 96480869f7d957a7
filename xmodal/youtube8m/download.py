"""YouTube-8M from its servers: the shards of a download plan, and the vocabulary.

A plan is JSON, ``{"files": {name: md5}}``. Shard names end in two characters of upper and lower
case (``trainaA.tfrecord`` and ``trainAa.tfrecord``), so some collide on the file systems that do
not tell the cases apart; files on disk therefore have other names (our choice, see `safe_name`).
"""

import hashlib
import os
import re
import shlex
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from threading import Event, Lock
from time import monotonic
from typing import Annotated, Any, Literal

import requests
from pydantic import BaseModel, Field, StringConstraints, ValidationError, field_validator
from tqdm import tqdm

from xmodal.config import InputError
from xmodal.data.vocabulary import read_vocabulary
from xmodal.files import locked
from xmodal.youtube8m.web import UnreachableError, WebConfig, WebError, open_session, read


class DownloadConfig(WebConfig):
    """What `download` fetches, from where and to where; the number of jobs is our choice."""

    folder: Path = Field(description="folder to fetch to: a subfolder a split, vocabulary.csv")
    release: int = Field(
        2,
        ge=1,
        le=2,
        description="2 (2018), or 1 (2017), which only a mirror of your own may still have",
    )
    splits: tuple[Literal["train", "validate"], ...] = Field(
        ("train", "validate"), min_length=1, description="Google's splits that have labels"
    )
    shards: tuple[int, int] = Field(
        (1, 1), description="m,n: the m-th of n parts; 1,50 is about 2 %, always the same shards"
    )
    mirror: str = Field(
        "us", description="us, eu or asia; or an address that serves the same paths as Google's"
    )
    jobs: int = Field(8, ge=1, le=32, description="files fetched at once")
    verify: bool = Field(False, description="check what is there, fetch what is damaged again")

    @field_validator("shards", mode="wrap")
    @classmethod
    def _is_a_part(cls, value: Any, parse: Callable[[Any], tuple[int, int]]) -> tuple[int, int]:
        part, parts = parse(value.split(",") if isinstance(value, str) else value)
        if not 1 <= part <= parts:
            raise ValueError("m,n needs an m from 1 to n, as in 1,50")
        return part, parts

    @field_validator("mirror")
    @classmethod
    def _is_a_server(cls, value: str) -> str:
        if value not in ("us", "eu", "asia") and not value.startswith(("http://", "https://")):
            raise ValueError("a mirror is us, eu, asia or an address that begins with http")
        return value.rstrip("/")

    def url(self, path: str, google: str = "http://data.yt8m.org") -> str:
        """Return the address of a path on a server of Google's, or on a mirror of one's own."""
        return f"{self.mirror if self.mirror.startswith('http') else google}/{path}"


class Plan(BaseModel):
    """The MD5 (hexadecimal) of each shard, by name; a name is never a path, nor hidden."""

    files: dict[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$")],
        Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")],
    ]


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch: its address, its path when it is whole, and its MD5 (hexadecimal) then.

    No plan names the MD5 of the vocabulary (None): that it can be read has to do.
    """

    url: str
    path: Path
    md5: str | None

    def is_whole(self, path: Path) -> bool:
        """Tell whether the file at ``path`` is this one, undamaged."""
        if self.md5:  # strict systems forbid MD5 for security; here it only finds damage
            return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == self.md5
        try:
            return bool(read_vocabulary(path))
        except InputError:
            return False

    def put(self, content: bytes) -> bool:
        """Write the file under a temporary name, and give it its own if it is whole."""
        partial = self.path.with_name(f".{self.path.name}.partial")
        try:
            with partial.open("wb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())  # or the name might outlive a power cut, and the bytes not
            if whole := self.is_whole(partial):
                partial.replace(self.path)
            return whole
        finally:
            partial.unlink(missing_ok=True)


@dataclass(frozen=True)
class Downloaded:
    """What a call of `download` did; ``failed`` maps a path below ``folder`` to the reason."""

    folder: Path
    fetched: int
    present: int
    failed: dict[str, str]
    received: int
    seconds: float

    def __str__(self) -> str:
        """Sum it up in a few lines, with the command to go on with."""
        rate = self.received / max(self.seconds, 1e-9)
        lines = [
            f"{self.folder}: {self.fetched} files fetched, {self.present} already there, "
            f"{len(self.failed)} failed; {self.received / 1e6:.1f} MB in {self.seconds:.1f} s "
            f"({rate / 1e6:.1f} MB/s)"
        ]
        lines += [f"failed: {path}: {reason}" for path, reason in self.failed.items()]
        if not self.failed:
            shards = shlex.quote(str(self.folder))
            vocabulary = shlex.quote(str(self.folder / "vocabulary.csv"))
            lines.append(f"next: make yt8m SHARDS={shards} VOCABULARY={vocabulary}")
            lines.append(
                f"or:   xmodal prepare shards={shards} vocabulary={vocabulary} out=FEATURES"
            )
        return "\n".join(lines)


def download(config: DownloadConfig) -> Downloaded:
    """Fetch shards and the vocabulary, or what is still missing of them.

    A shard has its final name, ``folder/split/name``, only when it is whole and its MD5 is that of
    the plan; so what is there is not fetched again, and after an interruption of any kind the same
    call goes on with the files that are missing. Names are those that `safe_name` gives.

    Raises
    ------
    InputError
        A plan cannot be had, the server cannot be reached any more, the disk is full, or the
        folder holds another release or is being filled by another process. What was fetched until
        then is kept.
    """
    begun = monotonic()
    stopped = Event()
    with open_session(config, config.jobs, lambda: _go_on(stopped)) as session:
        splits = dict.fromkeys(config.splits)
        files = [file for split in splits for file in _choose(session, config, split)]
        if not files:
            raise InputError(
                f"the {config.shards[0]}. of {config.shards[1]} parts of the shards is empty; "
                "choose fewer parts or another one."
            )
        vocabulary = config.url(
            f"csv/{config.release}/vocabulary.csv", "https://research.google.com/youtube8m"
        )
        files.insert(0, RemoteFile(vocabulary, config.folder / "vocabulary.csv", None))
        try:
            with locked(config.folder):
                for split in splits:
                    (config.folder / split).mkdir(parents=True, exist_ok=True)
                _note_release(config)
                if config.verify:
                    for file in tqdm(files, "verifying", unit="file", disable=None):
                        if file.path.exists() and not file.is_whole(file.path):
                            file.path.unlink()
                missing = [file for file in files if not file.path.exists()]
                received, failed = _fetch(session, config, missing, stopped)
        except UnreachableError as error:
            raise InputError(f"{error}; the same command goes on when it is back.") from error
    fetched, present = len(missing) - len(failed), len(files) - len(missing)
    return Downloaded(config.folder, fetched, present, failed, received, monotonic() - begun)


def _choose(session: requests.Session, config: DownloadConfig, split: str) -> list[RemoteFile]:
    """Fetch the plan of a split, and choose the shards of the part asked for."""
    level = {1: "video_level", 2: "video"}[config.release]
    url = config.url(f"{config.release}/download_plans/{level}_{split}.json")
    try:
        plan = Plan.model_validate_json(read(session, url, config.timeout)).files
    except WebError as error:
        raise InputError(
            f"{error}; nothing can be fetched without this download plan, so check the network, "
            f"the release ({config.release}), the split ({split}) and the mirror ({config.mirror})."
        ) from error
    except ValidationError as error:
        raise InputError(f"{url}: is no YouTube-8M download plan; try another mirror.") from error
    google = f"http://{config.mirror}.data.yt8m.org"
    shards = config.url(f"{config.release}/{level}/{split}", google)
    return [
        RemoteFile(f"{shards}/{name}", config.folder / split / safe_name(name), md5)
        for name, md5 in sorted(plan.items())
        if in_part(name, *config.shards)
    ]


def in_part(name: str, part: int, parts: int) -> bool:
    """Tell whether a shard is in the ``part``-th of ``parts`` parts, as YouTube-8M's script does.

    The MD5 of its name decides (``shard=m,n``).
    """
    digest = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
    return int(digest, 16) % parts == part - 1


def safe_name(name: str) -> str:
    """Return a name that no other shard's differs from in upper and lower case alone.

    An upper-case letter becomes ``_`` and its lower-case form, ``_`` becomes ``__``:
    ``trainaA.tfrecord`` is ``traina_a.tfrecord`` on disk.
    """
    return re.sub("[A-Z_]", lambda found: "_" + found[0].lower(), name)


def _note_release(config: DownloadConfig) -> None:
    """Keep the folder for one release."""
    note = config.folder / ".release"
    noted = note.read_text().strip() if note.exists() else ""
    if noted not in ("", str(config.release)):
        raise InputError(
            f"{config.folder}: holds release {noted} of YouTube-8M; choose another folder for "
            f"release {config.release}."
        )
    note.write_text(f"{config.release}\n")


def _fetch(
    session: requests.Session, config: DownloadConfig, files: list[RemoteFile], stopped: Event
) -> tuple[int, dict[str, str]]:
    """Fetch files, some at once; return the bytes received, and the reason for each that failed.

    What would fail for all of them is raised and stops all; so does Ctrl-C.
    """
    writing = Lock()

    def fetch(file: RemoteFile) -> tuple[RemoteFile, int, str]:
        try:
            for _ in range(2):  # a wrong MD5 is worth a second try
                _go_on(stopped)
                content = read(session, file.url, config.timeout)
                with writing:
                    _go_on(stopped)
                    if file.put(content):
                        return file, len(content), ""
        except WebError as error:
            if isinstance(error, UnreachableError) and file.md5:
                raise  # the vocabulary's server is another one than that of all shards
            return file, 0, str(error)
        what = "has not the MD5 of the plan" if file.md5 else "is no YouTube-8M vocabulary"
        return file, 0, f"{file.url}: what the server sends {what}"

    received, failed = 0, {}
    bar = tqdm(total=len(files), desc="fetching", unit="file", disable=None)
    with bar, ThreadPool(config.jobs) as pool:  # its threads are daemons: none is waited for
        try:
            for file, size, reason in pool.imap_unordered(fetch, files):
                received += size
                if reason:
                    failed[file.path.relative_to(config.folder).as_posix()] = reason
                bar.set_postfix_str(f"{received / 1e6:.1f} MB", refresh=False)
                bar.update()
        finally:
            with writing:  # no file is half written, and none is begun from now on
                stopped.set()
    return received, dict(sorted(failed.items()))


def _go_on(stopped: Event) -> None:
    if stopped.is_set():
        raise CancelledError
