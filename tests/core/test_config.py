"""Configurations: what variants and recipes fill in, and what is refused, in one sentence."""

import json
from pathlib import Path

import pytest

from xmodal.config import RECIPES, InputError, TrainConfig, validated


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_a_recipe_fills_in_what_is_not_given(recipe: str):
    config = TrainConfig(recipe=recipe, seed=3)
    assert {name: getattr(config, name) for name in RECIPES[recipe]} == RECIPES[recipe]
    assert TrainConfig(**json.loads(config.model_dump_json())) == config
    assert TrainConfig(recipe=recipe, steps=7).passes is None


def test_a_field_that_is_given_wins_and_none_leaves_it_open():
    config = TrainConfig(variant="authors", scale_negatives=False, audio_hidden=[3])
    assert (config.scale_negatives, config.audio_hidden) == (False, (3,))
    assert config.sqrt_cross_entropy
    assert TrainConfig(variant="authors_server", passes=None).passes == 50
    assert TrainConfig(clip_norm=None).clip_norm is None


def test_runs_are_kept_apart():
    names = {"dim250-seed0": {}, "best-seed2": {"recipe": "best", "seed": 2}}
    names |= {"dim8-seed1": {"embedding_dim": 8, "seed": 1, "out": None}}
    for name, given in names.items():
        assert TrainConfig(**given).out == Path("runs/sample", name)
    assert TrainConfig(features="data/yt8m/features").out == Path("runs/yt8m/dim250-seed0")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"variant": "other"}, "variant"),
        ({"steps": "many"}, "steps"),
        ({"visual_hidden": [8, 0]}, "visual_hidden.1"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"mixup": 0.5}, "mixup"),
        ({"optimiser": "adamw"}, "weight_l2"),
        ({"weight_decay": 0.1}, "weight_decay"),
        ({"stpes": 3}, "did you mean steps"),
    ],
)
def test_what_cannot_be_used_is_named(given: dict, name: str):
    with pytest.raises(InputError, match=name):
        validated(TrainConfig, given)
