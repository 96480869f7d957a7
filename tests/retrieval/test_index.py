"""The index on disk: what it finds against a plain search, and what it refuses."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from xmodal.config import InputError, TrainConfig
from xmodal.data.features import UNPAIRED, open_features
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.evaluation.recall import embed_run
from xmodal.retrieval.gallery import Lists
from xmodal.retrieval.index import Index, IndexConfig, build_index
from xmodal.train import train


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of 7 and 5 numbers with a planted relation, without labels; three lack a modality."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(400, 4))
    visual = hidden @ rng.normal(size=(4, 7)) + 0.1 * rng.normal(size=(400, 7))
    audio = hidden @ rng.normal(size=(4, 5)) + 0.1 * rng.normal(size=(400, 5))
    visual[3], audio[[7, 8]] = np.nan, np.nan
    np.savez(folder / "mine.npz", visual=visual, audio=audio)
    sizes = {"evaluation_clips": 60, "validation_clips": 60}
    prepare(PrepareConfig(shards=folder / "mine.npz", out=folder / "features", **sizes))
    return folder / "features"


@pytest.fixture(scope="module")
def run(features: Path, tiny: Callable[..., TrainConfig]) -> Path:
    out = features.parent / "run"
    train(tiny(out, features=features, steps=200, class_weight=0.0))
    return out


@pytest.fixture(scope="module")
def index(features: Path, run: Path) -> Index:
    return build_index(IndexConfig(run=str(run), features=features))


def test_a_planted_relation_of_any_sizes_is_learnt(features: Path, run: Path) -> None:
    clips = open_features(features, "evaluation")
    visual, audio, *_ = embed_run(run, clips)
    better = (visual @ audio.T > (visual * audio).sum(dim=1, keepdim=True)).sum(dim=1)
    assert better.float().mean() < 0.2 * len(clips)


@pytest.mark.parametrize("find", ["audio", "video"])
def test_search_is_that_of_all_cosines_less_the_penalty(
    features: Path, run: Path, index: Index, find: str
) -> None:
    clips = open_features(features, "evaluation")
    row = {str(clip): at for at, clip in enumerate(index.ids)}
    for at in (0, 17):
        clip = str(clips.ids[at])
        found = index.search(**{"video" if find == "audio" else "audio": clip}, k=9)
        side = 1 if find == "audio" else 0
        query = index.sides[1 - side][row[clip]]
        cosine = (index.sides[side] @ query).double()
        score = cosine - index.penalty[side].double()
        best = score.argsort(descending=True)[:9]
        assert found["id"].tolist() == index.ids[best].tolist()
        assert found["cosine"].to_numpy() == pytest.approx(cosine[best].numpy(), abs=1e-6)
        assert found["own"].sum() <= 1


def test_hubs_are_corrected_as_the_correction_says(index: Index) -> None:
    assert index.about is not None and "hubs" in index.described()
    weight = index.about["correction"]["weight"]
    finite = index.penalty[1][index.penalty[1].isfinite()]
    assert (finite.std() > 0) == (weight > 0)


def test_features_are_a_query_as_their_clip_is(features: Path, index: Index) -> None:
    clips = open_features(features, "evaluation")
    for find, values in (("audio", clips.visual), ("video", clips.audio)):
        one = index.found(index.query(values[4], find), find, 5)
        name = "video" if find == "audio" else "audio"
        two = index.search(**{name: str(clips.ids[4])}, k=5)
        assert one["id"].tolist() == two["id"].tolist()
        assert one["cosine"].to_numpy() == pytest.approx(two["cosine"].to_numpy(), abs=1e-5)


def test_a_clip_without_a_modality_is_a_query_or_a_candidate_of_the_other(
    features: Path, index: Index
) -> None:
    unpaired = open_features(features, UNPAIRED)
    assert unpaired.ids.tolist() == ["3", "7", "8"]
    everything = index.search(video=str(index.ids[0]), k=398)["id"].tolist()
    assert "3" in everything and "7" not in everything and "8" not in everything
    assert len(index.search(video="7", k=3)) == 3
    with pytest.raises(InputError, match="the query has no audio features"):
        index.search(audio="7", k=3)
    with pytest.raises(InputError, match="asked for 399 neighbours of a gallery of 398"):
        index.search(video="7", k=399)


def test_it_is_made_once_and_mapped(features: Path, run: Path, index: Index) -> None:
    files = {path: path.stat().st_mtime_ns for path in (run / "index").iterdir()}
    build_index(IndexConfig(run=str(run), features=features))
    assert {path: path.stat().st_mtime_ns for path in (run / "index").iterdir()} == files
    again = Index.open(run)
    torch.testing.assert_close(again.embedded.visual, index.embedded.visual)
    assert again.ids.tolist() == index.ids.tolist() and list(again.labels) == [[]] * 400


def test_an_inverted_file_finds_what_it_says(features: Path, run: Path, index: Index) -> None:
    out = run.parent / "parts"
    parts = build_index(IndexConfig(run=str(run), features=features, out=out, exact=100))
    assert parts.about is not None and min(parts.about["found"]) >= 0.99
    assert "% of the ten true nearest" in parts.described()
    shares = []
    for clip in index.ids[:40]:
        one, two = (some.search(video=str(clip), k=10)["id"] for some in (index, parts))
        shares.append(len(set(one) & set(two)) / 10)
    assert np.mean(shares) > 0.97


def test_what_does_not_fit_is_refused(
    features: Path, run: Path, index: Index, tiny: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"shape \(6,\) are no query here: give 7 finite visual"):
        index.query(np.zeros(6))
    with pytest.raises(InputError, match="no query here"):
        index.query(np.full(7, np.nan))
    with pytest.raises(InputError, match=r"has no index: make one with `xmodal index"):
        train(tiny(tmp_path / "other", features=features, steps=2, class_weight=0.0))
        Index.open(tmp_path / "other")
    made = build_index(IndexConfig(run=str(run), features=features, out=tmp_path / "index"))
    note = tmp_path / "index/index.json"
    assert made.about is not None
    note.write_text(json.dumps(made.about | {"weights": "others"}))
    with pytest.raises(InputError, match="made with other weights"):
        Index.open(tmp_path / "index")
    note.write_text(json.dumps(made.about | {"clips": 7}))
    with pytest.raises(InputError, match="the index is damaged"):
        Index.open(tmp_path / "index")
    note.write_text("")
    with pytest.raises(InputError, match="the index is damaged"):
        Index.open(tmp_path / "index")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("precious")
    with pytest.raises(InputError, match="something else than an index"):
        build_index(IndexConfig(run=str(run), features=features, out=tmp_path / "mine"))
    assert (tmp_path / "mine/notes.txt").read_text() == "precious"


def test_it_is_opened_from_anywhere(
    run: Path, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    made = build_index(IndexConfig(run="run", features=run.parent / "features", out=Path("near")))
    monkeypatch.chdir(tmp_path)
    assert Index.open(run).ids.tolist() == made.ids.tolist() == index.ids.tolist()


def test_a_damaged_index_is_made_again(features: Path, run: Path, tmp_path: Path) -> None:
    config = IndexConfig(run=str(run), features=features, out=tmp_path / "index")
    build_index(config)
    (tmp_path / "index/index.json").write_text("{")
    assert len(build_index(config).ids) == 400


def test_a_run_and_features_of_other_sizes_are_told(run: Path, related_features: Path) -> None:
    with pytest.raises(InputError, match=r"trained on features of sizes \(7, 5\), this split has"):
        build_index(IndexConfig(run=str(run), features=related_features))


def test_weights_of_the_package_are_left_as_they_are(features: Path) -> None:
    with pytest.raises(InputError, match="name a folder for the index"):
        build_index(IndexConfig(run="yt8m-recipe", features=features))


def test_lists_are_those_of_the_rows() -> None:
    lists = Lists(np.array([0, 2, 2, 3]), np.array([4, 5, 6]))
    assert list(lists) == [[4, 5], [], [6]] and len(lists) == 3


def test_the_clips_of_the_package_are_an_index() -> None:
    index = Index.open("yt8m-recipe")
    assert "6,000 clips, searched whole; hubs not corrected" in index.described()
    query = index.query(np.ones(1024))
    assert len(index.found(query, "audio", 3)) == 3


@pytest.mark.parametrize("rows", [[-1, -1, -1], [5, -1, 2], [5, 5, 5], [5, 2, 10**6]])
def test_where_the_cells_looked_at_hold_too_few_all_are_searched(
    index: Index, rows: list[int]
) -> None:
    class Cells:
        def search(self, asked: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            return np.zeros((1, k)), np.array([rows])

    in_part = dataclasses.replace(index, parts=(Cells(), Cells()))
    clip = str(index.ids[0])
    pd.testing.assert_frame_equal(in_part.search(video=clip, k=3), index.search(video=clip, k=3))


def test_ids_that_are_no_text_are_told(index: Index) -> None:
    ids = index.ids.copy()
    ids.view(np.uint32)[:] = 0x7FFFFFFF
    damaged = dataclasses.replace(index, ids=ids)
    with pytest.raises(InputError, match="the ids of the clips are damaged"):
        damaged.search(video="0", k=3)
