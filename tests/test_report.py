"""The generated page, and the numbers put into the README."""

from pathlib import Path

import pandas as pd
import pytest

from xmodal.config import InputError
from xmodal.provenance import Provenance, save_table
from xmodal.report import embed_files, write_report


@pytest.fixture
def figures(tmp_path: Path) -> Path:
    origin = Provenance(
        source="three clips", fingerprint="f" * 64, parameters={}, seeds={}, command="make paper"
    )
    frame = pd.DataFrame({"row": [256], "reading": ["published"], "R@1": ["21.5"]})
    for name in ("table1", "table2", "silence", "training"):
        save_table(frame, tmp_path / name, origin, f"Caption of {name}")
    (tmp_path / "verdict.md").write_text("They differ by 3.0 points.\n")
    (tmp_path / "umap.png").write_bytes(b"")
    return tmp_path


def test_the_page_holds_tables_verdict_origin_and_the_pictures_that_are_there(figures: Path):
    told = write_report(figures)
    page = (figures / "README.md").read_text()
    for text in (
        "three clips",
        "ffffffffffffffff",
        "Caption of table2",
        "differ by 3.0",
        "umap.png",
    ):
        assert text in page
    assert "retrieval.png" not in page
    assert "21.5" in told and "differ by 3.0" in told and "README.md" in told


def test_a_missing_table_is_named(figures: Path):
    (figures / "silence.md").unlink()
    with pytest.raises(InputError, match=r"silence\.md is missing: run notebooks/03_recall"):
        write_report(figures)


def test_marked_parts_of_a_page_are_replaced_and_nothing_else(figures: Path):
    page = figures / "page.md"
    page.write_text("before\n<!-- verdict.md -->\nold 1.0\n<!-- end -->\nafter\n")
    embed_files(page)
    expected = "before\n<!-- verdict.md -->\nThey differ by 3.0 points.\n\n<!-- end -->\nafter\n"
    assert page.read_text() == expected
    embed_files(page)
    assert page.read_text() == expected
