"""The YouTube ids that are known: a CSV file that grows line by line."""

import os
import re
from pathlib import Path
from typing import BinaryIO

from xmodal.config import InputError

CLIP_ID = "[A-Za-z0-9]{4}"
"""What YouTube-8M calls a video, as a regular expression."""
YOUTUBE_ID = "[A-Za-z0-9_-]{11}"
"""What YouTube calls it."""
HEADER = "id,youtube_id"


def read_youtube_ids(path: str | os.PathLike[str]) -> dict[str, str | None]:
    """Read what `resolve` noted.

    Parameters
    ----------
    path
        A CSV file with the columns ``id`` and ``youtube_id``. A last line without its line end was
        cut off by an interruption and does not count.

    Returns
    -------
    dict
        The YouTube id of each clip id, None for a deleted video; empty when there is no file.

    Raises
    ------
    InputError
        It is not such a file, or cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path.") from error
    except UnicodeDecodeError:
        text = "\0\n"  # no such file, so what follows refuses it
    header, *lines = text.split("\n")
    if not (header == HEADER if lines else HEADER.startswith(header)):
        raise InputError(f"{path}: is no CSV file of {HEADER}; choose another one.")
    known: dict[str, str | None] = {}
    for number, line in enumerate(lines[:-1], 2):
        row = re.fullmatch(f"({CLIP_ID}),({YOUTUBE_ID})?", line)
        if not row:
            raise InputError(f"{path}: line {number} is not {HEADER}; mend or remove that line.")
        known[row[1]] = row[2]
    return known


def open_cache(path: Path) -> BinaryIO:
    """Open the cache to add to it, without a last line that was cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("ab")
    file.truncate(path.read_bytes().rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)
    if not file.tell():
        file.write(f"{HEADER}\n".encode())
        file.flush()
    return file
