"""Paired features of any sizes: what is read, what is refused, and how they are split."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmodal.config import InputError
from xmodal.data.features import SPLITS, UNPAIRED, open_features
from xmodal.data.pairs import Pairs, deal_out, read_pairs
from xmodal.data.prepare import PrepareConfig, prepare

CLIPS = 60


def arrays(clips: int = CLIPS, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "visual": rng.normal(size=(clips, 7)).astype(np.float32),
        "audio": rng.normal(size=(clips, 5)),
        "ids": np.array([f"clip/{row} ü" for row in range(clips)]),
        "labels": np.array(["dog|loud", "", "cat", "dog"] * clips)[:clips],
        "group": np.arange(clips) // 3,
    }


def as_npz(path: Path, values: dict[str, Any]) -> Path:
    np.savez(path.with_suffix(".npz"), **values)
    return path.with_suffix(".npz")


def as_parquet(path: Path, values: dict[str, Any]) -> Path:
    columns = {name: list(some) for name, some in values.items()}
    columns["labels"] = [label.split("|") for label in columns["labels"]]
    pd.DataFrame(columns).to_parquet(path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def as_folder(path: Path, values: dict[str, Any]) -> Path:
    path.mkdir()
    for name, some in values.items():
        np.save(path / f"{name}.npy", some)
    return path


@pytest.mark.parametrize("write", [as_npz, as_parquet, as_folder])
def test_every_pair_is_in_the_feature_set_as_it_was(
    tmp_path: Path, write: Callable[[Path, dict[str, Any]], Path]
) -> None:
    given_values = arrays()
    config = PrepareConfig(
        shards=write(tmp_path / "mine", given_values),
        out=tmp_path / "features",
        evaluation_clips=12,
        validation_clips=6,
    )
    manifest = prepare(config)
    assert manifest["source"] == "mine" and manifest["sizes"] == [7, 5]
    row_of = {str(clip): row for row, clip in enumerate(given_values["ids"])}
    met = []
    for name in SPLITS:
        features = open_features(config.out, name)
        assert features.label_names == ["cat", "dog", "loud"]
        for row, clip in enumerate(features.ids):
            at = row_of[clip]
            met.append(at)
            np.testing.assert_array_equal(features.visual[row], given_values["visual"][at])
            np.testing.assert_array_equal(
                features.audio[row], given_values["audio"][at].astype(np.float32)
            )
            expected = [name for name in given_values["labels"][at].split("|") if name]
            assert features.labels_of(row) == expected
    assert sorted(met) == list(range(CLIPS))
    assert [manifest["splits"][name]["clips"] for name in SPLITS] == [42, 6, 12]
    before = {p: p.stat().st_mtime_ns for p in config.out.rglob("*")}
    assert prepare(config) == manifest
    assert {p: p.stat().st_mtime_ns for p in config.out.rglob("*")} == before


def test_a_clip_without_one_modality_stands_beside_the_splits(tmp_path: Path) -> None:
    values = arrays()
    values["visual"][4], values["audio"][[9, 10]] = np.nan, np.nan
    config = PrepareConfig(
        shards=as_npz(tmp_path / "mine", values),
        out=tmp_path / "features",
        evaluation_clips=12,
        validation_clips=6,
    )
    assert sum(prepare(config)["splits"][name]["clips"] for name in SPLITS) == CLIPS - 3
    unpaired = open_features(config.out, UNPAIRED)
    assert unpaired.ids.tolist() == [f"clip/{row} ü" for row in (4, 9, 10)]
    assert np.isnan(unpaired.visual[:, 0]).tolist() == [True, False, False]
    assert np.isnan(unpaired.audio[:, 0]).tolist() == [False, True, True]


@settings(max_examples=30)
@given(
    seed=st.integers(0, 99),
    evaluation=st.integers(1, 20),
    groups=st.lists(st.integers(0, 15), min_size=CLIPS, max_size=CLIPS),
    copies=st.lists(st.tuples(st.integers(0, CLIPS - 1), st.integers(0, CLIPS - 1)), max_size=10),
)
def test_what_belongs_together_is_in_one_split(
    seed: int, evaluation: int, groups: list[int], copies: list[tuple[int, int]]
) -> None:
    values = arrays()
    for one, other in copies:
        name = ("visual", "audio")[(one + other) % 2]
        values[name][one] = values[name][other]
    values |= {"group": np.array(groups), "labels": [[]] * CLIPS}
    rows = deal_out(Pairs(**values), {"evaluation": evaluation, "validation": 5}, seed)
    assert sorted(np.concatenate([rows[name] for name in SPLITS])) == list(range(CLIPS))
    assert len(rows["evaluation"]) <= evaluation and len(rows["validation"]) <= 5
    split_of = {int(row): name for name in SPLITS for row in rows[name]}
    for one in range(CLIPS):
        for other in range(one):
            if (
                groups[one] == groups[other]
                or (values["visual"][one] == values["visual"][other]).all()
                or (values["audio"][one] == values["audio"][other]).all()
            ):
                assert split_of[one] == split_of[other]


def test_clips_without_a_group_are_not_of_one() -> None:
    values = arrays() | {"group": np.full(CLIPS, None), "labels": [[]] * CLIPS}
    rows = deal_out(Pairs(**values), {"evaluation": 20, "validation": 5}, 0)
    assert [len(rows[name]) for name in SPLITS] == [35, 5, 20]


def without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda values: values.pop(name)


def changed(name: str, to: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        values[name] = to(values[name])

    return change


def with_value(row: int, column: int, value: float) -> Callable[[Any], Any]:
    def change(features: Any) -> Any:
        features[row, column] = value
        return features

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("audio"), "no array audio .found: visual, ids, labels, group"),
        (changed("audio", lambda a: a[:-1]), "audio has 59 rows and visual 60"),
        (changed("ids", lambda a: np.array(["x"] * CLIPS)), "the id 'x' occurs twice"),
        (changed("visual", lambda a: a[:, 0]), r"visual is an array \(60,\) of float32"),
        (changed("audio", lambda a: a.astype(str)), "audio is an array .* of <U"),
        (changed("visual", with_value(3, 2, np.inf)), "row 3 of visual is not finite"),
        (changed("audio", with_value(8, 1, np.nan)), "row 8 of audio is not finite"),
        (changed("ids", lambda a: a.astype(object)), "cannot be read as paired features"),
        (changed("group", lambda a: a * 0), "60 pairs are too few, or too many of one group"),
    ],
)
def test_a_fault_is_told_in_one_sentence(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    values = arrays()
    change(values)
    path = as_npz(tmp_path / "mine", values)
    config = PrepareConfig(shards=path, out=tmp_path / "f", evaluation_clips=9, validation_clips=9)
    with pytest.raises(InputError, match=f"^{path}: .*{message}"):
        prepare(config)
    assert not config.out.exists()


@pytest.mark.parametrize("name", ["mine.npz", "mine.parquet"])
def test_a_file_that_is_none_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"nonsense" * 9)
    with pytest.raises(InputError, match=f"{name}: cannot be read as paired features"):
        read_pairs(tmp_path / name)
    with pytest.raises(InputError, match="gone.npz: cannot be read"):
        read_pairs(tmp_path / "gone.npz")


def test_a_given_split_is_taken_as_it_is(tmp_path):
    split = np.array(["train", "validation", "train", "evaluation"])
    arrays = {"visual": np.eye(4, 3) + 1, "audio": np.eye(4, 2) + 1, "group": [0, 1, 0, 2]}
    arrays["audio"][3] = 5
    np.savez(tmp_path / "a.npz", **arrays, split=split)
    rows = deal_out(read_pairs(tmp_path / "a.npz"), {"evaluation": 1, "validation": 1}, seed=0)
    assert {name: list(own) for name, own in rows.items() if len(own)} == {
        "evaluation": [3],
        "validation": [1],
        "train": [0, 2],
    }


@pytest.mark.parametrize(
    "split, told",
    [
        (["train", "validation", "evaluation", "test"], "'test'"),
        (["train", "validation", "evaluation", "evaluation"], r"0 \(train\) and 2 \(evaluation\)"),
    ],
)
def test_a_given_split_that_cannot_be_is_told(tmp_path, split, told):
    arrays = {"visual": np.eye(4, 3) + 1, "audio": np.arange(8.0).reshape(4, 2)}
    np.savez(tmp_path / "a.npz", **arrays, group=[0, 1, 0, 2], split=split)
    config = PrepareConfig(shards=tmp_path / "a.npz", out=tmp_path / "out")
    with pytest.raises(InputError, match=told):
        prepare(config)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ids", np.array("one"), "ids has no rows and visual 60"),
        ("ids", np.array([["a"]] * CLIPS), "ids must be texts or numbers, one a clip"),
        ("ids", np.array([b"\xff"] * CLIPS), "cannot be read as paired features .*ascii"),
        ("ids", np.array(["a\ud800"] * CLIPS), "cannot be read as paired features .*surrogates"),
        ("group", np.zeros((CLIPS, 2, 2)), "group must be texts or numbers, one a clip"),
        ("group", np.zeros(CLIPS, [("a", "f4")]), "group must be texts or numbers, one a clip"),
        ("labels", np.zeros(CLIPS, complex), "labels must be texts or numbers, one a clip"),
        ("visual", np.float32(1), "visual is an array \\(\\) of float32"),
    ],
)
def test_arrays_of_another_kind_are_refused(
    tmp_path: Path, name: str, value: np.ndarray, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_pairs(as_npz(tmp_path / "mine", {**arrays(), name: value}))


@pytest.mark.parametrize("cell", [[1], b"x", {"a": 1}, [["a"]]])
def test_cells_of_another_kind_are_refused(tmp_path: Path, cell: Any) -> None:
    columns = {key: list(value) for key, value in arrays().items()} | {"group": [cell] * CLIPS}
    pd.DataFrame(columns).to_parquet(tmp_path / "mine.parquet")
    with pytest.raises(InputError, match="group must be texts or numbers, one a clip"):
        read_pairs(tmp_path / "mine.parquet")


def test_ids_and_labels_may_be_bytes_or_numbers(tmp_path: Path) -> None:
    ids = np.array([f"clip{row}".encode() for row in range(CLIPS)])
    labels = np.arange(CLIPS) % 3
    pairs = read_pairs(as_npz(tmp_path / "mine", {**arrays(), "ids": ids, "labels": labels}))
    assert pairs.ids[7] == "clip7" and pairs.labels[:4] == [["0"], ["1"], ["2"], ["0"]]
