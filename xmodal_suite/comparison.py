"""Do tables made again say what the committed ones say? Every number of a tidy table counts."""

from pathlib import Path

import pandas as pd

from xmodal.config import InputError
from xmodal.data.sample import SOURCE
from xmodal_suite.provenance import Provenance, read_provenance

#: How uncertain a number is, which may be another when it is made again.
UNCERTAINTY = {"low", "high", "std"}


class DifferenceError(Exception):
    """Tables made again differ from the committed ones; the message has a line a difference."""


def check_results(committed: Path, fresh: Path) -> str:
    """Compare tables made again with the committed ones.

    Compared is every CSV file below ``committed`` whose JSON file holds a protocol. Its columns of
    floats are measured: their numbers must agree within the committed protocol's tolerance, but
    for bounds and deviations, which are free. All other columns name the rows and must be the
    same: text, counts and sizes. The numbers of tables that are missing, of other features or of
    another protocol are not compared. Returned is what was compared, and the largest difference;
    if anything differs, a DifferenceError lists it all.
    """
    for folder in (committed, fresh):
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder: name one that holds tables")
    if committed.samefile(fresh):
        raise InputError(f"{committed} cannot be compared with itself: make the tables elsewhere")
    paths = sorted(committed.rglob("*.csv"))
    notes = {path: note for path in paths if (note := _note(path))}
    problems, gaps = list[str](), dict[str, float]()
    for path, note in notes.items():
        name = path.relative_to(committed).as_posix()
        found, near = _compare(path, note, fresh / name)
        problems += [f"{name}: {problem}" for problem in found]
        gaps |= {f"{name}: {where}": gap for where, gap in near.items()}
    if problems:
        heading = f"Differences of {fresh} from {committed}: {len(problems)}"
        raise DifferenceError("\n".join([heading, *problems]))
    if not gaps:
        raise InputError(f"{committed} holds no table with a protocol: there is nothing to compare")
    largest = max(gaps, key=gaps.__getitem__)
    return (
        f"{len(gaps)} numbers in {len(notes)} of {len(paths)} tables were "
        f"compared, those with a protocol; the largest difference is {gaps[largest]:.4g} "
        f"({largest})"
    )


def _note(path: Path) -> dict | None:
    """Return what the numbers of a table mean, by its JSON file; None if that has no protocol.

    Features are known by their bytes, but for the sample's: another processor rounds them otherwise
    when it draws them, so these are known by their name, and their numbers tell the rest.
    """
    beside = path.with_suffix(".json")
    note: Provenance | None = read_provenance(beside) if beside.exists() else None
    if not (note and note.protocol):
        return None
    features = SOURCE if note.source == SOURCE else note.fingerprint
    return {"features": features, **dict(note.protocol)}


def _read(path: Path) -> pd.DataFrame:
    """Read a tidy table: what is measured, indexed by all other cells of a row."""
    try:
        table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    except (OSError, ValueError):
        raise InputError(f"{path} cannot be read as a table: restore it") from None
    keys = table.select_dtypes(exclude="float")
    rows = [f"({', '.join(map(str, row))})" for row in keys.fillna("").to_numpy(object)]
    measured = table.select_dtypes("float").drop(columns=UNCERTAINTY, errors="ignore")
    return measured.set_axis(pd.Index(rows, name=", ".join(keys.columns)))


def _compare(path: Path, note: dict, again: Path) -> tuple[list[str], dict[str, float]]:
    """Return what differs between two tables, a line each, and how far apart all numbers are."""
    committed, tolerance = _read(path), note["tolerance"]
    if not committed.count().any():
        raise InputError(f"{path} holds no measured number to compare")
    if not again.exists():
        return [f"missing in {again.parent}"], {}
    if (fresh_note := _note(again)) is None:
        return ["made without a protocol"], {}
    for name, before in note.items():
        if name != "tolerance" and before != fresh_note[name]:
            change = f"{name} committed {before!r}, fresh {fresh_note[name]!r}"
            return [f"made from other features or by another protocol: {change}"], {}
    fresh = _read(again)
    headers = [f"({table.index.name}) {list(table.columns)}" for table in (committed, fresh)]
    if headers[0] != headers[1]:
        return [f"columns: committed {headers[0]}, fresh {headers[1]}"], {}
    if not committed.index.equals(fresh.index):
        gone = [f", gone {row}" for row in committed.index.difference(fresh.index, sort=False)]
        new = [f", new {row}" for row in fresh.index.difference(committed.index, sort=False)]
        which = "".join(gone + new) or ", in another order or number"
        return [f"rows: committed {len(committed)}, fresh {len(fresh)}{which}"], {}
    ours, theirs = committed.stack(future_stack=True), fresh.stack(future_stack=True)
    gaps = (theirs - ours).abs()
    near = gaps <= tolerance + 1e-9  # tenths are not exact in binary
    problems = [
        f"{', '.join(where)}: committed {old:g}, fresh {new:g}, difference {new - old:+.4g}, "
        f"tolerance {tolerance:g}"
        for where, old, new in ours.compare(theirs.mask(near, ours)).itertuples(name=None)
    ]
    return problems, {", ".join(where): gap for where, gap in gaps.dropna().items()}
