"""Own pairs by folds: how they are dealt, what is measured, what is found."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from media_files import av, sine, steady, write_media, write_picture

from xmodal.config import InputError
from xmodal.data.pairs import Pairs
from xmodal.evaluation.recall import AUDIO_TO_VIDEO, recall_of
from xmodal.media.encoders import Encoders
from xmodal.model import Embeddings
from xmodal_suite import own_media as module
from xmodal_suite.own_media import (
    CHANCE,
    CHOSEN,
    OwnMediaConfig,
    deal_folds,
    measure_own_media,
    normalised_rank,
    normalised_ranks,
    own_files,
    with_chance,
    write_fold,
)

ROOT = Path(__file__).parents[2]


def some_pairs(groups: list[str], sizes: tuple[int, int] = (5, 4)) -> Pairs:
    """Pairs whose two halves are linear in the same three numbers."""
    random = np.random.default_rng(0)
    common = random.normal(size=(len(groups), 3))
    visual, audio = ((common @ random.normal(size=(3, size))).astype(np.float32) for size in sizes)
    names = np.array([f"{group}/{row}" for row, group in enumerate(groups)])
    return Pairs(visual, audio, names, [[group] for group in groups], np.array(groups))


@pytest.fixture
def config(tmp_path: Path) -> OwnMediaConfig:
    """36 pairs in 12 folders."""
    pairs = some_pairs([f"folder{row // 3}" for row in range(36)])
    arrays = {name: getattr(pairs, name) for name in ("visual", "audio", "ids", "group")}
    labels = np.array([names[0] for names in pairs.labels])
    np.savez(tmp_path / "pairs.npz", **arrays, labels=labels)
    return OwnMediaConfig(
        pairs=tmp_path / "pairs.npz",
        features=tmp_path / "features",
        media=tmp_path / "nowhere",
        video=None,
        folds=3,
        steps=10,
        batch_size=8,
        resamples=20,
        k=3,
    )


def test_folds_are_dealt_the_largest_lot_first_to_the_smallest_fold():
    """Lots of 4, 3, 2, 2 and 1: 4 | 3 | 2, then 2 to the third, 1 to the second."""
    pairs = some_pairs(["a"] * 4 + ["b"] * 3 + ["c"] * 2 + ["d"] * 2 + ["e"])
    folds = deal_folds(pairs, OwnMediaConfig(folds=3))
    assert [sorted(set(pairs.group[fold])) for fold in folds] == [["a"], ["b", "e"], ["c", "d"]]
    assert sorted(np.concatenate(folds)) == list(range(12))


def test_folders_need_not_be_apart_but_equal_sounds_must():
    pairs = some_pairs(["a"] * 6)
    pairs.audio[3] = pairs.audio[0]
    with pytest.raises(InputError, match="6 pairs in 1 lots"):
        deal_folds(pairs, OwnMediaConfig(folds=3))
    folds = deal_folds(pairs, OwnMediaConfig(folds=3, folders_apart=False))
    assert [len(fold) for fold in folds] == [2, 2, 2]
    assert any({0, 3} <= set(fold) for fold in folds)


def test_normalised_rank_is_worked_out_by_hand():
    """Audio 0 and 1 lie on their pictures, audio 2 on picture 0; all but its own are nearer."""
    visual = torch.eye(3)
    audio = torch.stack([visual[0], visual[1], visual[0]])
    # audio→video: ranks 1, 1 and 2.5 (the two others tie below: 1 better, 2 tied)
    # video→audio: picture 0 ties between audio 0 and 2: 1.5; picture 1: 1; picture 2 all tied: 2
    expected = ((1 + 1 + 2.5) / 3 + (1.5 + 1 + 2) / 3) / 2
    found = normalised_rank(Embeddings(visual, audio), np.arange(3))
    assert found == pytest.approx((expected - 1) / 2)


def test_chance_and_normalised_ranks():
    columns = {"member": 0, "direction": AUDIO_TO_VIDEO, "gallery": 5, "clip": range(5)}
    ranked = pd.DataFrame({**columns, "better": [0, 1, 2, 3, 4], "tied": 1, "model": "a"})
    recalls = with_chance(recall_of(ranked, 10, ["model"]))
    chance = recalls[recalls["model"] == CHANCE].set_index("k")["recall"]
    assert chance.to_dict() == {1: 20, 5: 100, 10: 100}
    ranks = normalised_ranks(recalls).set_index("model")[AUDIO_TO_VIDEO]
    assert ranks["a"] == pytest.approx(0.5) and ranks[CHANCE] == pytest.approx(0.5)


def test_the_shuffled_control_trains_on_other_sounds_and_is_evaluated_on_true_pairs(
    config: OwnMediaConfig,
):
    pairs = some_pairs([f"folder{row // 3}" for row in range(36)])
    first, second, third = deal_folds(pairs, config)
    for shuffle in (False, True):
        fold = write_fold(pairs, first, second, config, f"fold{shuffle}", shuffle)
        kept = {}
        for split in ("train", "validation", "evaluation"):
            ids = np.load(fold / "features" / split / "ids.npy")
            rows = [list(pairs.ids).index(name) for name in ids]
            audio = np.load(fold / "features" / split / "audio.npy")
            kept[split] = (audio == pairs.audio[rows]).all(axis=1).mean()
            expected = {"train": third, "validation": second, "evaluation": first}[split]
            assert set(rows) == set(expected)
            assert set(map(bytes, audio)) == set(map(bytes, pairs.audio[rows]))
        assert kept["validation"] == kept["evaluation"] == 1
        assert kept["train"] < 0.5 if shuffle else kept["train"] == 1


def test_a_planted_relation_is_found_by_folds_and_not_by_the_control(config: OwnMediaConfig):
    found = measure_own_media(config)
    assert found["found"].empty
    ranks = normalised_ranks(recall_of(found["ranks"], 20, ["model"]))
    among = ranks[ranks["gallery"] == 12].set_index("model")[AUDIO_TO_VIDEO]
    assert among["linear CCA"] < 0.05 < 0.25 < among["recipe, shuffled pairs"]
    counts = found["ranks"].groupby(["model", "gallery", "direction"])["clip"].nunique()
    assert (counts == 36).all()  # each once
    chosen = found["choice"].sort_values("normalised rank").drop_duplicates("fold")
    by_fold = found["ranks"].set_index(["model", "gallery", "direction", "clip"])["better"]
    pairs = some_pairs([f"folder{row // 3}" for row in range(36)])
    for fold, name in zip(chosen["fold"], chosen["model"]):
        for clip in deal_folds(pairs, config)[fold]:
            place = (36, AUDIO_TO_VIDEO, clip)
            assert by_fold[(CHOSEN, *place)] == by_fold[(name, *place)]
    points = found["points"]
    assert len(points) == 36 and set(points["label"]) > {"folder0"}
    expected = by_fold[CHOSEN][36][AUDIO_TO_VIDEO].sort_index()
    assert (points[AUDIO_TO_VIDEO] - 1 == expected).all()  # of the model that has not seen the clip
    assert found["neighbours"].groupby(["direction", "query"])["rank"].max().eq(3).all()


def test_sounds_are_found_for_a_video(config: OwnMediaConfig, monkeypatch: pytest.MonkeyPatch):
    pairs = some_pairs([f"folder{row // 3}" for row in range(36)])
    for features, told in ((pairs.visual[7], None), (pairs.visual[7, :3], "5 visual features")):
        simple = Encoders("simple", len(features), 4, 16_000, lambda _, x=features: x, list)
        monkeypatch.setattr(module, "open_encoders", lambda *_, simple=simple: simple)
        video = write_media(config.pairs.parent / "a.mp4", steady(1))
        one = config.model_copy(update={"video": video, "steps": 1})
        if told:
            with pytest.raises(InputError, match=told):
                measure_own_media(one)
        else:
            found = measure_own_media(one)["found"]
            assert found["clip"].tolist()[0] == "folder2/7"  # whose pictures they are
            assert found["rank"].tolist() == [1, 2, 3]


def test_own_files_are_named_relative_to_the_page(tmp_path: Path):
    media, page = tmp_path / "media", tmp_path / "figures" / "page.html"
    media.mkdir()
    write_picture(media / "cow.png", np.zeros((4, 6, 4), np.uint8))
    write_media(media / "cow.wav", tone=sine(0.1))
    write_media(media / "hen.wav", tone=sine(0.1))
    assert own_files(OwnMediaConfig(media=media), page) == {
        "cow": {"picture": "../media/cow.png", "sound": "../media/cow.wav"},
        "hen": {"sound": "../media/hen.wav"},
    }
    assert own_files(OwnMediaConfig(media=tmp_path / "nowhere"), page) == {}


def test_a_silent_copy_has_the_same_pictures_and_no_sound(tmp_path: Path):
    video = write_media(tmp_path / "a.mp4", steady(1), tone=sine(1))
    out = tmp_path / "silent.mp4"
    subprocess.run([sys.executable, ROOT / "data/silent_copy.py", video, out], check=True)
    with av.open(str(video)) as before, av.open(str(out)) as after:
        assert [stream.type for stream in after.streams] == ["video"]
        pictures = [
            [frame.to_ndarray() for frame in one.decode(video=0)] for one in (before, after)
        ]
    assert len(pictures[0]) == len(pictures[1]) == 25
    assert all((a == b).all() for a, b in zip(*pictures))
