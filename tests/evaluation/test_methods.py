"""What is set beside the paper's method: the recipe, and the ceiling."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import normalize

from xmodal.config import InputError
from xmodal.data.features import FeatureSet, open_features
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.evaluation import hubness
from xmodal.evaluation.cca import LINEAR, choose_cca, embed_cca
from xmodal.evaluation.recall import embed_run, joined, mean_recall, recall_frame, recall_of
from xmodal.metrics import ranks
from xmodal.model import Embeddings
from xmodal.synthetic.sample import SampleConfig, write_sample
from xmodal.train import train
from xmodal_suite import methods
from xmodal_suite.methods import (
    PAPER,
    MethodsConfig,
    ceiling,
    embed_scores,
    measure_methods,
)
from xmodal_suite.published import with_published
from xmodal_suite.tables import flat, methods_layout


@pytest.fixture(scope="module")
def config(tiny, related_features: Path, tmp_path_factory: pytest.TempPathFactory) -> MethodsConfig:
    folder = tmp_path_factory.mktemp("runs")
    train(tiny(folder / "paper"))
    for seed in (0, 1):
        fields = {"objective": "infonce", "class_weight": 0, "seed": seed}
        train(tiny(folder / f"recipe-seed{seed}", **fields))
    return MethodsConfig(
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


def test_the_recipe_is_shown_alone_joined_and_corrected(config: MethodsConfig, clips: FeatureSet):
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


def test_every_method_is_measured_without_silent_clips(config: MethodsConfig, clips: FeatureSet):
    measured = measure_methods(config)
    frame = recall_of(measured["ranks"], 5, ["model"])
    names = [PAPER, f"{LINEAR}, plain", LINEAR, "recipe", "recipe, 2 joined"]
    assert list(frame["model"].unique()) == [*names, f"{names[-1]}, hubs corrected"]
    assert set(frame["gallery"]) == {16, 61}
    members = [embed_run(run, clips) for run in config.recipe]
    expected = recall_frame(members, [16, 61], ~clips.silent, resamples=5)
    found = frame[frame["model"] == "recipe"].drop(columns="model").reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected)
    assert set(measured) == {"ranks", "cca", "correction", "errors", "categories", "controls"}


@pytest.mark.parametrize("change", [{"headline": 62, "galleries": [62]}, {"headline": 17}])
def test_a_headline_that_cannot_be_measured_is_told_before_the_work(
    config: MethodsConfig, change: dict, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delattr(methods, "learned")
    with pytest.raises(InputError, match=r"headline=\d+ .* 61 evaluation clips with sound"):
        measure_methods(config.model_copy(update=change))


def test_the_table_sets_the_published_row_above_ours(clips: FeatureSet):
    frame = pd.concat(
        recall_frame([random_pairs(len(clips))], [16, 61], ~clips.silent, resamples=5).assign(
            model=name
        )
        for name in ("ours", "theirs")
    )
    large = frame.assign(gallery=frame["gallery"].replace({16: 1024, 61: 6000}))
    shown = flat(methods_layout(with_published(large)))
    last = shown[shown["candidates"] >= 1024]
    assert last["method"].tolist() == ["published", "ours", "theirs", "ours", "theirs"]
    assert last["candidates"].tolist() == [1024] * 3 + [6000] * 2
    assert last["audio→video R@1"].iloc[0] == "9.8"


def test_no_method_beats_the_ceiling_of_the_sample(tmp_path: Path, config: MethodsConfig):
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
    (best,) = ceiling(config.model_copy(update={"sample_shared": 14}), sampled).values()
    cca, power = choose_cca(tmp_path / "features")[0][LINEAR]
    found = mean_recall(embed_cca(cca, sampled, power), sampled, 256)
    assert 1 < found < mean_recall(best[0], sampled, 256, cosine=False)
    assert np.isfinite(best[0].visual.numpy()).all()


def test_scores_rank_as_they_are():
    scores = np.array([[1.0, 5.0, 3.0], [0.0, 2.0, 1.0], [-9.0, -7.0, -8.0]])
    found = embed_scores(scores)
    assert ranks(found.visual, found.audio, cosine=False)[0].average().tolist() == [3, 1, 2]
    assert ranks(found.audio, found.visual, cosine=False)[0].average().tolist() == [1, 2, 3]
