"""Committed tables against fresh ones: what counts as a difference, and that none is missed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from check_results import check

ROOT = Path(__file__).parents[1]
TABLE = "row,model,recall,low\n256,published,21.5,\n256,ours,9.0,8.3\n512,chance,,\n"
NOTE = {"source": "three clips", "fingerprint": "f", "protocol": {"clips": "all", "tolerance": 0.3}}


@pytest.fixture
def said(tmp_path: Path) -> Callable[..., str]:
    """Give ``said(table, **note)``: what is said of a fresh table, beside the committed one."""

    def write(folder: str, table: str, **note: object) -> Path:
        path = tmp_path / folder / "deep" / "table1"
        path.parent.mkdir(parents=True)
        path.with_suffix(".csv").write_text(table)
        path.with_suffix(".json").write_text(json.dumps(NOTE | note))
        return tmp_path / folder

    def compare(table: str, **note: object) -> str:
        (found,) = check(write("committed", TABLE), write("fresh", table, **note)).values()
        return found

    return compare


@pytest.mark.parametrize(
    ("old", "new"),
    [("21.5", "21.8"), ("9.0,8.3", "9.1,1.0")],
)
def test_within_tolerance_numbers_agree_and_bounds_are_free(said: Callable, old: str, new: str):
    assert said(TABLE.replace(old, new)) == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [("21.5", "21.9"), ("21.5", ""), ("512", "513"), ("ours", "theirs"), ("512,chance,,\n", "")],
)
def test_all_else_differs(said: Callable, old: str, new: str):
    assert said(TABLE.replace(old, new))


@pytest.mark.parametrize("note", [{"fingerprint": "0"}, {"protocol": None}, {"source": "others"}])
def test_numbers_of_another_meaning_are_not_compared(said: Callable, note: dict):
    assert bool(said(TABLE, **note)) == ("source" not in note)


def test_what_is_missing_is_told(tmp_path: Path):
    expected = ROOT / "tests/expected/sample"
    found = check(expected, shutil.copytree(expected, tmp_path / "fresh"))
    assert {"table1.csv", "table2.csv", "headline.csv"} <= set(found)
    assert not any(found.values())
    (tmp_path / "fresh/table1.csv").unlink()
    assert [name for name, said in check(expected, tmp_path / "fresh").items() if said] == [
        "table1.csv"
    ]
    with pytest.raises(AssertionError, match="protocol"):
        check(tmp_path / "nowhere", tmp_path)
