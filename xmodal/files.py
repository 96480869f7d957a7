"""A file or folder appears whole or not at all, and one process at a time writes it."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from xmodal.config import InputError

if TYPE_CHECKING:
    import pandas as pd

SHIPPED = Path(__file__).parent / "weights"
"""Runs that come with the package, a folder each."""
WEIGHTS = "model.safetensors"
"""The weights of a run that have the best validation recall."""


def hidden(path: Path, what: str) -> Path:
    """Return the hidden path beside a file or folder that serves to write it."""
    path = path.resolve()  # beside what a link points to
    return path.with_name(f".{path.name}.{what}")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep a file or folder for this process while the block runs.

    The kernel's lock on ``.NAME.lock`` ends with the process, however that ends. InputError if
    another process holds it, and in place of an OSError from the block.
    """
    lock = hidden(path, "lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock, timeout=0):
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
    except Timeout:
        raise InputError(
            f"{path}: another process is writing there; wait until it ends, or choose another place"
        ) from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}): free some space or choose "
            "another place; what was there before is unchanged"
        ) from error


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a path to write a file or folder to; it becomes ``path`` when the block ends well."""
    fresh = hidden(path, "partial")
    remove(fresh)  # a killed process left it
    fresh.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield fresh
        replace(path, fresh)
    finally:
        remove(fresh)


def replace(path: Path, fresh: Path) -> None:
    """Put a file or folder in the place of another; a killed process leaves one of them, whole."""
    recover(path)
    if path.is_dir():
        path.resolve().rename(hidden(path, "earlier"))
    fresh.replace(path.resolve())
    recover(path)


def recover(path: Path) -> None:
    """End what a killed `replace` began: put the earlier folder back, or remove it."""
    earlier = hidden(path, "earlier")
    if earlier.exists() and not path.exists():
        earlier.rename(path.resolve())
    remove(earlier)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; {} if there is none, or it is damaged."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def files_below(folder: Path) -> list[Path]:
    """Return all files in a folder and below, sorted; it follows links, each folder once."""
    found, seen = [], set()
    for top, folders, files in os.walk(folder, followlinks=True):
        if (place := os.path.realpath(top)) in seen:
            folders.clear()
        else:
            seen.add(place)
            found += [Path(top, name) for name in files]
    return sorted(found)


def require_empty(folder: Path, what: str) -> None:
    """Refuse to replace a folder that holds something else than ``what``; hidden files may stay."""
    inside = [path.name for path in folder.iterdir()] if folder.is_dir() else ["a file"]
    if folder.exists() and not all(name.startswith(".") for name in inside):
        raise InputError(
            f"{folder} holds something else than {what}, which is never replaced: choose another "
            "folder or remove it"
        )


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def spreadsheet(table: "pd.DataFrame", **options: Any) -> str:
    """Return a table as CSV that people open: no text in it is run as a formula.

    A text that begins with =, +, -, @, a tab or a line break gets an apostrophe in front. Numbers
    stay as they are. What a program reads again is written without this.
    """

    def safe(value: Any) -> Any:
        return f"'{value}" if isinstance(value, str) and value[:1] in {*"=+-−@\t\r\n"} else value

    return table.map(safe).to_csv(index=False, lineterminator="\n", **options)


def find_run(run: Path | str) -> Path:
    """Return the folder of a finished run: as given, or of weights that come with the package."""
    folder = Path(os.path.expanduser(run))
    if not folder.exists() and (SHIPPED / run).is_dir():
        folder = SHIPPED / run
        for name, sha256 in read_json(folder / "manifest.json").items():
            if not (folder / name).is_file() or digest(folder / name) != sha256:
                raise InputError(f"{folder / name} is damaged: install the package again")
    elif not (folder / "result.json").exists():
        raise InputError(f"{run} holds no finished training run: train it with `xmodal train`")
    return folder


def optional(name: str, needed: str) -> Any:
    """Import a module that comes with an extra, or say what is ``needed`` to install it."""
    try:
        return import_module(name)
    except (ImportError, RuntimeError) as error:  # RuntimeError: made for another build of torch
        raise InputError(f"{needed} ({name} cannot be imported: {error})") from None
