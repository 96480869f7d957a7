"""What is set beside the paper's method: CCA, the recipe, controls, the ceiling."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import normalize

from xmodal.config import InputError
from xmodal.data.features import FeatureSet, open_features
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.evaluation import controls, hubness, methods
from xmodal.evaluation.methods import (
    BeyondConfig,
    Methods,
    ceiling,
    compare,
    linear,
    mean_recall,
)
from xmodal.evaluation.published import against_gallery
from xmodal.evaluation.recall import embed_run, joined, recall_frame
from xmodal.model import Embeddings
from xmodal.results.tables import methods_layout
from xmodal.synthetic.sample import SampleConfig, write_sample
from xmodal.train import train


@pytest.fixture(scope="module")
def config(tiny, related_features: Path, tmp_path_factory: pytest.TempPathFactory) -> BeyondConfig:
    folder = tmp_path_factory.mktemp("runs")
    train(tiny(folder / "paper"))
    for seed in (0, 1):
        fields = {"objective": "infonce", "class_weight": 0, "seed": seed}
        train(tiny(folder / f"recipe-seed{seed}", **fields))
    return BeyondConfig(
        features=related_features,
        run=folder / "paper",
        recipe=[folder / f"recipe-seed{seed}" for seed in (0, 1)],
        galleries=[16],
        headline=16,
        resamples=5,
        sample_shared=None,
    )


@pytest.fixture(scope="module")
def clips(related_features: Path) -> FeatureSet:
    return open_features(related_features, "evaluation")


def random_pairs(n: int) -> Embeddings:
    generator = torch.Generator().manual_seed(0)
    return Embeddings(*(normalize(torch.randn(n, 8, generator=generator), dim=1) for _ in "va"))


def test_cca_is_chosen_on_validation_clips(related_features: Path, clips: FeatureSet):
    found, grid = linear(related_features)
    assert grid["validation R@1"].is_monotonic_decreasing
    assert len(grid) == len(methods.RIDGES) * len(methods.POWERS)
    assert list(found) == ["linear CCA, plain", "linear CCA"]
    # the eight hidden numbers are shared, linearly: hardly a match is missed
    assert mean_recall(found["linear CCA"][0], clips) > 90
    # silent clips, which share one audio vector, do not count
    keep = ~clips.silent
    frame = recall_frame(found["linear CCA"], [61], keep, resamples=0)
    expected = frame[frame["k"] == 1]["recall"].mean()
    assert mean_recall(found["linear CCA"][0], clips) == pytest.approx(expected)


def test_the_recipe_is_shown_alone_joined_and_corrected(config: BeyondConfig, clips: FeatureSet):
    found, how = methods.learned(config)
    together = "recipe, 2 joined"
    assert list(found) == [
        *(methods.PAPER, "recipe", together),
        f"{together}, hubs corrected",
    ]
    members = [embed_run(run, clips) for run in config.recipe]
    assert found[together][0].visual.equal(joined(members).visual)
    bank = joined(
        [embed_run(run, open_features(config.features, "train")) for run in config.recipe]
    )
    pulled = hubness.attraction(joined(members), bank, how.sharpness)
    expected = hubness.corrected(joined(members), pulled, how.weight)
    assert found[f"{together}, hubs corrected"][0].audio.equal(expected.audio)
    with pytest.raises(InputError, match="none holds no finished training run"):
        methods.learned(config.model_copy(update={"run": Path("none")}))


def test_the_table_sets_the_published_row_above_ours(clips: FeatureSet, config: BeyondConfig):
    everything: Methods = {"ours": [random_pairs(len(clips))], "theirs": [random_pairs(len(clips))]}
    frame = compare(everything, clips, config)
    assert set(frame["gallery"]) == {16, 61}
    large = frame.assign(gallery=frame["gallery"].replace({16: 1024, 61: 6000}))
    shown = methods_layout(against_gallery(large))
    last = shown[shown["candidates"] >= 1024]
    assert last["method"].tolist() == ["published", "ours", "theirs", "ours", "theirs"]
    assert last["candidates"].tolist() == [1024] * 3 + [6000] * 2
    assert last["audio→video R@1"].iloc[0] == "9.8"


def test_controls_are_told_and_chance_is_chance(clips: FeatureSet):
    told = methods.controls_note(clips, random_pairs(len(clips)), [16, 1024])
    assert told.startswith("Controls, R@1 / 5 / 10 at N = 16, both directions: chance 6.2 / 31.2")
    for name in controls.controls(clips, random_pairs(len(clips))):
        assert name in told


def test_a_ranking_that_leaks_is_refused(clips: FeatureSet, monkeypatch: pytest.MonkeyPatch):
    """As if shuffling did not shuffle: a perfect model then passes for chance."""
    perfect = random_pairs(len(clips))
    perfect = Embeddings(perfect.visual, perfect.visual)
    monkeypatch.setattr(controls, "shuffled", lambda embedded: embedded)
    with pytest.raises(InputError, match="'shuffled pairs' scores 100.00 % where chance is 6.25 %"):
        methods.controls_note(clips, perfect, [16])


def test_no_method_beats_the_ceiling_of_the_sample(tmp_path: Path, config: BeyondConfig):
    write_sample(SampleConfig(out=tmp_path, clips=1500))
    prepare(
        PrepareConfig(
            shards=tmp_path / "shards",
            out=tmp_path / "features",
            vocabulary=tmp_path / "vocabulary.csv",
            source="synthetic sample",
            evaluation_clips=300,
            validation_clips=100,
        )
    )
    sampled = open_features(tmp_path / "features", "evaluation")
    assert ceiling(config, sampled) == {}
    (best,) = ceiling(config.model_copy(update={"sample_shared": 2.5}), sampled).values()
    found_by, _ = linear(tmp_path / "features")
    found = mean_recall(found_by[methods.LINEAR][0], sampled, 256)
    assert 1 < found < mean_recall(best[0], sampled, 256)
    assert isinstance(compare({"best": best}, sampled, config), pd.DataFrame)
    assert np.isfinite(best[0].visual.numpy()).all()
