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


def arrays() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "visual": rng.normal(size=(CLIPS, 7)).astype(np.float32),
        "audio": rng.normal(size=(CLIPS, 5)),
        "ids": np.array([f"clip/{row} ü" for row in range(CLIPS)]),
        "labels": np.array(["dog|loud", "", "cat", "dog"] * (CLIPS // 4)),
        "group": np.arange(CLIPS) // 3,
    }


def as_npz(path: Path, values: dict[str, Any]) -> Path:
    np.savez(path.with_suffix(".npz"), **values)
    return path.with_suffix(".npz")


def as_parquet(path: Path, values: dict[str, Any]) -> Path:
    columns = {name: list(some) for name, some in values.items()}
    columns["visual"] = [None if np.isnan(row[0]) else row for row in values["visual"]]
    columns["labels"] = [label.split("|") for label in columns["labels"]]
    pd.DataFrame(columns).to_parquet(path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def as_folder(path: Path, values: dict[str, Any]) -> Path:
    path.mkdir()
    for name, some in values.items():
        np.save(path / f"{name}.npy", some)
    return path


def configured(path: Path) -> PrepareConfig:
    out = path.with_name("features")
    return PrepareConfig(shards=path, out=out, evaluation_clips=12, validation_clips=6)


@pytest.mark.parametrize("write", [as_npz, as_parquet, as_folder])
def test_every_clip_is_in_the_feature_set_as_it_was(
    tmp_path: Path, write: Callable[[Path, dict[str, Any]], Path]
) -> None:
    """And those without one modality are in a split of their own."""
    values = arrays()
    values["visual"][4], values["audio"][[9, 10]] = np.nan, np.nan
    config = configured(write(tmp_path / "mine", values))
    manifest = prepare(config)
    assert manifest["source"] == "mine" and manifest["sizes"] == [7, 5]
    row_of = {str(clip): row for row, clip in enumerate(values["ids"])}
    met = []
    for name in (*SPLITS, UNPAIRED):
        features = open_features(config.out, name)
        assert features.label_names == ["cat", "dog", "loud"]
        rows = [row_of[clip] for clip in features.ids]
        met += rows
        np.testing.assert_array_equal(features.visual, values["visual"][rows])
        np.testing.assert_array_equal(features.audio, values["audio"][rows].astype(np.float32))
        labels = [[some for some in values["labels"][row].split("|") if some] for row in rows]
        assert [features.labels_of(place) for place in range(len(rows))] == labels
        assert (rows == [4, 9, 10]) == (name == UNPAIRED)
    assert sorted(met) == list(range(CLIPS))
    assert [manifest["splits"][name]["clips"] for name in SPLITS] == [39, 6, 12]
    if write is as_npz:  # as version 0.2.0 made it
        assert manifest["fingerprint"].startswith("5380f1957b01fa6510df7b76ad1790e0")


@settings(max_examples=30)
@given(
    seed=st.integers(0, 99),
    evaluation=st.integers(1, 20),
    groups=st.lists(st.integers(0, 15), min_size=CLIPS, max_size=CLIPS),
    copies=st.lists(st.tuples(st.integers(0, CLIPS - 1), st.integers(0, CLIPS - 1)), max_size=10),
)
def test_what_shares_a_group_or_features_is_in_one_split(
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
    owner: dict[Any, str] = {}
    for split in SPLITS:
        for row in rows[split]:
            features = [values[name][row].tobytes() for name in ("visual", "audio")]
            for key in (groups[row], *features):
                assert owner.setdefault(key, split) == split


def test_clips_without_a_group_are_not_of_one() -> None:
    values = arrays() | {"group": np.full(CLIPS, None), "labels": [[]] * CLIPS}
    rows = deal_out(Pairs(**values), {"evaluation": 20, "validation": 5}, 0)
    assert [len(rows[name]) for name in SPLITS] == [35, 5, 20]


def test_a_given_split_is_taken_as_it_is_or_refused(tmp_path: Path) -> None:
    values = {"visual": np.eye(4, 3) + 1, "audio": np.eye(4, 2) + 1, "group": [0, 1, 0, 2]}
    values["audio"][3] = 5
    given = ["train", "validation", "train", "evaluation"]
    config = configured(as_npz(tmp_path / "a", values | {"split": given}))
    prepare(config)
    ids = [open_features(config.out, name).ids.tolist() for name in SPLITS]
    assert ids == [["0", "2"], ["1"], ["3"]]
    for place, name, word in ((2, "evaluation", "0, 2 .*evaluation, train"), (0, "test", "test")):
        given[place] = name
        path = as_npz(tmp_path / name, values | {"split": given})
        with pytest.raises(InputError, match=f"^{path}: .*{word}"):
            prepare(configured(path))
        assert open_features(config.out, "train").ids.tolist() == ids[0]


def with_value(values: np.ndarray, row: int, value: float) -> np.ndarray:
    values[row, 1] = value
    return values


@pytest.mark.parametrize(
    ("name", "change", "word"),
    [
        ("audio", lambda a: a[:-1], "audio"),
        ("audio", lambda a: a.astype(str), "audio"),
        ("audio", lambda a: with_value(a, 8, np.nan), "row 8 of audio"),
        ("visual", lambda a: with_value(a, 3, np.inf), "row 3 of visual"),
        ("ids", lambda a: ["x"] * CLIPS, "'x'"),
        ("ids", lambda a: a.astype(object), "read"),
        ("group", lambda a: a * 0, "60 pairs"),
        ("audio", None, "audio"),
    ],
)
def test_a_fault_is_told_in_one_sentence(
    tmp_path: Path, name: str, change: Callable[[Any], Any] | None, word: str
) -> None:
    values = arrays()
    given = values.pop(name)
    path = as_npz(tmp_path / "mine", values | ({name: change(given)} if change else {}))
    with pytest.raises(InputError, match=f"^{path}: .*{word}"):
        prepare(configured(path))
    assert not configured(path).out.exists()


def test_numbers_beside_missing_ones_stay_whole(tmp_path: Path) -> None:
    rows = {"visual": list(np.ones((3, 2))), "audio": [[1.0], None, [2.0]]}
    big = 7_123_456_789_012_356_789
    frame = pd.DataFrame(rows | {"ids": [big, 2, 3], "labels": pd.array([100, None, 2], "Int64")})
    frame.to_parquet(tmp_path / "some.parquet")
    pairs = read_pairs(tmp_path / "some.parquet")
    assert pairs.ids[0] == str(big) and pairs.labels == [["100"], [], ["2"]]
    assert pairs.complete.tolist() == [True, False, True]
    frame.assign(ids=pd.array([1, None, 3], "Int64")).to_parquet(tmp_path / "some.parquet")
    with pytest.raises(InputError, match="row 1"):
        read_pairs(tmp_path / "some.parquet")
    frame.rename(columns={"audio": "sound"}).to_parquet(tmp_path / "some.parquet")
    with pytest.raises(InputError, match="sound"):
        read_pairs(tmp_path / "some.parquet")


def test_ids_and_labels_may_be_bytes_or_numbers(tmp_path: Path) -> None:
    ids = np.array([f"clip{row}".encode() for row in range(CLIPS)])
    labels = np.arange(CLIPS) % 3
    pairs = read_pairs(as_npz(tmp_path / "mine", {**arrays(), "ids": ids, "labels": labels}))
    assert pairs.ids[7] == "clip7" and pairs.labels[:4] == [["0"], ["1"], ["2"], ["0"]]
