"""Runs in a ZIP file: one to hand on, and what somebody else handed on, by path or address."""

import hashlib
import io
import json
import os
import re
import shutil
import zipfile
from pathlib import Path

from xmodal.config import InputError
from xmodal.files import atomic

WEIGHTS = "model.safetensors"
FILES = (WEIGHTS, "config.json", "result.json", "clips.safetensors", "README.md")
"""What a run that is handed on may hold, beside its manifest; nothing of it is executed."""
LARGEST = 4_000_000_000
"""Bytes that its files may have together; our choice."""


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def as_noted(path: Path, noted: str | None) -> bool:
    """Tell whether a file is there and has the SHA-256 that was noted of it."""
    return path.is_file() and digest(path) == noted


def write_manifest(folder: Path) -> None:
    """Note the SHA-256 of each file of a run's folder."""
    manifest = {name: digest(folder / name) for name in FILES if (folder / name).exists()}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def verify(folder: Path) -> Path:
    """Return a folder with a manifest; InputError if one of its files is not as it was made."""
    try:
        manifest = dict(json.loads((folder / "manifest.json").read_text()))
    except (OSError, ValueError, TypeError):
        raise InputError(f"{folder}/manifest.json is damaged: get the run again") from None
    for name in FILES:  # the manifest names no other file
        path = folder / name
        if (name in manifest or path.exists()) and not as_noted(path, manifest.get(name)):
            raise InputError(f"{path} is missing or not as it was made: get it again")
    return folder


def pack(folder: Path) -> str:
    """Write FOLDER.zip, the same bytes for the same run; return its SHA-256."""
    path = folder.with_name(f"{folder.name}.zip")
    with atomic(path) as fresh, zipfile.ZipFile(fresh, "w") as archive:
        for name in ("manifest.json", *(name for name in FILES if (folder / name).exists())):
            entry = zipfile.ZipInfo(f"{folder.name}/{name}")  # dated 1980
            archive.writestr(entry, (folder / name).read_bytes())
    return digest(path)


def is_packed(run: str) -> bool:
    """Tell whether a run is named by a ZIP file or an address."""
    return "://" in run or run.split("#")[0].endswith(".zip")


def unpacked(run: str) -> Path:
    """Return the folder of a run in a ZIP file, unpacked once, into ``$XDG_CACHE_HOME/xmodal``.

    A run is a path or an address, with ``#sha256=`` and the SHA-256 of the file, which is then
    verified; an address needs one. InputError if the file cannot be read, is another one, or holds
    anything but one run.
    """
    place, _, wanted = run.partition("#sha256=")
    if wanted and not re.fullmatch("[0-9a-f]{64}", wanted):
        raise InputError(f"{run}: a SHA-256 has 64 digits, 0 to 9 and a to f")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xmodal"
    if wanted and (cache / wanted / "manifest.json").exists():
        return verify(cache / wanted)
    if "://" in place:
        from xmodal.youtube8m.web import WebConfig, WebError, open_session, read  # slow to import

        if not wanted:
            raise InputError(f"{run}: an address needs #sha256= and the SHA-256 of the file")
        try:
            content = read(open_session(WebConfig()), place, WebConfig().timeout)
        except WebError as error:
            raise InputError(str(error)) from error
    else:
        try:
            content = Path(place).read_bytes()
        except OSError as error:
            raise InputError(f"{place}: cannot be read ({error.strerror})") from error
    found = hashlib.sha256(content).hexdigest()
    if wanted and found != wanted:
        raise InputError(f"{place} has the SHA-256 {found}, not {wanted}: it is another file")
    folder = cache / found
    if not (folder / "manifest.json").exists():
        _unpack(place, content, folder)
    return verify(folder)


def _unpack(place: str, content: bytes, folder: Path) -> None:
    """Unpack a run; names decide nothing, each file must be one that a run has."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = {Path(entry.filename).name: entry for entry in archive.infolist()}
            strange = set(entries) - {*FILES, "manifest.json"}
            if strange or len(entries) != len(archive.infolist()) or "manifest.json" not in entries:
                raise InputError(
                    f"{place} holds {', '.join(sorted(strange)) or 'no run'}: not used"
                )
            if sum(entry.file_size for entry in entries.values()) > LARGEST:
                raise InputError(f"{place} is larger unpacked than any run: not used")
            folder.mkdir(parents=True, exist_ok=True)
            for name in (*FILES, "manifest.json"):  # the manifest last: then the run is whole
                if name in entries:
                    with archive.open(entries[name]) as entry, (folder / name).open("wb") as file:
                        shutil.copyfileobj(entry, file)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error
    except Exception:  # zipfile raises some ten kinds for a damaged file
        raise InputError(f"{place} is no ZIP file, or a damaged one: get it again") from None
