"""The generated page, what it says of where everything comes from, and numbers put into a page."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from xmodal.config import InputError
from xmodal_suite.page import TEMPLATE, fill_page, write_report
from xmodal_suite.provenance import Origin, recall_protocol, save_figure
from xmodal_suite.tables import save_table

PLAIN, STUDY = TEMPLATE.read_text().split('{% if exists("study_paper") %}')
REST = STUDY.partition("{% endif %}")[2]
FRAME = pd.DataFrame(
    {"gallery": [256], "model": "published", "direction": "a→v", "k": 1, "recall": 21.5}
)


def origin(notebook: str, commit: str, fingerprint: str = "f" * 64) -> Origin:
    measured = pd.DataFrame({"gallery": [1024, 256], "galleries": [5, 23]})
    return {
        "source": "three clips",
        "fingerprint": fingerprint,
        "command": f"papermill notebooks/{notebook}.ipynb runs/{notebook}.ipynb",
        "commit": commit,
        "protocol": recall_protocol("three clips, no more", measured, "the galleries", 0.5),
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    for name in set(re.findall(r'text\("(\w+)"\)', PLAIN + REST)) - {"verdict", "level"}:
        note = origin("06_beyond", "bbb") if name == "cca" else origin("03_recall", "aaa")
        save_table(FRAME, folder / name, note, f"Caption of {name}")
    (folder / "verdict.md").write_text("They differ by 3.0 points.\n")
    (folder / "level.md").write_text("Ours is 0.4 of theirs.\n")
    drawn = origin("04_umap", "ccc", "e" * 64) | {"caption": "A map of three"}
    save_figure(Figure((1, 1)), folder / "umap", drawn)
    save_figure(Figure((1, 1)), folder / "architecture", origin("00_paper", "ccc", ""))
    return folder


@pytest.fixture
def figures(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path, dirs_exist_ok=True))


def test_the_page_holds_tables_verdict_protocol_and_the_pictures_that_are_there(figures: Path):
    summary = write_report(figures)
    page = (figures / "README.md").read_text()
    for text in (
        "# Results: three clips\n",
        "Caption of table2",
        "differ by 3.0",
        "Ours is 0.4",
        "![A map of three](umap.png)\n",
        "(architecture.png)\n",
        "\n- **Clips:** three clips, no more\n",
        "\n- **Disjoint galleries:** 23 of 256, 5 of 1,024 clips\n",
        "\n- **Tolerance:** 0.5 points",
    ):
        assert text in page
    assert "retrieval.png" not in page and "one change at a time" not in page
    assert "\n\n\n" not in page
    assert "21.5" in summary and "differ by 3.0" in summary and "README.md" in summary


def told(page: Path) -> dict[str, tuple[str, str, str]]:
    """Return notebook, commit and features of each table and picture, as a page has them."""
    rows = [line.strip("| ").split(" | ") for line in page.read_text().splitlines()]
    rows = [row for row in rows if len(row) == 4 and re.fullmatch(r"`[\w, -]+`|none", row[1])]
    return {
        name: (row[0], row[1].strip("`"), row[2].strip("`…"))
        for row in rows
        for name in re.findall(r"\[(\w+)\]\(\1\.json\)", row[3])
    }


def test_the_page_says_which_run_and_commit_made_each_file(figures: Path):
    write_report(figures)
    found = told(figures / "README.md")
    assert set(found) == {path.stem for path in figures.glob("*.json")}
    assert found["table1"] == found["silence"] == ("03_recall", "aaa", "f" * 16)
    assert found["cca"] == ("06_beyond", "bbb", "f" * 16)
    assert found["umap"] == ("04_umap", "ccc", "e" * 16)
    assert found["architecture"] == ("00_paper", "ccc", "none")


def test_the_name_of_the_data_is_no_html(figures: Path):
    note = json.loads((figures / "table1.json").read_text())
    (figures / "table1.json").write_text(json.dumps({**note, "source": "<img src=x>"}))
    write_report(figures)
    assert "# Results: &lt;img src=x>\n" in (figures / "README.md").read_text()


@pytest.mark.parametrize("name", ["silence.md", "silence.json", "umap.json", "level.md"])
def test_what_is_missing_is_named(figures: Path, name: str):
    (figures / name).unlink()
    with pytest.raises(InputError, match=name):
        write_report(figures)
    assert not (figures / "README.md").exists()


def test_marked_parts_of_a_page_are_replaced_and_nothing_else(figures: Path):
    page = figures / "page.md"
    page.write_text("before\n<!-- verdict.md -->\nold 1.0\n<!-- end -->\nafter\n")
    fill_page(page)
    expected = "before\n<!-- verdict.md -->\nThey differ by 3.0 points.\n\n<!-- end -->\nafter\n"
    assert page.read_text() == expected
    fill_page(page)
    assert page.read_text() == expected
    (figures / "verdict.md").unlink()
    with pytest.raises(InputError, match="verdict"):
        fill_page(page)
    assert page.read_text() == expected


def test_numbers_tables_and_what_code_prints_are_put_into_a_page(tmp_path: Path):
    rows = [["paper", k, 10.04 * k, 1000 + k] for k in (1, 1, 5)] + [["CCA", 1, 30.0, 9]]
    pd.DataFrame(rows, columns=["model", "k", "recall", "of clips"]).to_csv(tmp_path / "a.csv")
    (page := tmp_path / "page.md").write_text(
        'R@1 is <!-- a.csv recall where model == "paper" and k == 1 -->9<!-- end -->% of '
        "<!-- a.csv of clips where k == 5 -->0<!-- end -->.\n"
        '<!-- a.csv where model == "paper" -->\n<!-- end -->\n'
        "```python\nprint(6 * 7)\n```\n\n<!-- output -->\nold\n<!-- end -->\n"
    )
    fill_page(page)
    text = page.read_text()
    assert "-->10.0<" in text and "-->1,005<" in text and "old" not in text
    assert "| paper" in text and "50.2 |" in text and "| CCA" not in text
    assert "<!-- output -->\n```text\n42\n```\n" in text
    fill_page(page)
    assert page.read_text() == text


@pytest.mark.parametrize(
    ("marks", "told"),
    [
        ("<!-- data.csv recall where k == 3 -->7<!-- end -->", "k == 3"),
        ("```python\nnobody()\n```\n\n<!-- output -->\n<!-- end -->", "nobody"),
    ],
)
def test_a_mark_that_finds_nothing_is_named(tmp_path: Path, marks: str, told: str):
    FRAME.to_csv(tmp_path / "data.csv")
    (page := tmp_path / "page.md").write_text(marks)
    with pytest.raises(InputError, match=told):
        fill_page(page)
    assert page.read_text() == marks
