"""One file from a server to the disk: resumed where it stopped, and in place only when verified."""

import hashlib
import os
import re
import shutil
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock

import requests
from tqdm import tqdm

from xmodal.config import InputError
from xmodal.youtube8m.web import (
    BusyError,
    RefusedError,
    UnreachableError,
    WebConfig,
    answer,
    patiently,
)

CHUNK = 1 << 16
"""Bytes written at once: what an interruption can cost at most."""
STOPPING = 1.0
"""Seconds given to the transfers under way to end cleanly when all is stopped; our choice."""


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch: its address, its path when it is whole, and its MD5 (hexadecimal) then."""

    url: str
    path: Path
    md5: str

    @property
    def partial(self) -> Path:
        """Where the bytes are until they are all there: beside the target, hidden."""
        return self.path.with_name(f".{self.path.name}.partial")


class Progress:
    """One bar for the bytes of all files.

    No list of sizes exists beforehand: the total is estimated as the mean of the sizes seen so far
    times the number of files, and gets better with every file.
    """

    def __init__(self, files: int):
        self.files = files
        self.received = 0
        self.bar = tqdm(desc="fetching", unit="B", unit_scale=True, disable=None)
        self._sizes: dict[Path, int] = {}
        self._lock = Lock()

    def size(self, path: Path, size: int) -> None:
        """Note the whole size of a file."""
        with self._lock:
            self._sizes[path] = size
            self.bar.total = round(sum(self._sizes.values()) / len(self._sizes) * self.files)

    def keep(self, size: int) -> None:
        """Count bytes that an earlier call left, or (negative) that are thrown away."""
        with self._lock:
            self.bar.update(size)

    def add(self, size: int) -> None:
        """Count bytes that have just come."""
        with self._lock:
            self.received += size
            self.bar.update(size)


@dataclass
class Fetcher:
    """Fetches files over one session, and counts their bytes on one bar."""

    session: requests.Session
    config: WebConfig
    progress: Progress
    cancelled: Event = field(default_factory=Event)

    def fetch_all(self, files: list[RemoteFile], jobs: int) -> dict[Path, str]:
        """Fetch files, ``jobs`` at once; return the reason for each that failed, by its path.

        What would fail for all of them is raised and stops all; so does Ctrl-C.

        Raises
        ------
        UnreachableError, InputError, OSError
            There is no connection any more; the disk is too full, or cannot be written to.
        """
        failed = {}
        pool = ThreadPoolExecutor(jobs)
        futures = {pool.submit(self.fetch, file): file for file in files}
        try:
            for future in as_completed(futures):
                try:
                    future.result()
                except UnreachableError:
                    raise
                except (RefusedError, BusyError) as error:
                    failed[futures[future].path] = str(error)
        finally:
            self.cancelled.set()  # whatever is under way writes no more bytes from now on
            pool.shutdown(wait=False, cancel_futures=True)
            wait([future for future in futures if future.running()], timeout=STOPPING)
            self.progress.bar.close()
        return failed

    def fetch(self, file: RemoteFile) -> None:
        """Fetch a file into place, with what an earlier call left of it.

        When its MD5 is wrong it is fetched once more, from zero.

        Raises
        ------
        RefusedError, BusyError
            It cannot be had, or its MD5 is wrong twice; nothing broken is left.
        InputError, OSError
            The disk is too full, or cannot be written to.
        concurrent.futures.CancelledError
            ``cancelled`` was set; the partial stays as it is.
        """
        self.progress.keep(_size(file.partial))
        for _ in range(2):
            if not has_md5(file.partial, file.md5):
                patiently(self.config, self.cancelled)(self._stream, file)
            if has_md5(file.partial, file.md5):
                file.partial.replace(file.path)
                return
            self._discard(file)
        raise RefusedError(f"{file.url}: what the server sends has not the MD5 of the plan")

    def _stream(self, file: RemoteFile) -> None:
        """Ask for the bytes that are missing, and append them to the partial."""
        self._stop_if_cancelled()
        have = _size(file.partial)
        headers = {"Accept-Encoding": "identity"}  # or the range would count compressed bytes
        if have:
            headers["Range"] = f"bytes={have}-"
        with answer(self.session, file.url, self.config.timeout, headers) as response:
            if have and not _goes_on(response, have):
                self._discard(file)
                if response.status_code != 200:  # 416: the file is not as long as the partial
                    raise BusyError(f"{file.url}: the server cannot go on at byte {have}")
                have = 0  # the server knows no ranges and sends the whole file
            rest = response.headers.get("Content-Length", "")
            if rest.isdecimal():
                self.progress.size(file.path, have + int(rest))
                _require_space(file.path.parent, int(rest))
            with file.partial.open("ab") as out:
                for chunk in response.iter_content(CHUNK):  # raises when the body is cut short
                    self._stop_if_cancelled()
                    out.write(chunk)
                    self.progress.add(len(chunk))
                out.flush()
                os.fsync(out.fileno())  # or the name might outlive a power cut, and the bytes not

    def _discard(self, file: RemoteFile) -> None:
        self.progress.keep(-_size(file.partial))
        file.partial.unlink(missing_ok=True)

    def _stop_if_cancelled(self) -> None:
        if self.cancelled.is_set():
            raise CancelledError


def has_md5(path: Path, md5: str) -> bool:
    """Tell whether a file is there and has this MD5 (hexadecimal)."""
    try:
        with path.open("rb") as file:
            # Strict systems forbid MD5 for security; here it only finds damage.
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    except FileNotFoundError:
        return False
    return found.hexdigest() == md5


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _goes_on(response: requests.Response, have: int) -> bool:
    """Tell whether an answer begins at the byte asked for (RFC 9110, 14.4)."""
    said = response.headers.get("Content-Range", "")
    return response.status_code == 206 and bool(re.match(rf"bytes {have}-\d", said))


def _require_space(folder: Path, need: int) -> None:
    free = shutil.disk_usage(folder).free
    if need > free:
        raise InputError(
            f"{folder}: the next file needs {need / 1e6:.1f} MB and the disk has {free / 1e6:.1f} "
            "MB left; make room and give the same command again: what was fetched is kept."
        )
