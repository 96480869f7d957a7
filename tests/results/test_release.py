"""Weights that are shipped: measured, loaded by name, verified, and searched with."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import xmodal.checkpoint
from xmodal.checkpoint import load_run
from xmodal.config import InputError, TrainConfig
from xmodal.data.features import open_features
from xmodal.evaluation.recall import embed_run, mean_recall
from xmodal.retrieval.gallery import open_gallery
from xmodal.train import train
from xmodal_suite import release
from xmodal_suite.release import ShipConfig, ship


@pytest.fixture(scope="module")
def runs(tiny: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    fields = {"recipe": "best", "class_weight": 0.0, "schedule": "cosine"}
    for seed in (0, 1):
        train(tiny(folder / f"seed{seed}", seed=seed, **fields))
    return [folder / "seed0", folder / "seed1"]


@pytest.fixture
def shipped(
    runs: list[Path], related_features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.setattr(xmodal.checkpoint, "SHIPPED", tmp_path)
    monkeypatch.setattr(release, "ALLOWED", 5)  # of so few clips, one is some points
    config = ShipConfig(
        runs=runs, features=related_features, out=tmp_path / "tiny-recipe", galleries=[16]
    )
    ship(config)
    return config.out


def test_the_best_run_on_validation_clips_is_shipped(
    shipped: Path, runs: list[Path], related_features: Path
):
    validation = open_features(related_features, "validation")
    scores = [mean_recall(embed_run(run, validation), validation) for run in runs]
    best, _ = load_run(runs[int(np.argmax(scores))])
    model, config = load_run("tiny-recipe")
    for name, weight in model.state_dict().items():
        assert weight.dtype == torch.float32
        if not name.startswith("classifier."):
            torch.testing.assert_close(weight, best.state_dict()[name], rtol=1e-3, atol=1e-4)
    assert config.recipe == "best"


def test_the_card_says_what_was_measured(shipped: Path, related_features: Path):
    card = (shipped / "README.md").read_text()
    clips = open_features(related_features, "evaluation")
    found = release.recalls(
        embed_run(Path("tiny-recipe"), clips),
        clips,
        ShipConfig(runs=[shipped], features=related_features, out=shipped, galleries=[16]),
    )
    for recall in found["recall"]:
        assert f"{recall:.1f} [" in card
    assert "{" not in card.split("## Use")[0]


def test_clips_are_searched_without_features(shipped: Path, related_features: Path):
    gallery, clips = open_gallery("tiny-recipe"), open_features(related_features, "evaluation")
    assert gallery.ids.tolist() == clips.ids.tolist()
    assert gallery.labels == [clips.labels[[row]].indices.tolist() for row in range(len(clips))]
    embedded = embed_run(shipped, clips)
    torch.testing.assert_close(gallery.embedded.visual, embedded.visual, atol=2e-3, rtol=0)
    found = gallery.search(video=clips.ids[3], k=5)
    cosine = (embedded.audio @ embedded.visual[3]).numpy()
    assert found["cosine"].tolist() == pytest.approx(sorted(cosine)[::-1][:5], abs=3e-3)
    assert found["rank"].tolist() == [1, 2, 3, 4, 5]
    rows = [clips.ids.tolist().index(one) for one in found["id"]]
    assert found["labels"].tolist() == ["; ".join(map(str, gallery.labels[r])) for r in rows]
    other = gallery.search(audio=clips.ids[3], k=1)
    assert other["cosine"][0] == pytest.approx(
        (embedded.visual @ embedded.audio[3]).max().item(), abs=3e-3
    )
    for query in ({}, {"video": "a", "audio": "b"}, {"video": "nobody"}):
        with pytest.raises(InputError, match="one query is needed|no clip has the id"):
            gallery.search(**query)


def test_a_changed_file_is_refused(shipped: Path):
    for name in json.loads((shipped / "manifest.json").read_text()):
        before = (shipped / name).read_bytes()
        (shipped / name).write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        with pytest.raises(InputError, match=name):
            load_run("tiny-recipe")
        (shipped / name).write_bytes(before)
    load_run("tiny-recipe")


def test_a_run_of_that_name_in_the_working_directory_comes_first(
    shipped: Path, runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "here").mkdir()
    shutil.copytree(runs[0], tmp_path / "here" / "tiny-recipe")
    monkeypatch.chdir(tmp_path / "here")
    assert load_run("tiny-recipe")[0].classifier.out_features > 1


def test_float16_that_moves_recall_is_not_shipped(
    runs: list[Path], related_features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    measured = release.recalls

    def worse(embedded, clips, config) -> pd.DataFrame:
        frame = measured(embedded, clips, config)
        worse.calls += 1
        return frame.assign(recall=frame["recall"] + 0.2 * worse.calls)

    worse.calls = 0
    monkeypatch.setattr(release, "recalls", worse)
    monkeypatch.setattr(xmodal.checkpoint, "SHIPPED", tmp_path)
    with pytest.raises(InputError, match="float16 moves a recall"):
        ship(ShipConfig(runs=runs, features=related_features, out=tmp_path / "x", galleries=[16]))
