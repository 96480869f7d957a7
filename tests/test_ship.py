"""Weights that are shipped: measured, loaded by name, verified, and searched with."""

import json
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import xmodal.checkpoint
from xmodal.checkpoint import load_run
from xmodal.config import InputError, TrainConfig
from xmodal.data.features import open_features
from xmodal.evaluation import cca
from xmodal.evaluation.recall import embed_run, mean_recall
from xmodal.search import open_gallery
from xmodal.train import train


@pytest.fixture(scope="module")
def ship() -> ModuleType:
    spec = spec_from_file_location("ship", Path(__file__).parents[1] / "docs/ship.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    module.GALLERIES, module.ALLOWED = (16,), 5  # of so few clips, one is some points
    module.RANDOM_FEATURES, module.DIRECTIONS = 64, 8
    return module


@pytest.fixture(scope="module")
def runs(tiny: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    fields = {"recipe": "best", "class_weight": 0.0, "schedule": "cosine"}
    for seed in (0, 1):
        train(tiny(folder / f"seed{seed}", seed=seed, **fields))
    return [folder / "seed0", folder / "seed1"]


def test_the_best_run_is_shipped_verified_and_searched(
    ship: ModuleType,
    runs: list[Path],
    related_features: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(xmodal.files, "SHIPPED", tmp_path)
    monkeypatch.setattr(cca, "DIRECTIONS", (4, 8))
    monkeypatch.setattr(cca, "WIDTHS", ((0.6, 0.8),))
    shipped, name = tmp_path / "tiny-recipe", "tiny-recipe"
    known = tmp_path / "youtube_ids.csv"
    first = open_features(related_features, "evaluation").ids[0]
    known.write_text(f"id,youtube_id\n{first},abcdefghij_\n")
    ship.ship(shipped, related_features, known, runs)

    validation, clips = (open_features(related_features, s) for s in ("validation", "evaluation"))
    scores = [mean_recall(embed_run(run, validation), validation) for run in runs]
    best, _ = load_run(runs[int(np.argmax(scores))])
    model = load_run(name)[0]
    for key, weight in model.state_dict().items():
        assert weight.dtype == torch.float32
        if not key.startswith(("classifier.", "kernel_cca.")):
            torch.testing.assert_close(weight, best.state_dict()[key], rtol=0, atol=5e-3)

    gallery, embedded = open_gallery(name), embed_run(shipped, clips)
    assert gallery.ids.tolist() == clips.ids.tolist()
    assert [gallery.labels_of(row) for row in range(len(clips))] == [
        clips.labels_of(row) for row in range(len(clips))
    ]
    assert gallery.youtube == {first: "abcdefghij_"}
    np.testing.assert_allclose(gallery.embedded[0], embedded.visual, atol=5e-3, rtol=0)
    assert embedded.visual.shape[1] == model.dim == best.dim + model.directions > best.dim
    chosen = json.loads((shipped / "result.json").read_text())["chosen"]
    score = (embedded.visual[5] @ embedded.audio.T).numpy() - gallery.penalty[1]
    found = gallery.search(video=str(clips.ids[5]), k=3)["id"].tolist()
    assert found == clips.ids[(-score).argsort()[:3]].tolist()
    assert (gallery.penalty[1].std() > 0) == (chosen["weight"] > 0)

    card = (shipped / "README.md").read_text()
    bank = open_features(related_features, "train")
    _, _, corrected = ship.ranked(model, chosen, bank, clips)
    assert all(f"{recall:.1f} [" in card for recall in ship.recalls(corrected, clips)["recall"])
    assert "{" not in card.split("## Use")[0]

    for file in json.loads((shipped / "manifest.json").read_text()):
        before = (shipped / file).read_bytes()
        (shipped / file).write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        with pytest.raises(InputError, match=file):
            load_run(name)
        (shipped / file).write_bytes(before)

    monkeypatch.setattr(ship, "ALLOWED", -1)  # 8 bits move recall by more
    with pytest.raises(InputError, match="8 bits"):
        ship.ship(tmp_path / "other", related_features, known, runs)
    assert not (tmp_path / "other").exists()
