"""Files and folders that are written whole or not at all, and by one process at a time."""

import errno
import fcntl
import os
import shlex
import shutil
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path

from xmodal.config import InputError

CLUTTER = (".*", "Thumbs.db", "desktop.ini")
"""What desktops, editors and file servers leave in any folder: kept, and no reason to refuse it."""
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


def beside(path: Path, what: str) -> Path:
    """Return the hidden path beside a file or folder that serves to write it."""
    path = path.resolve()  # of a link, beside what it points to
    return path.with_name(f".{path.name}.{what}")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep a file or folder for this process as long as the block runs, and tell what fails.

    The lock is the kernel's, on ``.NAME.lock`` beside it: it ends with the process, however that
    ends. On a file system without locks (a few network ones), or where no such file may be made,
    nothing keeps two processes apart. InputError if another process has it, which is named; or in
    place of an OSError from the block.
    """
    try:
        lock, held = beside(path, "lock"), None
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = _lock(path, lock)
            yield
        finally:
            if held is not None:
                lock.unlink(missing_ok=True)
                os.close(held)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); "
            f"{'free some space or ' if full else ''}choose another place: what is there "
            "already is kept, and the same command goes on."
        ) from error


def _lock(path: Path, lock: Path) -> int | None:
    """Open and lock a file, note in it who has it, and return its descriptor."""
    while True:
        try:
            held = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            if error.errno in NOT_ALLOWED:
                return None
            raise
        with suppress(FileNotFoundError):
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                who = os.pread(held, 1000, 0).decode(errors="replace") or "another process"
                os.close(held)
                raise InputError(
                    f"{path}: {who} is writing there; wait until it ends, or choose another place."
                ) from None
            except OSError:
                pass  # there are no locks here
            if os.path.samestat(os.fstat(held), lock.stat()):
                break
        os.close(held)  # the other process ended, and removed this file, just now
    who = f"process {os.getpid()} on {socket.gethostname()}, since {datetime.now():%F %T}"
    with suppress(OSError):  # a full disk is told by who fills it
        os.ftruncate(held, 0)
        os.pwrite(held, f"{who} ({shlex.join(sys.orig_argv)[:200]})".encode(), 0)
    return held


@contextmanager
def whole(path: Path, ours: Iterable[str] = ()) -> Iterator[Path]:
    """Give a path to write a file or folder to; it is moved to ``path`` when the block ends well.

    Until then ``path`` is as it was. Where two processes may write it, call `locked` first. Other
    files than ``ours`` (see `replace`) that are in a folder already stay in it.
    """
    fresh = beside(path, "partial")
    remove(fresh)  # a killed process left it
    fresh.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield fresh
        replace(path, fresh, ours)
    finally:
        remove(fresh)


def replace(path: Path, fresh: Path, ours: Iterable[str] = ()) -> None:
    """Put a file or folder in the place of another; one of them is there, whole, at any moment.

    Of a folder, all that is not ``ours`` (patterns of paths in it) is somebody's, and is copied
    along. A process that is killed between leaves the earlier folder for `settle` to put back.
    """
    path = path.resolve()
    settle(path)
    try:
        if path.is_dir():
            for inside in strangers(path, ours):
                (fresh / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path / inside, fresh / inside, follow_symlinks=False)
            path.rename(beside(path, "earlier"))
        fresh.replace(path)
    finally:
        settle(path)


def settle(path: Path) -> None:
    """End what a killed `replace` began: put the earlier folder back, or remove it."""
    earlier = beside(path, "earlier")
    if earlier.exists() and not path.exists():
        earlier.rename(path.resolve())
    else:
        remove(earlier)


def tidy(path: Path) -> None:
    """Remove what killed processes left beside a path that is whole, unless one writes it now."""
    if any(beside(path, what).exists() for what in ("earlier", "partial", "lock")):
        with suppress(InputError), locked(path):
            settle(path)
            remove(beside(path, "partial"))


def remove(path: Path) -> None:
    """Remove a file, or a folder with all in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def all_below(folder: Path) -> dict[str, Path]:
    """Return all files and folders in a folder and below, by their paths there, in their order.

    Links to folders are followed, each folder once. InputError if one cannot be read.
    """

    def failed(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}).") from error

    found: dict[str, Path] = {}
    seen = set()
    for top, folders, files in os.walk(folder, onerror=failed, followlinks=True):
        if (place := os.path.realpath(top)) in seen:
            folders.clear()
            continue
        seen.add(place)
        folders.sort()
        for name in files + folders:
            path = Path(top, name)
            found[path.relative_to(folder).as_posix()] = path
    return dict(sorted(found.items()))


def strangers(folder: Path, ours: Iterable[str]) -> list[Path]:
    """Return the files in a folder and below, as paths in it, that no pattern matches."""
    files = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    inside = [path.relative_to(folder) for path in files]
    return [path for path in inside if not any(fnmatch(path.as_posix(), some) for some in ours)]


def require_empty(folder: Path, what: str) -> None:
    """Refuse to write to a folder that holds anything but `CLUTTER`, and is so none of ours."""
    inside = [path.name for path in folder.iterdir()] if folder.is_dir() else ["a file"]
    if folder.exists() and not all(any(fnmatch(n, c) for c in CLUTTER) for n in inside):
        raise InputError(
            f"{folder}: holds something else than {what}, which is not replaced; choose another "
            "folder or remove it."
        )


def require_room(path: Path, need: int, written: int = 0, hint: str = "") -> None:
    """Refuse early what the disk cannot hold; ``written`` bytes are there from an earlier call."""
    place = next(parent for parent in path.resolve().parents if parent.exists())
    free = shutil.disk_usage(place).free + written
    if need > free:
        raise InputError(
            f"{path}: needs {need / 1e6:,.2f} MB and the disk has {free / 1e6:,.2f} MB left; free "
            f"some space or choose another folder{hint}."
        )
