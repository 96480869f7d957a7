"""The vocabulary of YouTube-8M: a CSV file with a row for each class."""

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from xmodal.config import InputError
from xmodal.files import atomic

_COLUMNS = ["Index", "TrainVideoCount", "KnowledgeGraphId", "Name", "WikiUrl"]
_COLUMNS += ["Vertical1", "Vertical2", "Vertical3", "WikiDescription"]


def read_vocabulary(path: str | os.PathLike[str]) -> list[str]:
    """Read the name of each class, by class index; a KnowledgeGraphId stands in for no name."""
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, strict=True))
        names = {
            int(row["Index"]): row["Name"] or row.get("KnowledgeGraphId") or f"class {row['Index']}"
            for row in rows
            if None not in [*row, *row.values()]  # it is as long as the first one
        }
        if not rows or sorted(names) != list(range(len(rows))):
            raise ValueError("its classes are not numbered 0, 1, 2, ...")
    except (OSError, ValueError, LookupError, csv.Error) as error:
        raise InputError(f"{path}: is no vocabulary.csv of YouTube-8M ({error!r})") from error
    return [names[index] for index in range(len(rows))]


def write_vocabulary(
    path: str | os.PathLike[str], names: Sequence[str], counts: Iterable[int]
) -> None:
    """Write names and training clips of the classes; columns that are not known stay empty."""
    with atomic(Path(path)) as fresh, fresh.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(_COLUMNS)
        for index, (name, count) in enumerate(zip(names, counts, strict=True)):
            rows.writerow([index, count, "", name, *[""] * 5])
