"""The vocabulary: what is written is read, and what is none is refused."""

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
        "3,10,,,,,,,",
    ]
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    assert read_vocabulary(path) == ['Toys "R" Us', "Nike, Inc.", "/m/c", "class 3"]


NUMBERS, COMMA, QUOTE = b"0,Game\n2,Car\n", b"0,Nike, Inc.\n", b'0,"Game\n'


@pytest.mark.parametrize("rows", [b"", NUMBERS, COMMA, QUOTE, b"0,\xff\xfe\n"])
def test_a_bad_vocabulary_is_refused(tmp_path: Path, rows: bytes) -> None:
    path = tmp_path / "vocabulary.csv"
    path.write_bytes(b"Index,Name\n" + rows)
    with pytest.raises(InputError, match=f"^{path}: "):
        read_vocabulary(path)
