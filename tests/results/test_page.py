"""The generated page, and the numbers put into the README."""

from pathlib import Path

import pandas as pd
import pytest

from xmodal.config import InputError
from xmodal.results.page import PARTS, STUDY, embed_files, write_report
from xmodal.results.protocol import recall_protocol
from xmodal.results.provenance import Provenance, save_table


@pytest.fixture
def figures(tmp_path: Path) -> Path:
    measured = pd.DataFrame({"gallery": [256], "galleries": [23]})
    origin = Provenance(
        source="three clips",
        fingerprint="f" * 64,
        parameters={},
        seeds={},
        command="make paper",
        protocol=recall_protocol("three clips, no more", measured, "the galleries", 0.5),
    )
    frame = pd.DataFrame({"row": [256], "reading": ["published"], "R@1": ["21.5"]})
    for _, names, _ in PARTS:
        for name in names:
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
        "three clips, no more",
        "0.5 points",
    ):
        assert text in page
    assert "retrieval.png" not in page and STUDY[0][0] not in page
    assert "21.5" in told and "differ by 3.0" in told and "README.md" in told


def test_a_study_is_part_of_the_page_where_there_is_one(figures: Path):
    for _, (name,), _ in STUDY:
        (figures / f"{name}.md").write_text(f"Table of {name}\n")
    write_report(figures)
    page = (figures / "README.md").read_text()
    for title, (name,), _ in STUDY:
        assert f"## {title}" in page and f"Table of {name}" in page


def test_a_missing_table_is_named(figures: Path):
    (figures / "silence.md").unlink()
    with pytest.raises(InputError, match=r"silence\.md is missing: make it with its notebook"):
        write_report(figures)


def test_marked_parts_of_a_page_are_replaced_and_nothing_else(figures: Path):
    page = figures / "page.md"
    page.write_text("before\n<!-- verdict.md -->\nold 1.0\n<!-- end -->\nafter\n")
    embed_files(page)
    expected = "before\n<!-- verdict.md -->\nThey differ by 3.0 points.\n\n<!-- end -->\nafter\n"
    assert page.read_text() == expected
    embed_files(page)
    assert page.read_text() == expected
