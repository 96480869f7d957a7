"""YouTube-8M from its servers: the shards of a download plan, and the vocabulary."""

import fcntl
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import requests
from pydantic import Field, field_validator
from tqdm import tqdm

from xmodal.config import InputError
from xmodal.data.vocabulary import read_vocabulary
from xmodal.youtube8m.plan import Source, in_part, parse_plan, safe_name
from xmodal.youtube8m.transfer import Fetcher, Progress, RemoteFile, has_md5
from xmodal.youtube8m.web import (
    BusyError,
    RefusedError,
    UnreachableError,
    WebConfig,
    open_session,
    patiently,
    read_answer,
)


class DownloadConfig(WebConfig):
    """What `download` fetches, from where and to where."""

    folder: Path = Field(description="Folder to fetch to: a subfolder a split, vocabulary.csv.")
    release: Literal[1, 2] = Field(
        2,
        description="Of YouTube-8M: 2 (2018, 3,862 classes) or 1 (2017, 4,716 classes), which "
        "Google announced to remove in 2018, so that only a mirror of your own may have it.",
    )
    splits: tuple[Literal["train", "validate"], ...] = Field(
        ("train", "validate"), min_length=1, description="Google's splits that have labels."
    )
    shards: tuple[int, int] = Field(
        (1, 1),
        description="m,n: the m-th of n parts of the shards, the parts of the data set's own "
        "script; 1,50 is about 2 % of them, always the same ones.",
    )
    mirror: str = Field(
        "us", description="us, eu or asia; or an address that serves the same paths as Google's."
    )
    jobs: int = Field(8, ge=1, le=32, description="Files fetched at once; our choice.")
    verify: bool = Field(
        False, description="Check what is there already too, and fetch what is damaged again."
    )

    @field_validator("shards", mode="before")
    @classmethod
    def _split_at_comma(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("shards")
    @classmethod
    def _is_a_part(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= value[0] <= value[1]:
            raise ValueError("m,n needs an m from 1 to n, as in 1,50")
        return value

    @field_validator("mirror")
    @classmethod
    def _is_a_server(cls, value: str) -> str:
        if value not in ("us", "eu", "asia") and not value.startswith(("http://", "https://")):
            raise ValueError("a mirror is us, eu, asia or an address that begins with http")
        return value.rstrip("/")


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
        """Tell it in a few lines, with the command to go on with."""
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
    call goes on in the middle of a file. Names are those that `safe_name` gives.

    Returns
    -------
    Downloaded
        What was fetched, what was there, and what failed with the reason for each.

    Raises
    ------
    InputError
        A plan cannot be had, the server cannot be reached any more, the disk is full, or the
        folder holds another release or is being filled by another process. What was fetched until
        then is kept.
    """
    begun = monotonic()
    with open_session(config.jobs) as session:
        files = [
            file
            for split in dict.fromkeys(config.splits)
            for file in _choose(session, config, split)
        ]
        if not files:
            raise InputError(
                f"the {config.shards[0]}. of {config.shards[1]} parts of the shards is empty; "
                "choose fewer parts or another one."
            )
        try:
            for split in config.splits:
                (config.folder / split).mkdir(parents=True, exist_ok=True)
            with _claimed(config):
                missing = _missing(config, files)
                fetcher = Fetcher(session, config, Progress(len(missing)))
                had_vocabulary, failed = _fetch_vocabulary(fetcher, config)
                failed |= fetcher.fetch_all(missing, config.jobs)
        except UnreachableError as error:
            raise InputError(f"{error}; the same command goes on when it is back.") from error
        except OSError as error:
            raise InputError(
                f"{config.folder}: cannot be written ({error.strerror}); make room or choose "
                "another folder: what was fetched is kept, and the same command goes on."
            ) from error
    present = len(files) - len(missing) + had_vocabulary
    return Downloaded(
        config.folder,
        len(files) + 1 - present - len(failed),
        present,
        {path.relative_to(config.folder).as_posix(): reason for path, reason in failed.items()},
        fetcher.progress.received,
        monotonic() - begun,
    )


def _choose(session: requests.Session, config: DownloadConfig, split: str) -> list[RemoteFile]:
    """Fetch the plan of a split, and choose the shards of the part asked for."""
    source = Source(config.mirror, config.release)
    url = source.plan(split)
    try:
        text = patiently(config, first_contact=True)(read_answer, session, url, config.timeout)
    except (BusyError, RefusedError) as error:
        raise InputError(
            f"{error}; nothing can be fetched without this download plan, so check the network, "
            f"the release ({config.release}), the split ({split}) and the mirror ({config.mirror})."
        ) from error
    return [
        RemoteFile(source.shard(split, name), config.folder / split / safe_name(name), md5)
        for name, md5 in sorted(parse_plan(text, url).items())
        if in_part(name, *config.shards)
    ]


@contextmanager
def _claimed(config: DownloadConfig) -> Iterator[None]:
    """Keep the folder for this process and this release; a killed process gives it back too."""
    with (config.folder / ".release").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{config.folder}: another process is fetching to this folder; wait until it ends."
            ) from None
        except OSError:
            pass  # some network file systems have no locks; then nothing keeps two apart
        file.seek(0)
        noted = file.read().strip()
        if noted not in ("", str(config.release)):
            raise InputError(
                f"{config.folder}: holds release {noted} of YouTube-8M; choose another folder for "
                f"release {config.release}."
            )
        if not noted:
            file.write(f"{config.release}\n")
            file.flush()
        yield


def _missing(config: DownloadConfig, files: list[RemoteFile]) -> list[RemoteFile]:
    """Return the files that are not there; with ``verify``, damaged ones are removed first."""
    if config.verify:
        there = [file for file in files if file.path.exists()]
        for file in tqdm(there, "verifying", unit="file", disable=None):
            if not has_md5(file.path, file.md5):
                file.path.unlink()
    return [file for file in files if not file.path.exists()]


def _fetch_vocabulary(fetcher: Fetcher, config: DownloadConfig) -> tuple[bool, dict[Path, str]]:
    """Fetch the vocabulary; return whether it was there already, and why it failed if it did.

    No plan names its MD5: that it can be read as a vocabulary has to do.
    """
    path = config.folder / "vocabulary.csv"
    url = Source(config.mirror, config.release).vocabulary()
    partial = path.with_name(f".{path.name}.partial")
    try:
        if config.verify and path.exists():
            read_vocabulary(path)
    except InputError:
        path.unlink()
    if path.exists():
        return True, {}
    try:
        text = patiently(config, first_contact=True)(
            read_answer, fetcher.session, url, config.timeout
        )
        partial.write_bytes(text)
        read_vocabulary(partial)
        partial.replace(path)
        fetcher.progress.received += len(text)
    except (BusyError, RefusedError) as error:
        return False, {path: str(error)}
    except InputError:
        return False, {path: f"{url}: is no YouTube-8M vocabulary"}
    finally:
        partial.unlink(missing_ok=True)
    return False, {}
