"""Compare tables that were made again with the committed ones: every number within its tolerance.

    python tests/check_results.py COMMITTED FRESH

Compared are the tables whose JSON file holds a protocol. Columns of floats are measured, bounds and
deviations are free, and all other columns name the rows. The exit status is 1 if anything differs.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.testing import assert_frame_equal

FREE = ["low", "high", "std"]


def meaning(table: Path) -> tuple[dict[str, Any], float]:
    """Return what the numbers of a table are, and how far they may differ when made again."""
    note = json.loads(table.with_suffix(".json").read_text())
    protocol = dict(note["protocol"])
    tolerance = protocol.pop("tolerance")
    if note["source"] != "synthetic sample":  # whose features another processor rounds otherwise
        protocol["features"] = note["fingerprint"]
    return protocol, tolerance


def differs(committed: Path, fresh: Path) -> str:
    """Return in what two tables differ; nothing if they agree."""
    try:
        (ours, tolerance), (theirs, _) = meaning(committed), meaning(fresh)
        assert ours == theirs, f"made from other features or by another protocol: {theirs}"
        before, after = (
            pd.read_csv(path).drop(columns=FREE, errors="ignore") for path in (committed, fresh)
        )
        assert_frame_equal(
            before.select_dtypes(exclude="float"), after.select_dtypes(exclude="float")
        )
        measured = before.select_dtypes("float"), after.select_dtypes("float")
        assert_frame_equal(
            *measured, rtol=0, atol=tolerance + 1e-9
        )  # tenths are not exact in binary
        return ""
    except (AssertionError, OSError, TypeError, ValueError) as error:
        return str(error)


def check(committed: Path, fresh: Path) -> dict[str, str]:
    """Return by name what is said of each committed table with a protocol."""
    notes = {path: json.loads(path.read_text()) for path in sorted(committed.rglob("*.json"))}
    tables = [path.with_suffix(".csv") for path, note in notes.items() if note.get("protocol")]
    names = [table.relative_to(committed) for table in tables if table.exists()]
    assert names, f"{committed} holds no table with a protocol"
    return {str(name): differs(committed / name, fresh / name) for name in names}


if __name__ == "__main__":
    found = check(*map(Path, sys.argv[1:]))
    for name, difference in found.items():
        print(f"{name}: {difference or 'agrees'}")
    sys.exit(any(found.values()))
