"""Searching among embedded clips: by hand, and an index on disk against a plain search."""

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from by_hand import incidence

from xmodal import search
from xmodal.config import InputError, TrainConfig
from xmodal.data.features import UNPAIRED, open_features
from xmodal.data.pairs import read_pairs
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.evaluation.recall import embed_run
from xmodal.index import build_index, export
from xmodal.model import JointEmbedding
from xmodal.search import Gallery, open_gallery
from xmodal.search_options import ExportConfig, IndexConfig
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
    visual = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], np.float32)
    audio = np.array([[0.8, 0.6, 0.0], [0.6, 0.8, 0.0], [1.0, 0.0, 0.0]], np.float32)
    labels = incidence([[0, 1], [0], [2]], 4)
    return Gallery((visual, audio), np.array(["a", "b", "c"]), labels, NAMES)


def test_the_sounds_of_a_video_with_its_own_one_marked():
    found = by_hand().search(video="a", k=3)
    assert found["id"].tolist() == ["b", "a", "c"]
    assert found["rank"].tolist() == [1, 2, 3]
    assert found["cosine"].tolist() == pytest.approx([0.8, 0.6, 0.0])
    assert found["own"].tolist() == [False, True, False]
    assert found["shared"].tolist() == [1, 2, 0]
    assert found["labels"].tolist() == [["Guitar"], ["Guitar", "Concert"], ["Cat"]]


def test_the_videos_of_a_sound():
    found = by_hand().search(audio="c", k=1)
    (line,) = found.drop(columns=["score", "cosine"]).to_dict("records")
    assert line == {"rank": 1, "id": "b", "labels": ["Guitar"], "own": False, "shared": 0}
    assert found["score"].tolist() == found["cosine"].tolist() == [1.0]


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
        ({"video": "a", "k": 4, "distinct": 0.9}, "fewer than 4"),
    ],
)
def test_a_query_that_cannot_be_answered_is_told(query: dict, word: str):
    with pytest.raises(InputError, match=word):
        by_hand().search(**query)


def test_several_queries_are_answered_one_by_one():
    gallery = by_hand()
    found = gallery.search(video=["c", "a"], k=2)
    assert found["query"].tolist() == ["c", "c", "a", "a"]
    assert found["rank"].tolist() == [1, 2, 1, 2]
    for clip, part in found.groupby("query"):
        alone = gallery.search(video=clip, k=2)
        pd.testing.assert_frame_equal(part.drop(columns="query").reset_index(drop=True), alone)


def test_items_are_left_out_before_the_first_k_are_taken():
    """The sounds of video a are b (0.8), a (0.6), c (0); b and a have a cosine of 0.96."""
    found = by_hand()

    def ids(**options: Any) -> list[str]:
        return found.search(video="a", k=1, **options)["id"].tolist()

    assert ids(where=["label!=guitar"]) == ["c"]
    assert ids(where=["label=Concert"]) == ids(where=["label=Guitar", "label=Concert"]) == ["a"]
    assert found.search(video="b", k=2)["id"].tolist() == ["c", "a"]
    assert found.search(video="b", k=2, exclude_own=True)["own"].tolist() == [False, False]
    repeated = found.search(video="a", k=2, distinct=0.95)
    assert repeated["id"].tolist() == ["b", "c"] and repeated.attrs["repeated"] == 1
    for wrong, word in (
        (["label=Dog"], "Dog"),
        (["Guitar"], "label=NAME"),
        (["label=Flute"], "fewer"),
    ):
        with pytest.raises(InputError, match=word):
            ids(where=wrong)


def test_the_score_sorts_and_is_the_cosine_less_the_penalty():
    gallery = dataclasses.replace(by_hand(), penalty=[np.array([0.0, 0.5, 0.0])] * 2)
    found = gallery.search(video="a", k=3)
    assert found["id"].tolist() == ["a", "b", "c"]
    assert found["score"].tolist() == pytest.approx([0.6, 0.3, 0.0])
    assert found["cosine"].tolist() == pytest.approx([0.6, 0.8, 0.0])


def test_clips_of_a_feature_set_keep_their_names(
    related_features: Path, tiny: Callable[..., TrainConfig], tmp_path: Path
):
    train(tiny(tmp_path / "run", steps=20))
    made = {"run": str(tmp_path / "run"), "features": related_features}
    gallery = build_index(IndexConfig(**made, splits=("evaluation",), correct_hubs=False))
    clips = open_features(related_features, "evaluation")
    assert gallery.embedded[0] == pytest.approx(embed_run(tmp_path / "run", clips).visual.numpy())
    found = gallery.search(video=str(clips.ids[5]), k=len(clips)).set_index("id")
    for row, clip in enumerate(clips.ids):
        assert found.loc[clip, "labels"] == clips.labels_of(row)
        both = set(clips.labels_of(5)) & set(clips.labels_of(row))
        assert found.loc[clip, "shared"] == len(both)


def test_many_items_and_queries_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch):
    """Of items that score the same, the first come first, also where another part holds them."""
    rng = np.random.default_rng(0)
    visual, audio = rng.integers(-2, 3, (2, 40, 3)).astype(np.float32)
    cost = np.where(np.arange(40) % 7, rng.integers(3, size=40), np.inf).astype(np.float32)
    ids = np.arange(40).astype(str)
    gallery = Gallery((visual, audio), ids, incidence([[]] * 40, 1), ["Cat"], [cost, cost])
    score = visual @ audio.T - cost
    for k in (1, 5, 34):
        best = np.argsort(-score, axis=1, kind="stable")[:, :k]
        for queries, scores in ((1024, 2**22), (7, 21), (7, 70)):
            monkeypatch.setattr(search, "QUERIES", queries)
            monkeypatch.setattr(search, "SCORES", scores)
            assert gallery.nearest(visual, "audio", k).tolist() == best.tolist()


@pytest.mark.parametrize("damage", [np.nan, np.inf])
def test_vectors_that_are_no_numbers_are_told(damage: float):
    gallery = by_hand()
    gallery.embedded[1][2, 0] = damage
    with pytest.raises(InputError, match="damaged"):
        gallery.search(video="b", k=1)


def test_an_id_or_a_label_is_searched_for_without_torch():
    asked = (["--video", "ZTcb"], ["--label", "Guitar", "--where", "label!=Concert"])
    for words in asked:
        code = f"import sys; from xmodal.cli import run; status = run('search', {[RECIPE, *words]})"
        done = subprocess.run(
            [sys.executable, "-c", code + "; sys.exit(status or 'torch' in sys.modules)"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 and "youtu.be" in done.stdout


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
        cosine = index.embedded[side] @ query
        best = (index.penalty[side] - cosine).argsort()[:9]
        assert found["id"].tolist() == index.ids[best].tolist()
        assert found["cosine"].to_numpy() == pytest.approx(cosine[best], abs=1e-6)
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
    assert all(isinstance(side, np.memmap) for side in (*again.embedded, *again.penalty))
    np.testing.assert_array_equal(again.embedded[0], index.embedded[0])
    assert again.ids.tolist() == index.ids.tolist() and again.labels.nnz == 0


def test_clips_are_added_replaced_and_deleted_without_embedding_the_rest_again(
    features: Path, run: Path, index: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = {"run": str(run), "out": tmp_path / "index"}
    build_index(IndexConfig(**where, features=features, splits=("validation", "evaluation")))
    embedded = []
    embed = JointEmbedding.embed
    monkeypatch.setattr(
        JointEmbedding, "embed", lambda self, v, a: embedded.append(len(v)) or embed(self, v, a)
    )
    grown = build_index(IndexConfig(**where, features=features, splits=("unpaired",), add=True))
    assert len(grown.ids) == 123 and embedded == [3]
    (splits,) = grown.about["sets"].values()
    assert set(splits) == {"validation", "evaluation", "unpaired"}
    row = {clip: at for at, clip in enumerate(index.ids)}
    rows = [row[clip] for clip in grown.ids]
    for side in (0, 1):
        for ours, theirs in (grown.embedded, index.embedded), (grown.penalty, index.penalty):
            np.testing.assert_allclose(ours[side], theirs[side][rows], rtol=1e-5, atol=1e-6)
    again = IndexConfig(**where, features=features, splits=("evaluation",), add=True)
    with pytest.raises(InputError, match="--replace"):
        build_index(again)
    assert sorted(build_index(again.model_copy(update={"replace": True})).ids) == sorted(grown.ids)
    bank = (tmp_path / "index/audio_bank.npy").read_bytes()
    (tmp_path / "index/audio_bank.npy").write_bytes(bank[:50])
    with pytest.raises(InputError, match="damaged"):
        build_index(again.model_copy(update={"replace": True}))
    (tmp_path / "index/audio_bank.npy").write_bytes(bank)
    gone = tuple(map(str, grown.ids[:2]))
    left = build_index(IndexConfig(**where, delete=gone))
    assert len(left.ids) == 121 and not set(gone) & set(left.ids)
    with pytest.raises(InputError, match=gone[0]):
        build_index(IndexConfig(**where, delete=gone))
    with pytest.raises(InputError, match="--features"):
        build_index(IndexConfig(**where))


def test_an_index_is_moved_with_its_run_or_alone(
    features: Path, run: Path, index: Gallery, tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run, tmp_path / "moved")
    monkeypatch.chdir(run.parent)  # a relative path is known from anywhere
    build_index(IndexConfig(run="run", features=Path("features"), out=tmp_path / "alone"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moved/index/index.json").write_text(
        (run / "index/index.json").read_text().replace(str(run), str(tmp_path / "gone"))
    )
    query = open_features(features, "evaluation").visual[0]
    for place in ("moved", "alone"):
        found = open_gallery(tmp_path / place).search(features=query, k=4)
        pd.testing.assert_frame_equal(found, index.search(features=query, k=4))
    opened = open_gallery(tmp_path / "moved")
    train(tiny(tmp_path / "moved", features=features, seed=9, overwrite=True))
    with pytest.raises(InputError, match="weights"):
        opened.search(features=query, k=4)
    shutil.move(tmp_path / "moved/index", tmp_path / "orphan")
    assert len(open_gallery(tmp_path / "orphan").search(video="0", k=4)) == 4
    with pytest.raises(InputError, match="gone"):
        open_gallery(tmp_path / "orphan").search(features=query, k=4)


def test_an_inverted_file_finds_what_it_says(features: Path, run: Path, index: Gallery) -> None:
    out = run.parent / "parts"
    parts = build_index(IndexConfig(run=str(run), features=features, out=out, exact=100))
    assert min(parts.about["found"]) >= 0.99
    shares = []
    for clip in index.ids[:40]:
        one, two = (some.search(video=str(clip), k=10)["id"] for some in (index, parts))
        shares.append(len(set(one) & set(two)) / 10)
    assert np.mean(shares) > 0.97
    mask = np.arange(400) % 3 == 0
    query = index.embedded[0][:5]
    best = [some.nearest(query, "audio", 5, mask) for some in (index, parts)]
    assert mask[best[1]].all() and (best[0] == best[1]).mean() > 0.9


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
    monkeypatch.setitem(sys.modules, "faiss", None)
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
    other = config.model_copy(update={"correct_hubs": False})
    with pytest.raises(InputError, match="--overwrite"):
        build_index(other)
    for wrong, word in (({"clips": 7}, "damaged"), ({"weights": "others"}, "weights")):
        (tmp_path / "index/index.json").write_text(json.dumps(made.about | wrong))
        with pytest.raises(InputError, match=word):
            open_gallery(tmp_path / "index")
    assert len(build_index(other.model_copy(update={"overwrite": True})).ids) == 400


def test_the_clips_of_the_package_are_an_index() -> None:
    index = open_gallery(RECIPE)
    assert "6,000 clips" in str(index)
    assert len(index.search(features=np.ones(1024), k=3)) == 3
    assert index.search(label="guitar")["shared"].mean() > 0.5
    assert "Guitar" in index.search(label="Guitar", k=1)["labels"][0]
    repeated = index.search(label="Game", k=50, distinct=0.9)
    assert repeated.attrs["repeated"] > 0 and len(repeated) == 50
    with pytest.raises(InputError, match="Guitar"):
        index.search(label="guitarr")


# --- for other programs --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["deep/clips.npz", "clips.parquet"])
def test_what_is_exported_is_the_index_and_can_be_prepared(tmp_path: Path, name: str) -> None:
    assert "6,000 clips" in export(ExportConfig(run=RECIPE, out=tmp_path / name))
    index, pairs = open_gallery(RECIPE), read_pairs(tmp_path / name)
    assert pairs.ids.tolist() == index.ids.tolist()
    for ours, theirs in zip(pairs[:2], index.embedded, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert pairs.labels == [sorted(index.labels_of(row)) for row in range(6000)]
    assert [path.name for path in (tmp_path / name).parent.iterdir()] == [Path(name).name]


def test_what_an_exported_clip_lacks_is_nan(index: Gallery, run: Path, tmp_path: Path) -> None:
    export(ExportConfig(run=str(run), out=tmp_path / "clips.npz"))
    pairs = read_pairs(tmp_path / "clips.npz")
    assert set(pairs.ids[~pairs.complete]) == {"3", "7", "8"}


def test_a_label_with_a_bar_is_whole_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = dataclasses.replace(by_hand(), names=["drum|bass", *NAMES[1:]])
    monkeypatch.setattr("xmodal.index.open_gallery", lambda run: named)
    export(ExportConfig(run="any", out=tmp_path / "clips.parquet"))
    assert ["drum|bass"] in read_pairs(tmp_path / "clips.parquet").labels
    with pytest.raises(InputError, match="parquet"):
        export(ExportConfig(run="any", out=tmp_path / "clips.npz"))


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for name in ("file/clips.npz", "clips.txt"):
        with pytest.raises(InputError, match=name.split(".")[0]):
            export(ExportConfig(run=RECIPE, out=tmp_path / name))
