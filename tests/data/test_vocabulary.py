"""The vocabulary: what is written is read, and what is wrong with a file is named."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmodal.config import InputError
from xmodal.data.vocabulary import read_vocabulary, write_vocabulary

HEADER = "Index,TrainVideoCount,KnowledgeGraphId,Name,WikiUrl,Vertical1,Vertical2,Vertical3,Wiki"


@given(names=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_names_survive_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.csv"
    write_vocabulary(path, names, range(len(names)))
    assert read_vocabulary(path) == names


def test_rows_may_be_unordered_quoted_and_nameless(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.csv"
    rows = [
        '1,20,/m/b,"Nike, Inc.",,,,,"A company,\nin ""two"" lines"',
        '0,30,/m/a,"Toys ""R"" Us",,,,,',
        "2,10,/m/c,,,,,,",
    ]
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    assert read_vocabulary(path) == ['Toys "R" Us', "Nike, Inc.", "/m/c"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column Index or Name"),
        (b"Index,Title\n0,Game\n", "no column Name"),
        (b"Index,Name\n", "0 classes are not numbered"),
        (b"Index,Name\n0,Game\n2,Car\n", "2 classes are not numbered"),
        (b"Index,Name\n0,Game\n0,Car\n", "line 3 repeats class 0"),
        (b"Index,Name\n0,Game\nx,Car\n", "line 3 is not a vocabulary row"),
        (b"Index,Name\n" + b"1" * 5000 + b",Game\n", "line 2 is not a vocabulary row"),
        ("Index,Name\n٠,Game\n".encode(), "line 2 is not a vocabulary row"),
        (b"Index,Name\n-1,Game\n", "line 2 is not a vocabulary row"),
        (b"Index,Name\n0\n", "line 2 is not a vocabulary row"),
        (b"Index,Name\n0,Nike, Inc.\n", "line 2 is not a vocabulary row"),
        (b'Index,Name\n0,"Game\n', "not a UTF-8 CSV file"),
        (b"Index,Name\n0,\xff\xfe\n", "not a UTF-8 CSV file"),
    ],
)
def test_a_bad_vocabulary_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "vocabulary.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match="^" + re.escape(str(path)) + ".*" + message):
        read_vocabulary(path)


def test_a_missing_vocabulary_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.csv: the vocabulary cannot be read"):
        read_vocabulary(tmp_path / "absent.csv")


def test_a_count_for_each_name_or_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        write_vocabulary(tmp_path / "vocabulary.csv", ["a", "b"], [1])
    assert not list(tmp_path.iterdir())
