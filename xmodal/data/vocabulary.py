"""The vocabulary of YouTube-8M: a CSV file with a row for each class."""

import csv
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from xmodal.config import InputError
from xmodal.files import atomic

_COLUMNS = ["Index", "TrainVideoCount", "KnowledgeGraphId", "Name", "WikiUrl"]
_COLUMNS += ["Vertical1", "Vertical2", "Vertical3", "WikiDescription"]


def read_vocabulary(path: str | os.PathLike[str]) -> list[str]:
    """Read the name of each class, by class index; a KnowledgeGraphId stands in for no name."""
    names: dict[int, str] = {}
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, strict=True)
            missing = {"Index", "Name"} - set(rows.fieldnames or ())
            if missing:
                raise InputError(
                    f"{path}: the vocabulary has no column {' or '.join(sorted(missing))}; "
                    "use YouTube-8M's vocabulary.csv."
                )
            for row in rows:
                where = f"{path}: the row that ends on line {rows.line_num}"
                number = re.fullmatch("[0-9]{1,9}", row["Index"] or "")
                if not number or None in row or None in row.values():
                    raise InputError(f"{where} is not a vocabulary row; fetch the file again.")
                index = int(row["Index"])
                if index in names:
                    raise InputError(f"{where} repeats class {index}; fetch the file again.")
                names[index] = row["Name"] or row.get("KnowledgeGraphId") or f"class {index}"
    except OSError as error:
        raise InputError(
            f"{path}: the vocabulary cannot be read ({error.strerror}); check the path."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path}: the vocabulary is not a UTF-8 CSV file ({error}); fetch it again."
        ) from error
    if sorted(names) != list(range(len(names))) or not names:
        raise InputError(
            f"{path}: the vocabulary's {len(names)} classes are not numbered 0, 1, 2, ... without "
            "a gap; fetch the file again."
        )
    return [names[index] for index in range(len(names))]


def write_vocabulary(
    path: str | os.PathLike[str], names: Sequence[str], counts: Iterable[int]
) -> None:
    """Write names and training clips of the classes; columns that are not known stay empty."""
    with atomic(Path(path)) as fresh, fresh.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(_COLUMNS)
        for index, (name, count) in enumerate(zip(names, counts, strict=True)):
            rows.writerow([index, count, "", name, *[""] * 5])
