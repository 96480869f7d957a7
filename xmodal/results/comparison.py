"""Do tables made again say what the committed ones say? Results are data: every number counts."""

import csv
import re
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from xmodal.config import InputError
from xmodal.results.protocol import Protocol
from xmodal.results.provenance import Provenance

_NUMBER = r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
# A number alone, with its deviation or with its interval; any other cell is text.
_CELL = re.compile(rf"({_NUMBER})(?:( ± ){_NUMBER}|( \[){_NUMBER}, {_NUMBER}\])?")


class DifferenceError(Exception):
    """Tables made again differ from the committed ones; the message has a line a difference."""


class _Table(NamedTuple):
    header: list[str]
    rows: list[list[str]]

    def measured(self) -> list[bool]:
        """Return which columns hold measured numbers: those with a decimal point in one of them."""
        columns = zip(*self.rows, strict=True)
        numbers = [[_CELL.fullmatch(cell) for cell in column] for column in columns]
        return [any(m and not m[1].lstrip("-+").isdigit() for m in column) for column in numbers]


class _Gap(NamedTuple):
    points: Decimal
    where: str


def check_results(committed: Path, fresh: Path) -> str:
    """Compare tables made again with the committed ones.

    Compared is every CSV file below ``committed`` whose JSON file holds a protocol. A column with a
    decimal point in one of its numbers is measured ("9.8", "9.0 [8.3, 9.7]", "4.0 ± 1.4"): there
    the first number of each cell must agree within the committed protocol's tolerance, and bounds
    and deviations are free. Any other cell must be the same text, counts and sizes too. The numbers
    of tables that are missing, of other features or of another protocol are not compared.

    Parameters
    ----------
    committed, fresh : Path
        Folders of tables, as `xmodal.results.provenance.save_table` writes them.

    Returns
    -------
    str
        What was compared, and the largest difference.

    Raises
    ------
    DifferenceError
        If anything differs; all of it is told.
    InputError
        If a folder or a file cannot be used, or there is nothing to compare.
    """
    for folder in (committed, fresh):
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder: name one that holds tables")
    if committed.samefile(fresh):
        raise InputError(f"{committed} cannot be compared with itself: make the tables elsewhere")
    notes = {path.relative_to(committed): _note(path) for path in sorted(committed.rglob("*.csv"))}
    problems: list[str] = []
    gaps: list[_Gap] = []
    tables = 0
    for name, note in notes.items():
        if note is None or note.protocol is None:
            continue
        tables += 1
        table = _read(committed / name)
        if not any(table.measured()):
            raise InputError(f"{committed / name} holds no measured number to compare")
        if unlike := _unlike(note, note.protocol, fresh / name):
            problems.append(f"{name}: {unlike}")
            continue
        found, near = _compare(table, _read(fresh / name), note.protocol.tolerance)
        problems += [f"{name}: {problem}" for problem in found]
        gaps += [gap._replace(where=f"{name}: {gap.where}") for gap in near]
    if not tables:
        raise InputError(f"{committed} holds no table with a protocol: there is nothing to compare")
    if problems:
        said = f"Differences of {fresh} from {committed}: {len(problems)}"
        raise DifferenceError("\n".join([said, *problems]))
    largest = max(gaps, key=lambda gap: gap.points)
    return (
        f"{len(gaps)} numbers in {tables} of {len(notes)} tables were compared, those with a "
        f"protocol; the largest difference is {largest.points} ({largest.where})"
    )


def _note(path: Path) -> Provenance | None:
    """Return where a table came from; None if it has no JSON file.

    Raises
    ------
    InputError
        If that file is no such note.
    """
    beside = path.with_suffix(".json")
    if not beside.exists():
        return None
    try:
        return Provenance.model_validate_json(beside.read_bytes())
    except ValidationError:
        raise InputError(f"{beside} is no note of where a table came from: restore it") from None


def _read(path: Path) -> _Table:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file, strict=True)
    except (OSError, ValueError, csv.Error):
        raise InputError(f"{path} cannot be read as a table: restore it") from None
    if any(len(row) != len(header) for row in rows):
        raise InputError(f"{path} has rows that are not as long as its header: restore it")
    return _Table(header, rows)


def _unlike(note: Provenance, protocol: Protocol, path: Path) -> str | None:
    """Say why the numbers of the table at ``path`` cannot be compared, if so."""
    if not path.exists():
        return f"missing in {path.parent}"
    again = _note(path)
    if again is None or again.protocol is None:
        return "made without a protocol"
    if again.fingerprint != note.fingerprint:
        return f"made from other features: committed {note.fingerprint}, fresh {again.fingerprint}"
    for name in Protocol.model_fields:
        before, after = getattr(protocol, name), getattr(again.protocol, name)
        if name != "tolerance" and before != after:
            return f"made by another protocol: {name} committed {before!r}, fresh {after!r}"
    return None


def _compare(ours: _Table, theirs: _Table, tolerance: float) -> tuple[list[str], list[_Gap]]:
    """Return what differs, in words, and how far apart all measured numbers are."""
    if ours.header != theirs.header:
        return [f"columns: committed {ours.header}, fresh {theirs.header}"], []
    measured = ours.measured()
    leading = measured.index(True)  # the cells before the first measured one name a row
    names, again = ([f"({', '.join(row[:leading])})" for row in t.rows] for t in (ours, theirs))
    if len(names) != len(again):
        gone = [f", gone {name}" for name in names if name not in again]
        new = [f", new {name}" for name in again if name not in names]
        return [f"rows: committed {len(names)}, fresh {len(again)}" + "".join(gone + new)], []
    problems, gaps = [], []
    rows = zip(names, ours.rows, theirs.rows, strict=True)
    for line, (row, before, after) in enumerate(rows, start=2):
        for column, number, old, now in zip(ours.header, measured, before, after, strict=True):
            where = f"line {line} {row}, {column}".replace(" ()", "")
            said = f"{where}: committed {old or '(empty)'}, fresh {now or '(empty)'}"
            a, b = _CELL.fullmatch(old), _CELL.fullmatch(now)
            if number and a and b and a.group(2, 3) == b.group(2, 3):
                points = Decimal(b[1]) - Decimal(a[1])  # exact: 9.5 to 9.8 is 0.3 and no more
                gaps.append(_Gap(abs(points), where))
                if abs(points) > Decimal(str(tolerance)):
                    problems.append(f"{said}, difference {points:+}, tolerance {tolerance:g}")
            elif old != now:
                problems.append(said)
    return problems, gaps
