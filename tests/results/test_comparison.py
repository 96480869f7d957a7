"""Committed tables against fresh ones: what counts as a difference, and that none is missed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmodal.config import InputError
from xmodal.data.sample import SOURCE
from xmodal_suite.comparison import DifferenceError, check_results
from xmodal_suite.protocol import Protocol
from xmodal_suite.provenance import Provenance
from xmodal_suite.tables import save_table

CARD = Protocol(
    clips="all",
    galleries={256: 23},
    ties="averaged",
    direction="both",
    seeds="galleries",
    interval="95 %",
    tolerance=0.3,
)
ORIGIN = Provenance(
    source="three clips",
    fingerprint="f" * 64,
    parameters={},
    seeds={},
    command="make paper",
    commit="abc",
    protocol=CARD,
)
TABLE = pd.DataFrame(
    {
        "row": [256, 256, 512],
        "reading": ["published", "rows are galleries", "chance, galleries"],
        "k": [1, 5, 1],
        "recall": [21.5, 9.0, 0.2],
        "low": [np.nan, 8.3, np.nan],
        "rank": [52.0, 4.0, np.nan],
    }
)
NUMBERS = 5


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Make a committed folder and a fresh one that say the same, one table of two in a folder."""
    committed, fresh = tmp_path / "committed", tmp_path / "fresh"
    for folder in (committed, fresh):
        save_table(TABLE, folder / "table1", ORIGIN, "Recall")
    return committed, fresh


def change(path: Path, old: str, new: str) -> None:
    """Replace the one occurrence of ``old`` in a file."""
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def differences(committed: Path, fresh: Path) -> list[str]:
    """Return the lines that are told, less the first, which is checked to count them."""
    with pytest.raises(DifferenceError) as told:
        check_results(committed, fresh)
    first, *lines = str(told.value).splitlines()
    assert first == f"Differences of {fresh} from {committed}: {len(lines)}"
    return lines


def test_what_is_the_same_passes_and_is_counted(folders: tuple[Path, Path]):
    committed, _ = folders
    (committed / "umap.csv").write_text("x\n1.0\n")  # no note beside it
    save_table(TABLE, committed / "data", ORIGIN.model_copy(update={"protocol": None}), "c")
    told = check_results(*folders)
    assert told.startswith(f"{NUMBERS} numbers in 1 of 3 tables were compared")
    where = "table1.csv: (256, published, 1), recall"
    assert f"the largest difference is 0 ({where})" in told


@pytest.mark.parametrize(
    ("old", "new", "largest"),
    [
        ("21.5", "21.8", "0.3"),  # in binary, 21.8 - 21.5 is more than 0.3
        ("52.0", "51.7", "0.3"),
        ("0.2", "-0.1", "0.3"),
        ("9.0,8.3", "9.1,1.0", "0.1"),  # bounds are free
        ("9.0,8.3", "9.1,", "0.1"),
        ("21.5", "21.75", "0.25"),
    ],
)
def test_within_tolerance_passes(folders: tuple[Path, Path], old: str, new: str, largest: str):
    change(folders[1] / "table1.csv", old, new)
    assert f"the largest difference is {largest} " in check_results(*folders)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "21.5",
            "21.9",
            "(256, published, 1), recall: committed 21.5, fresh 21.9, difference +0.4",
        ),
        ("52.0", "51.69", "(256, published, 1), rank: committed 52, fresh 51.69, difference -0.31"),
        ("9.0", "8.6", "(256, rows are galleries, 5), recall: committed 9, fresh 8.6, differ"),
        ("0.2", "-0.2", "recall: committed 0.2, fresh -0.2, difference -0.4, tolerance 0.3"),
        ("21.5", "", "recall: committed 21.5, fresh nan"),
        ("0.2,,", "0.2,,0.1", "rank: committed nan, fresh 0.1"),
    ],
)
def test_beyond_tolerance_is_told(folders: tuple[Path, Path], old: str, new: str, told: str):
    change(folders[1] / "table1.csv", old, new)
    (line,) = differences(*folders)
    assert line.startswith("table1.csv: (") and told in line
    assert line.endswith("tolerance 0.3")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "512,",
            "513,",
            "rows: committed 3, fresh 3, gone (512, chance, galleries, 1), "
            "new (513, chance, galleries, 1)",
        ),
        ("published", "printed", "gone (256, published, 1), new (256, printed, 1)"),
        ("published", "", "gone (256, published, 1), new (256, , 1)"),
        ("recall", "precision", "columns: committed (row, reading, k) ['recall', 'rank'], fresh"),
        ("reading", "meaning", "columns: committed (row, reading, k) ['recall', 'rank'], fresh"),
        ("21.5", "many", "columns: committed (row, reading, k) ['recall', 'rank'], fresh (row, "),
    ],
)
def test_text_counts_and_shape_must_be_the_same(
    folders: tuple[Path, Path], old: str, new: str, told: str
):
    change(folders[1] / "table1.csv", old, new)
    (line,) = differences(*folders)
    assert told in line


def test_a_row_that_is_gone_or_new_is_named(folders: tuple[Path, Path]):
    change(folders[1] / "table1.csv", "256,published,1,21.5,,52.0\n", "")
    told = "table1.csv: rows: committed 3, fresh 2, gone (256, published, 1)"
    assert differences(*folders) == [told]
    committed, fresh = folders
    told = "table1.csv: rows: committed 2, fresh 3, new (256, published, 1)"
    assert differences(fresh, committed) == [told]


def test_rows_in_another_order_or_twice_differ(folders: tuple[Path, Path]):
    save_table(TABLE.iloc[[1, 0, 2]], folders[1] / "table1", ORIGIN, "Recall")
    told = "table1.csv: rows: committed 3, fresh 3, in another order or number"
    assert differences(*folders) == [told]
    save_table(TABLE.iloc[[0, 0, 1, 2]], folders[1] / "table1", ORIGIN, "Recall")
    assert differences(*folders) == [told.replace("fresh 3", "fresh 4")]


def test_every_difference_of_every_table_is_told(folders: tuple[Path, Path]):
    for folder in folders:
        save_table(TABLE, folder / "deep" / "table2", ORIGIN, "Recall")
        save_table(TABLE, folder / "table3", ORIGIN, "Recall")
    committed, fresh = folders
    change(fresh / "table1.csv", "21.5", "31.5")
    change(fresh / "table1.csv", "52.0", "62.0")
    change(fresh / "deep" / "table2.csv", "0.2", "10.2")
    (fresh / "table3.csv").unlink()
    lines = differences(committed, fresh)
    assert [line.split(": ")[0] for line in lines] == [
        "deep/table2.csv",
        "table1.csv",
        "table1.csv",
        "table3.csv",
    ]
    assert lines[-1] == f"table3.csv: missing in {fresh}"


@pytest.mark.parametrize(
    ("update", "told"),
    [
        (
            {"fingerprint": "0" * 64},
            "features committed 'ffff",
        ),
        ({"protocol": None}, "without a protocol"),
        (
            {"protocol": CARD.model_copy(update={"galleries": {256: 22}})},
            "galleries committed {256: 23}, fresh {256: 22}",
        ),
        (
            {"protocol": CARD.model_copy(update={"clips": "some"})},
            "clips committed 'all', fresh 'some'",
        ),
    ],
)
def test_numbers_of_another_meaning_are_not_compared(
    folders: tuple[Path, Path], update: dict[str, Any], told: str
):
    other = TABLE.assign(recall=[1.0, 2.0, 3.0])
    save_table(other, folders[1] / "table1", ORIGIN.model_copy(update=update), "Recall")
    (line,) = differences(*folders)
    assert line.startswith("table1.csv: made ") and told in line


def test_the_committed_tolerance_holds_and_another_commit_is_no_difference(
    folders: tuple[Path, Path],
):
    lax = CARD.model_copy(update={"tolerance": 50.0})
    origin = ORIGIN.model_copy(update={"protocol": lax, "commit": "def"})
    save_table(TABLE, folders[1] / "table1", origin, "Recall")
    check_results(*folders)
    change(folders[1] / "table1.csv", "21.5", "21.9")
    assert differences(*folders)[0].endswith("tolerance 0.3")


def test_counts_must_be_equal_whatever_the_tolerance(folders: tuple[Path, Path]):
    lax = CARD.model_copy(update={"tolerance": 50.0})
    save_table(TABLE, folders[0] / "table1", ORIGIN.model_copy(update={"protocol": lax}), "c")
    change(folders[1] / "table1.csv", "512,", "513,")
    assert len(differences(*folders)) == 1


def test_a_fresh_table_without_a_note_has_no_protocol(folders: tuple[Path, Path]):
    (folders[1] / "table1.json").unlink()
    assert differences(*folders) == ["table1.csv: made without a protocol"]


def empty(committed: Path, fresh: Path) -> None:
    (committed / "table1.csv").unlink()


def no_protocol(committed: Path, fresh: Path) -> None:
    save_table(TABLE, committed / "table1", ORIGIN.model_copy(update={"protocol": None}), "c")


def no_rows(committed: Path, fresh: Path) -> None:
    save_table(TABLE.iloc[:0], committed / "table1", ORIGIN, "c")


def no_measure(committed: Path, fresh: Path) -> None:
    save_table(TABLE[["row", "reading", "low"]], committed / "table1", ORIGIN, "c")


def cut_note(committed: Path, fresh: Path) -> None:
    (committed / "table1.json").write_text('{"protocol": ')


def ragged(committed: Path, fresh: Path) -> None:
    change(fresh / "table1.csv", "4.0", "4.0,1")


def blank(committed: Path, fresh: Path) -> None:
    (fresh / "table1.csv").write_text("")


def binary(committed: Path, fresh: Path) -> None:
    (fresh / "table1.csv").write_bytes(b"\xff\xfe\x00")


def gone(committed: Path, fresh: Path) -> None:
    shutil.rmtree(fresh)


def itself(committed: Path, fresh: Path) -> None:
    gone(committed, fresh)
    fresh.symlink_to(committed)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (empty, "holds no table with a protocol"),
        (no_protocol, "holds no table with a protocol"),
        (no_rows, "table1.csv holds no measured number"),
        (no_measure, "table1.csv holds no measured number"),
        (cut_note, "table1.json is missing or no note of where a table"),
        (ragged, "table1.csv cannot be read as a table"),
        (blank, "table1.csv cannot be read as a table"),
        (binary, "table1.csv cannot be read as a table"),
        (gone, "fresh is no folder"),
        (itself, "cannot be compared with itself"),
    ],
)
def test_what_cannot_be_compared_does_not_pass(
    folders: tuple[Path, Path], spoil: Callable[[Path, Path], None], told: str
):
    spoil(*folders)
    with pytest.raises(InputError, match=told):
        check_results(*folders)


@given(
    recalls=st.lists(
        st.lists(st.integers(0, 1000), min_size=2, max_size=2), min_size=1, max_size=4
    ),
    place=st.tuples(st.integers(0, 3), st.integers(0, 1)),
    tolerance=st.integers(0, 30),
    step=st.integers(-60, 60),
)
def test_a_change_is_found_exactly_when_it_is_beyond_the_tolerance(
    tmp_path_factory: pytest.TempPathFactory,
    recalls: list[list[int]],
    place: tuple[int, int],
    tolerance: int,
    step: int,
):
    # Tenths of a point, so that what is expected is counted in whole numbers.
    committed, fresh = tmp_path_factory.mktemp("committed"), tmp_path_factory.mktemp("fresh")
    card = CARD.model_copy(update={"tolerance": tolerance / 10})
    row, column = place[0] % len(recalls), place[1]
    changed = [list(values) for values in recalls]
    changed[row][column] += step
    for folder, tenths in ((committed, recalls), (fresh, changed)):
        table = pd.DataFrame(tenths, columns=["R@1", "R@5"]) / 10
        table.insert(0, "row", range(len(table)))
        save_table(table, folder / "t", ORIGIN.model_copy(update={"protocol": card}), "c")
    if abs(step) > tolerance:
        (line,) = differences(committed, fresh)
        assert line.startswith(f"t.csv: ({row}), {'R@5' if column else 'R@1'}: ")
        assert f"difference {step / 10:+.4g}, " in line
    else:
        assert f"difference is {abs(step) / 10:.4g} " in check_results(committed, fresh)


def test_the_command_tells_and_its_status_says_which(folders: tuple[Path, Path], call: Callable):
    committed, fresh = folders
    status, out, err = call("compare", committed, fresh)
    assert (status, err) == (0, "") and out.startswith(f"{NUMBERS} numbers in 1 of 1 tables")
    change(fresh / "table1.csv", "21.5", "25.5")
    status, out, err = call("compare", committed, fresh)
    assert (status, err) == (1, "") and "difference +4, tolerance 0.3\n" in out
    status, out, err = call("compare", fresh / "nowhere", fresh)
    assert (status, out) == (2, "") and err.startswith("xmodal: ") and err.count("\n") == 1


def test_what_is_committed_can_be_checked(tmp_path: Path):
    """Every committed table says how its numbers were measured, and agrees with a copy of it."""
    root = Path(__file__).parents[2]
    for folder, wanted in (
        (root / "tests" / "expected" / "sample", {"table1", "table2", "silence", "headline"}),
        (root / "figures" / "yt8m", {"table1", "table2", "silence", "headline", "study_paper"}),
    ):
        for name in wanted:
            assert json.loads((folder / f"{name}.json").read_text())["protocol"], name
        shutil.copytree(folder, tmp_path / folder.name)
        assert "the largest difference is 0 " in check_results(folder, tmp_path / folder.name)


@pytest.mark.parametrize(("source", "same"), [(SOURCE, True), ("YouTube-8M", False)])
def test_the_sample_may_be_rounded_otherwise_on_another_machine(
    tmp_path: Path, source: str, same: bool
) -> None:
    """Its features have other bytes there; real ones are the same bytes everywhere."""
    for folder, digit in ((tmp_path / "committed", "a"), (tmp_path / "fresh", "b")):
        origin = ORIGIN.model_copy(update={"source": source, "fingerprint": digit * 64})
        save_table(TABLE, folder / "table1", origin, "Recall")
    if same:
        assert "5 numbers" in check_results(tmp_path / "committed", tmp_path / "fresh")
    else:
        with pytest.raises(DifferenceError, match="made from other features"):
            check_results(tmp_path / "committed", tmp_path / "fresh")
