"""YouTube-8M from its servers: the shards of a download plan, and the vocabulary.

A plan is JSON, ``{"files": {name: md5}}``. The names of some shards differ in upper and lower case
alone (``trainaA`` and ``trainAa``), so files on disk have other names (our choice: `safe_name`).
"""

import hashlib
import os
import re
from multiprocessing.pool import ThreadPool
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Literal

import pooch
import requests
from pydantic import BaseModel, Field, PositiveInt, ValidationError
from tqdm import tqdm

from xmodal.config import InputError, StageConfig
from xmodal.data.vocabulary import read_vocabulary
from xmodal.files import locked
from xmodal.youtube8m import TIMEOUT, open_session

VOCABULARY = "vocabulary.csv"


class DownloadConfig(StageConfig):
    """What `download` fetches, from where and to where; the number of jobs is our choice."""

    folder: Path = Field(description="Folder for the vocabulary, and a subfolder for each split")
    splits: tuple[Literal["train", "validate"], ...] = Field(
        ("train", "validate"), min_length=1, description="Google's splits that have labels"
    )
    shards: tuple[PositiveInt, PositiveInt] = Field(
        (1, 1), description="m,n: the m-th of n parts; 1,50 is about 2%, always the same shards"
    )
    release: int = Field(2, ge=1, le=2, description="1 (2017) or 2 (2018), whose classes differ")
    mirror: str = Field(
        "us",
        pattern="^(us|eu|asia|https?://.*)$",
        description="us, eu or asia; or an address that serves the same paths as Google's",
    )
    jobs: int = Field(8, ge=1, le=32, description="Files fetched at once")


class Plan(BaseModel):
    """The MD5 (hexadecimal) of each shard, by name; a name is never a path, nor hidden."""

    files: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$")],
        Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")],
    ]


def download(config: DownloadConfig) -> dict[str, str]:
    """Fetch shards and the vocabulary, or what is missing or damaged of them.

    A shard has its name, ``folder/split/name`` as `safe_name` gives it, only when its MD5 is that
    of the plan; after an interruption of any kind the same call goes on. Returns what became of
    each path below ``folder``: "fetched", "present", or why it failed.

    InputError if there is no plan, the part of the shards is empty, the disk is full, or another
    process fills the folder. What was fetched until then is kept.
    """
    pooch.get_logger().setLevel("WARNING")  # else it prints a line for each file
    files = pooch.create(config.folder, "", retry_if_failed=1)
    with open_session(config.jobs) as session, locked(config.folder):
        _choose(files, session, config)
        for split in config.splits:
            (config.folder / split).mkdir(parents=True, exist_ok=True)
        for unfinished in config.folder.rglob("tmp????????"):  # a killed call left it
            unfinished.unlink()

        def save(url: str, path: str, _: pooch.Pooch) -> None:
            """Write what an address holds to a file that pooch has made."""
            response = session.get(url, timeout=TIMEOUT)
            response.raise_for_status()
            os.remove(path)  # only its owner could read it
            Path(path).write_bytes(response.content)
            if url == files.urls[VOCABULARY]:
                read_vocabulary(path)

        def fetch(path: str) -> tuple[str, str]:
            """Fetch a file where needed; return what became of it."""
            try:
                action = files.fetch(path, lambda _, action, __: action, save)
            except (requests.RequestException, ValueError) as error:
                return path, str(error)
            return path, "present" if action == "fetch" else "fetched"

        with ThreadPool(config.jobs) as pool:  # of daemons: Ctrl-C waits for none
            run = pool.imap_unordered(fetch, files.urls)
            try:
                done = dict(tqdm(run, "fetching", len(files.urls), unit="file", disable=None))
            except OSError:  # the folder is kept until no thread writes to it
                pool.terminate()
                pool.join()
                raise
    return dict(sorted(done.items()))


def _choose(files: pooch.Pooch, session: requests.Session, config: DownloadConfig) -> None:
    """Note address and hash of each file to fetch, by its path below the folder."""
    plans = shards = vocabulary = config.mirror.rstrip("/")
    if not config.mirror.startswith("http"):
        plans, shards = "http://data.yt8m.org", f"http://{config.mirror}.data.yt8m.org"
        vocabulary = "https://research.google.com/youtube8m"
    files.urls[VOCABULARY] = f"{vocabulary}/csv/{config.release}/{VOCABULARY}"
    files.registry[VOCABULARY] = None  # nobody publishes its MD5
    level = {1: "video_level", 2: "video"}[config.release]
    for split in config.splits:
        url = f"{plans}/{config.release}/download_plans/{level}_{split}.json"
        try:
            response = session.get(url, timeout=TIMEOUT)
            response.raise_for_status()
            plan = Plan.model_validate_json(response.content).files
        except (OSError, ValidationError) as error:  # OSError: of requests, or no certificates
            raise InputError(
                f"{url}: there is no download plan ({shorten(str(error), 200)}); check the network "
                "and the mirror."
            ) from error
        for name, md5 in plan.items():
            if in_part(name, *config.shards):
                path = f"{split}/{safe_name(name)}"
                files.urls[path] = f"{shards}/{config.release}/{level}/{split}/{name}"
                files.registry[path] = f"md5:{md5}"
    if len(files.urls) == 1:
        raise InputError(f"part {config.shards} of the shards is empty; choose fewer parts.")


def in_part(name: str, part: int, parts: int) -> bool:
    """Tell by the MD5 of its name whether a shard is in a part, as YouTube-8M's script does."""
    digest = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
    return int(digest, 16) % parts == part - 1


def safe_name(name: str) -> str:
    """Return a name that no other shard's differs from in upper and lower case alone.

    An upper-case letter becomes ``_`` and its lower-case form, ``_`` becomes ``__``:
    ``trainaA.tfrecord`` is ``traina_a.tfrecord`` on disk.
    """
    return re.sub("[A-Z_]", lambda found: "_" + found[0].lower(), name)
