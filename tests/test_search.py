"""Searching among embedded clips: by hand, and an index on disk against a plain search."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from by_hand import incidence

from xmodal.config import InputError, TrainConfig
from xmodal.data.features import UNPAIRED, open_features
from xmodal.data.pairs import read_pairs
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.evaluation.recall import embed_run
from xmodal.model import Embeddings
from xmodal.search import (
    ExportConfig,
    Gallery,
    IndexConfig,
    build_index,
    export,
    open_gallery,
    read_query,
)
from xmodal.train import train

NAMES = ("Guitar", "Concert", "Cat", "Flute")
RECIPE = "yt8m-recipe"


# --- by hand -------------------------------------------------------------------------------------


def by_hand() -> Gallery:
    """Cosines of the videos (rows) with the sounds (columns), and the labels of the clips.

    ====  ====  ====  =====================
    0.6   0.8   0.0   a: Guitar, Concert
    0.8   0.6   1.0   b: Guitar
    0.0   1.0   0.6   c: Cat
    ====  ====  ====  =====================
    """
    visual = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    audio = torch.tensor([[0.8, 0.6, 0.0], [0.6, 0.8, 0.0], [1.0, 0.0, 0.0]])
    labels = incidence([[0, 1], [0], [2]], 4)
    return Gallery(Embeddings(visual, audio), np.array(["a", "b", "c"]), labels, NAMES)


def test_the_sounds_of_a_video_with_its_own_one_marked():
    found = by_hand().search(video="a", k=3)
    assert found["id"].tolist() == ["b", "a", "c"]
    assert found["rank"].tolist() == [1, 2, 3]
    assert found["cosine"].tolist() == pytest.approx([0.8, 0.6, 0.0])
    assert found["own"].tolist() == [False, True, False]
    assert found["shared"].tolist() == [1, 2, 0]
    assert found["labels"].tolist() == ["Guitar", "Guitar; Concert", "Cat"]


def test_the_videos_of_a_sound():
    found = by_hand().search(audio="c", k=1)
    assert found.to_dict("records") == [
        {"rank": 1, "id": "b", "labels": "Guitar", "cosine": 1.0, "own": False, "shared": 0}
    ]


def test_a_label_asks_with_the_mean_of_its_clips():
    """Videos of a and b: (0.5, 0.5, 0), of length √0.5; their sounds: (0.7, 0.7, 0)."""
    sounds = by_hand().search(label="Guitar", k=3)
    half = 0.5**0.5
    assert sounds["cosine"].tolist() == pytest.approx([1.4 * half, 1.4 * half, half])
    assert set(sounds["id"][:2]) == {"a", "b"}
    assert sounds["shared"].tolist() == [1, 1, 0]
    assert not sounds["own"].any()
    videos = by_hand().search(label="Guitar", find="video", k=3)
    assert videos["cosine"].tolist() == pytest.approx([half, half, 0.0])


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({}, "one query"),
        ({"video": "a", "label": "Cat"}, "one query"),
        ({"video": "A"}, "'A'"),
        ({"label": "guitars"}, "guitars"),
        ({"label": "Flute"}, "features"),  # no clip carries it
        ({"label": "0"}, "label 0"),
        ({"video": "a", "k": 4}, "fewer than 4"),
    ],
)
def test_a_query_that_cannot_be_answered_is_told(query: dict, word: str):
    with pytest.raises(InputError, match=word):
        by_hand().search(**query)


def test_clips_of_a_feature_set_keep_their_names(
    related_features: Path, tiny: Callable[..., TrainConfig], tmp_path: Path
):
    train(tiny(tmp_path / "run", steps=20))
    made = {"run": str(tmp_path / "run"), "features": related_features}
    gallery = build_index(IndexConfig(**made, splits=("evaluation",), correct_hubs=False))
    clips = open_features(related_features, "evaluation")
    torch.testing.assert_close(gallery.embedded.visual, embed_run(tmp_path / "run", clips).visual)
    found = gallery.search(video=str(clips.ids[5]), k=len(clips)).set_index("id")
    for row, clip in enumerate(clips.ids):
        assert found.loc[clip, "labels"] == "; ".join(clips.labels_of(row))
        both = set(clips.labels_of(5)) & set(clips.labels_of(row))
        assert found.loc[clip, "shared"] == len(both)


# --- an index ------------------------------------------------------------------------------------


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
def index(features: Path, run: Path) -> Gallery:
    return build_index(IndexConfig(run=str(run), features=features))


def test_a_planted_relation_of_any_sizes_is_learnt(features: Path, run: Path) -> None:
    clips = open_features(features, "evaluation")
    visual, audio, *_ = embed_run(run, clips)
    better = (visual @ audio.T > (visual * audio).sum(dim=1, keepdim=True)).sum(dim=1)
    assert better.float().mean() < 0.2 * len(clips)


@pytest.mark.parametrize("find", ["audio", "video"])
def test_search_is_that_of_all_cosines_less_the_penalty(
    features: Path, index: Gallery, find: str
) -> None:
    clips = open_features(features, "evaluation")
    row = {str(clip): at for at, clip in enumerate(index.ids)}
    for at in (0, 17):
        clip = str(clips.ids[at])
        found = index.search(**{"video" if find == "audio" else "audio": clip}, k=9)
        side = 1 if find == "audio" else 0
        query = index.embedded[1 - side][row[clip]]
        cosine = (index.embedded[side] @ query).double()
        score = cosine - index.penalty[side].double()
        best = score.argsort(descending=True)[:9]
        assert found["id"].tolist() == index.ids[best].tolist()
        assert found["cosine"].to_numpy() == pytest.approx(cosine[best].numpy(), abs=1e-6)
        assert found["own"].sum() <= 1


def test_features_are_a_query_as_their_clip_is(features: Path, index: Gallery) -> None:
    clips = open_features(features, "evaluation")
    for find, values in (("audio", clips.visual), ("video", clips.audio)):
        one = index.search(features=values[4], find=find, k=5)
        name = "video" if find == "audio" else "audio"
        two = index.search(**{name: str(clips.ids[4])}, k=5)
        assert one["id"].tolist() == two["id"].tolist()
        assert one["cosine"].to_numpy() == pytest.approx(two["cosine"].to_numpy(), abs=1e-5)


def test_a_clip_without_a_modality_is_a_query_or_a_candidate_of_the_other(
    features: Path, index: Gallery
) -> None:
    unpaired = open_features(features, UNPAIRED)
    assert unpaired.ids.tolist() == ["3", "7", "8"]
    everything = index.search(video=str(index.ids[0]), k=398)["id"].tolist()
    assert "3" in everything and "7" not in everything and "8" not in everything
    assert len(index.search(video="7", k=3)) == 3
    with pytest.raises(InputError, match="no audio features"):
        index.search(audio="7", k=3)
    with pytest.raises(InputError, match="fewer than 399"):
        index.search(video="7", k=399)


def test_it_is_made_once_and_mapped(features: Path, run: Path, index: Gallery) -> None:
    files = {path: path.stat().st_mtime_ns for path in (run / "index").iterdir()}
    build_index(IndexConfig(run=str(run), features=features))
    assert {path: path.stat().st_mtime_ns for path in (run / "index").iterdir()} == files
    again = open_gallery(run)
    torch.testing.assert_close(again.embedded.visual, index.embedded.visual)
    assert again.ids.tolist() == index.ids.tolist() and again.labels.nnz == 0


def test_an_inverted_file_finds_what_it_says(features: Path, run: Path, index: Gallery) -> None:
    out = run.parent / "parts"
    parts = build_index(IndexConfig(run=str(run), features=features, out=out, exact=100))
    assert min(parts.about["found"]) >= 0.99
    shares = []
    for clip in index.ids[:40]:
        one, two = (some.search(video=str(clip), k=10)["id"] for some in (index, parts))
        shares.append(len(set(one) & set(two)) / 10)
    assert np.mean(shares) > 0.97


@pytest.mark.parametrize("rows", [[-1, -1, -1], [5, -1, 2], [5, 2, 10**6]])
def test_where_the_cells_looked_at_hold_too_few_all_are_searched(
    index: Gallery, rows: list[int]
) -> None:
    class Cells:
        def search(self, asked: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            return np.zeros((1, k)), np.array([rows])

    in_part = dataclasses.replace(index, parts=(Cells(), Cells()))
    clip = str(index.ids[0])
    pd.testing.assert_frame_equal(in_part.search(video=clip, k=3), index.search(video=clip, k=3))


def test_an_index_in_parts_needs_faiss(
    features: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    config = IndexConfig(run=str(run), features=features, out=tmp_path / "index")
    assert len(build_index(config).search(video="0", k=3)) == 3
    with pytest.raises(InputError, match=r"large"):
        build_index(config.model_copy(update={"exact": 100, "out": tmp_path / "parts"}))
    assert not (tmp_path / "parts").exists()


def test_what_does_not_fit_is_refused(
    features: Path, run: Path, index: Gallery, related_features: Path, tmp_path: Path
) -> None:
    for query in (np.zeros(6), np.full(7, np.nan), np.zeros((2, 3, 7))):
        with pytest.raises(InputError, match="give 7 finite visual"):
            index.search(features=query)
    (tmp_path / "query.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match=r"query.npy"):
        read_query(tmp_path / "query.npy")
    with pytest.raises(InputError, match=r"\(7, 5\)"):
        build_index(IndexConfig(run=str(run), features=related_features))
    with pytest.raises(InputError, match="--out"):
        build_index(IndexConfig(run=RECIPE, features=features))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("precious")
    with pytest.raises(InputError, match="something else"):
        build_index(IndexConfig(run=str(run), features=features, out=tmp_path / "mine"))
    assert (tmp_path / "mine/notes.txt").read_text() == "precious"


def test_an_index_of_other_weights_or_damaged_is_refused_and_made_again(
    features: Path, run: Path, tmp_path: Path
) -> None:
    config = IndexConfig(run=str(run), features=features, out=tmp_path / "index")
    made = build_index(config)
    for wrong, word in (({"clips": 7}, "damaged"), ({"weights": "others"}, "weights")):
        (tmp_path / "index/index.json").write_text(json.dumps(made.about | wrong))
        with pytest.raises(InputError, match=word):
            open_gallery(tmp_path / "index")
    assert len(build_index(config).ids) == 400


def test_it_is_opened_from_anywhere(
    run: Path, index: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    made = build_index(IndexConfig(run="run", features=run.parent / "features", out=Path("near")))
    monkeypatch.chdir(tmp_path)
    assert open_gallery(run).ids.tolist() == made.ids.tolist() == index.ids.tolist()


def test_the_clips_of_the_package_are_an_index() -> None:
    index = open_gallery(RECIPE)
    assert "6,000 clips" in str(index)
    assert len(index.search(features=np.ones(1024), k=3)) == 3
    assert index.search(label="guitar")["shared"].mean() > 0.5
    assert "Guitar" in index.search(label="Guitar", k=1)["labels"][0]
    with pytest.raises(InputError, match="Guitar"):
        index.search(label="guitarr")


# --- for other programs --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["deep/clips.npz", "clips.parquet"])
def test_what_is_exported_is_the_index_and_can_be_prepared(tmp_path: Path, name: str) -> None:
    assert "6,000 clips" in export(ExportConfig(run=RECIPE, out=tmp_path / name))
    index, pairs = open_gallery(RECIPE), read_pairs(tmp_path / name)
    assert pairs.ids.tolist() == index.ids.tolist()
    for ours, theirs in zip(pairs[:2], index.embedded[:2], strict=True):
        np.testing.assert_array_equal(ours, theirs.numpy())
    assert pairs.labels == [sorted(index.labels_of(row)) for row in range(6000)]
    assert [path.name for path in (tmp_path / name).parent.iterdir()] == [Path(name).name]


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for name in ("file/clips.npz", "clips.txt"):
        with pytest.raises(InputError, match=name.split(".")[0]):
            export(ExportConfig(run=RECIPE, out=tmp_path / name))
