"""Training: what it leaves, that it can be killed at any time, and what it refuses."""

import contextlib
import json
import math
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from killed import train_killed
from pydantic import ValidationError
from safetensors.torch import load_file

from xmodal.checkpoint import TRAINING_VERSION, bytes_needed, digest, load_run, read_history
from xmodal.config import RECIPES, VARIANTS, InputError, TrainConfig
from xmodal.data.features import open_features
from xmodal.data.loader import Order
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.evaluation.recall import embed_run
from xmodal.metrics import alignment, gallery_ranks, recall, uniformity
from xmodal.train import learning_rate, train

Tiny = Callable[..., TrainConfig]
FILES = ("model.safetensors", "history.jsonl", "checkpoint/model.safetensors")


def contents(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in FILES}


def snapshot(run: Path) -> dict[Path, tuple[bytes, int]]:
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in run.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def whole(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a run that nothing interrupts; it is copied, not changed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(tiny(out))
    return out


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


# --- what a run leaves ---------------------------------------------------------------------------


def test_history_has_a_line_for_each_validation(whole: Path):
    history = read_history(whole)
    assert [line["step"] for line in history] == [10, 20, 30, 40]
    assert all(
        0 < line["recall_at_1"] <= line["recall_at_5"] <= line["recall_at_10"] <= 1
        for line in history
    )


def test_classification_is_switched_on_at_its_step(whole: Path):
    """λ is 0 for 20 steps: the third line is the first with a second term."""
    history = read_history(whole)
    assert [line["classification"] > 0 for line in history] == [False, False, True, True]
    for line in history:
        total = line["cosine"] + 0.02 * line["classification"] + line["l2"]
        assert line["loss"] == pytest.approx(total, rel=1e-5)


def test_a_training_can_be_watched(tiny: Tiny, whole: Path, tmp_path: Path):
    """After each validation, and once more when the result is there; its course is the same."""
    out, seen = tmp_path / "run", list[tuple[int, bool]]()
    config = tiny(out)

    def watch() -> None:
        seen.append((len(read_history(out)), (out / "result.json").exists()))

    train(config, watch)
    assert seen == [(1, False), (2, False), (3, False), (4, False), (4, True)]
    assert contents(out) == contents(whole)
    train(config, watch)  # it is complete: nothing is trained
    assert seen[5:] == [(4, True)]


def test_result_names_the_best_line(whole: Path, related_features: Path):
    result = json.loads((whole / "result.json").read_text())
    best = max(read_history(whole), key=lambda line: line["recall_at_1"])
    assert result == {
        "step": 40,
        "best_step": best["step"],
        "best_recall": best["recall_at_1"],
        "training_clips": len(open_features(related_features, "train")),
        "weights": digest(whole / "model.safetensors"),
    }


def test_nothing_temporary_is_left(whole: Path):
    names = {path.name for path in whole.iterdir()}
    assert names == {
        "config.json",
        "result.json",
        "history.jsonl",
        "model.safetensors",
        "checkpoint",
    }


def test_the_weights_with_the_best_recall_are_kept(
    tiny: Tiny, tmp_path: Path, related_features: Path
) -> None:
    """With a learning rate this high the recall goes up and down."""
    config = tiny(tmp_path / "run", learning_rate=0.1, steps=60, validate_every=5)
    result = train(config)
    history = {line["step"]: line["recall_at_1"] for line in read_history(config.out)}
    assert result["best_recall"] == max(history.values()) > history[60]

    model, _ = load_run(config.out)
    clips = open_features(related_features, "validation")
    visual, audio, *_ = model.embed(clips.visual, clips.audio)
    found = [
        recall(way, ks=(1,), resamples=0).recall[0] for way in gallery_ranks(visual, audio, 64)
    ]
    assert np.mean(found) == pytest.approx(result["best_recall"], abs=1e-9)
    (best,) = [line for line in read_history(config.out) if line["step"] == result["best_step"]]
    assert best["alignment"] == pytest.approx(alignment(visual, audio))
    assert best["uniformity"] == pytest.approx((uniformity(visual) + uniformity(audio)) / 2)


def test_training_learns(tiny: Tiny, tmp_path: Path):
    """Chance is 1 of 64."""
    result = train(tiny(tmp_path / "run", steps=150, validate_every=50, learning_rate=3e-3))
    assert result["best_recall"] > 0.5


def test_same_seed_same_bytes_and_another_seed_others(tiny: Tiny, whole: Path, tmp_path: Path):
    train(tiny(tmp_path / "same"))
    train(tiny(tmp_path / "other", seed=1))
    assert contents(tmp_path / "same") == contents(whole)
    for name, content in contents(tmp_path / "other").items():
        assert content != (whole / name).read_bytes()


@pytest.mark.parametrize("variant", ["text", "authors"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_variant_and_precision_trains(
    tiny: Tiny, tmp_path: Path, variant: str, precision: str
):
    config = tiny(tmp_path / "run", variant=variant, precision=precision, steps=30)
    train(config)
    assert read_history(config.out)[-1]["recall_at_10"] > 2 * 10 / 64
    weights = load_file(config.out / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}


def test_a_run_loads_as_it_was_trained(whole: Path, tiny: Tiny):
    model, config = load_run(whole)
    assert config == tiny(whole)
    weights = load_file(whole / "model.safetensors")
    assert weights.keys() == model.state_dict().keys()
    assert all(model.state_dict()[name].equal(weight) for name, weight in weights.items())


# --- configuration -------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["text", "authors"])
def test_a_variant_fills_in_what_is_not_given(variant: str):
    config = TrainConfig(variant=variant)
    assert {name: getattr(config, name) for name in VARIANTS[variant]} == VARIANTS[variant]


def test_a_field_that_is_given_wins_over_the_variant():
    config = TrainConfig(variant="authors", scale_negatives=False, audio_hidden=[3])
    assert (config.scale_negatives, config.audio_hidden) == (False, (3,))
    assert config.sqrt_cross_entropy


@pytest.mark.parametrize("variant", ["other", ["text"], None])
def test_an_unknown_variant_is_refused(variant: Any):
    with pytest.raises(ValidationError, match="variant"):
        TrainConfig(variant=variant)


def test_passes_are_counted_in_steps(tiny: Tiny, tmp_path: Path):
    """By hand: 2.5 passes over the 100 clips of a subset in batches of 32 are 7.8 steps."""
    config = tiny(tmp_path / "run", passes=2.5, training_clips=100, batch_size=32)
    assert train(config)["step"] == 8
    assert train(config)["step"] == 8  # complete: nothing is trained again
    assert TrainConfig(**json.loads((tmp_path / "run/config.json").read_text())["config"]).passes


def test_each_variable_is_clipped_by_itself(tiny: Tiny, tmp_path: Path, monkeypatch):
    """What the authors' library does: all gradients longer than 1 have length 1 afterwards."""
    lengths = []
    step = torch.optim.Adam.step

    def watched(self, *args, **kwargs):
        parameters = [p for group in self.param_groups for p in group["params"]]
        lengths.append([p.grad.norm().item() for p in parameters if p.grad is not None])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    shared = {"steps": 2, "clip_norm": 1e-4, "class_weight": 0.0}
    train(tiny(tmp_path / "each", clip_each=True, **shared))
    train(tiny(tmp_path / "together", **shared))
    for each in lengths[:2]:
        assert [x for x in each if x] == pytest.approx([1e-4] * len([x for x in each if x]), 1e-2)
    for together in lengths[2:]:
        assert math.hypot(*together) == pytest.approx(1e-4, 1e-2)


def test_learning_rate_is_a_staircase_in_clips():
    """By hand: 100 clips between decays and 30 a step, so steps 4, 7 and 10 are the first after."""
    config = TrainConfig(learning_rate=0.5, decay=0.1, decay_every=100, batch_size=30)
    rates = [learning_rate(config, step) for step in range(11)]
    assert rates == pytest.approx([0.5] * 4 + [0.05] * 3 + [0.005] * 3 + [0.0005])


def test_the_learning_rate_of_a_step_is_used(tiny: Tiny, tmp_path: Path):
    config = tiny(tmp_path / "run", decay=0.5, decay_every=320)
    train(config)
    rates = [line["learning_rate"] for line in read_history(config.out)]
    assert rates == pytest.approx([1e-3, 5e-4, 2.5e-4, 1.25e-4])


def test_a_cosine_rises_and_falls():
    """By hand: rising over 3 steps to 0.8, then half a cosine over the 4 that are left."""
    config = TrainConfig(learning_rate=0.8, schedule="cosine", warmup_steps=3, steps=7)
    rates = [learning_rate(config, step) for step in range(7)]
    falling = [0.8 * (1 + np.cos(np.pi * part)) / 2 for part in (0, 0.25, 0.5, 0.75)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, *falling])


def test_a_cosine_belongs_to_its_number_of_steps(tiny: Tiny, tmp_path: Path):
    config = tiny(tmp_path / "run", schedule="cosine", steps=20)
    train(config)
    with pytest.raises(InputError, match="another configuration"):
        train(config.model_copy(update={"steps": 30}))


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_a_recipe_sets_what_is_not_given(recipe: str):
    config = TrainConfig(recipe=recipe, seed=3)
    assert {name: getattr(config, name) for name in RECIPES[recipe]} == RECIPES[recipe]
    assert TrainConfig(**json.loads(config.model_dump_json())) == config
    assert TrainConfig(recipe=recipe, steps=7).steps == 7


def test_recipes_are_kept_apart():
    assert TrainConfig().out == Path("runs/sample/dim250-seed0")
    assert TrainConfig(recipe="best", seed=2).out == Path("runs/sample/best-seed2")


@pytest.mark.parametrize("objective", ["infonce", "sigmoid", "triplet"])
def test_the_recipe_learns_and_resumes_with_every_objective(
    tiny: Tiny, tmp_path: Path, objective: str
):
    changes = {"objective": objective, "recipe": "best", "steps": 120, "validate_every": 40}
    changes |= {"schedule": "staircase", "average": 0.9, "class_weight": 0.0, "warmup_steps": 5}
    changes |= {"dropout": 0.2, "dropout_input": 0.1, "learning_rate": 1e-2}
    whole, halted = (tiny(tmp_path / name, **changes) for name in ("whole", "halted"))
    assert train(whole)["best_recall"] > 20 / 64
    train(halted.model_copy(update={"steps": 80}))
    train(halted)
    assert contents(halted.out) == contents(whole.out)


def test_averaged_weights_are_validated_and_kept(tiny: Tiny, tmp_path: Path):
    """By hand: with a decay of 0.5 after 2 steps, half the second state and half the first."""
    shared = {"validate_every": 1, "learning_rate": 1e-2}
    one, two = (tiny(tmp_path / f"{n}", steps=n, **shared) for n in (1, 2))
    averaged = tiny(tmp_path / "averaged", steps=2, average=0.5, **shared)
    for config in (one, two, averaged):
        train(config)
    first, second = (load_file(c.out / "checkpoint" / "model.safetensors") for c in (one, two))
    expected = {name: (first[name] + second[name]) / 2 for name in first}
    found = load_file(averaged.out / "checkpoint" / "model_1.safetensors")
    for name, value in expected.items():
        torch.testing.assert_close(found[f"module.{name}"], value)
    assert read_history(averaged.out) != read_history(two.out)


class _Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_nothing_of_a_checkpoint_is_unpickled(tiny: Tiny, tmp_path: Path, average: float) -> None:
    """accelerate loads objects registered with it without restriction: so none may be."""
    config = tiny(tmp_path / "whole", steps=10, average=average)
    train(config)
    mark = tmp_path / "mark"
    for path in sorted((config.out / "checkpoint").glob("*[!n]")):  # all but JSON
        for write in (pickle.dump, torch.save):
            out = Path(shutil.copytree(config.out, tmp_path / f"{write.__module__}-{path.name}"))
            with (bomb := out / "checkpoint" / path.name).open("wb") as file:
                write(_Bomb(mark), file)
            state = json.loads((out / "checkpoint/state.json").read_text())
            if "files" in state:  # whoever puts it there also notes its digest
                state["files"][path.name] = sha256(bomb.read_bytes()).hexdigest()
                (out / "checkpoint/state.json").write_text(json.dumps(state))
            with contextlib.suppress(Exception):
                train(config.model_copy(update={"out": out, "steps": 20}))
            assert not mark.exists(), path.name


def test_only_the_first_clips_are_used_if_asked_for(tiny: Tiny, tmp_path: Path):
    few = tiny(tmp_path / "few", training_clips=64, steps=10)
    assert train(few)["training_clips"] == 64
    train(tiny(tmp_path / "all", steps=10))
    assert contents(few.out) != contents(tmp_path / "all")
    with pytest.raises(InputError, match="256 training clips, fewer than the 257 asked for"):
        train(tiny(tmp_path / "more", training_clips=257))


def test_clips_without_labels_are_trained_on_without_the_classifier(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    related = tiny(tmp_path).features
    unlabelled = tmp_path / "features"
    prepare(
        PrepareConfig(
            shards=related.parent,
            out=unlabelled,
            vocabulary=None,
            evaluation_clips=64,
            validation_clips=64,
        )
    )
    train(tiny(tmp_path / "with", features=unlabelled, class_weight=0.1))
    assert "no training clip has a label, so class_weight is 0" in capsys.readouterr().out
    train(tiny(tmp_path / "without", features=unlabelled, class_weight=0.0))
    assert contents(tmp_path / "with") == contents(tmp_path / "without")


def test_mixed_clips_have_no_labels():
    with pytest.raises(ValidationError, match="mixup is for other objectives"):
        TrainConfig(mixup=0.5)


# --- interrupted, continued, repeated ------------------------------------------------------------


@pytest.fixture(scope="module")
def changes(tiny: Tiny, whole: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """How often a training changes the file system, from its first line to its last."""
    out = tmp_path_factory.mktemp("counted") / "run"
    status, count = train_killed(tiny(out))
    assert status == 0
    assert contents(out) == contents(whole)  # in a process of its own, the same bytes
    return count


@pytest.mark.parametrize("part", [0, 0.02, 0.04, 0.06, *np.arange(1, 14) / 14])
def test_a_killed_run_goes_on_to_the_same_bytes(
    tiny: Tiny, whole: Path, changes: int, tmp_path: Path, part: float
):
    """The kills are spread over all changes: folder, weights, history, checkpoint, result."""
    config = tiny(tmp_path / "run")
    status, _ = train_killed(config, 1 + int(part * changes))
    assert status == -signal.SIGKILL
    assert not (config.out / "result.json").exists()
    train(config)
    assert contents(config.out) == contents(whole)
    assert (config.out / "result.json").read_bytes() == (whole / "result.json").read_bytes()


def test_a_run_killed_again_and_again_gets_there(tiny: Tiny, whole: Path, tmp_path: Path):
    config = tiny(tmp_path / "run")
    statuses = [-signal.SIGKILL]
    while statuses[-1] != 0:
        statuses.append(train_killed(config, 36 + len(statuses))[0])
        assert len(statuses) < 12
    assert len(statuses) > 3
    assert contents(config.out) == contents(whole)


@pytest.mark.parametrize("change", range(4, 17, 2))
def test_a_second_kill_finds_the_checkpoint_of_the_first(
    tiny: Tiny, copy: Path, tmp_path: Path, change: int
):
    """Killed between its two renames, a run has its last checkpoint under the other name."""
    (copy / "checkpoint").rename(copy / "checkpoint.old")
    config = tiny(copy, steps=50)
    assert train_killed(config, change)[0] == -signal.SIGKILL
    train(config)
    train(tiny(tmp_path / "longer", steps=50))
    assert contents(copy) == contents(tmp_path / "longer")


def test_half_a_line_of_history_is_dropped(tiny: Tiny, whole: Path, copy: Path):
    (copy / "result.json").unlink()
    with open(copy / "history.jsonl", "a") as history:
        history.write('{"step": 50, "lo')
    train(tiny(copy))
    assert contents(copy) == contents(whole)


def test_a_killed_command_goes_on_to_the_same_bytes(tiny: Tiny, whole: Path, tmp_path: Path):
    """The command itself, killed once it has a checkpoint."""
    config = tiny(tmp_path / "run", steps=100_000)
    process = subprocess.Popen(command("train", config))
    while not (config.out / "checkpoint").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    steps = 40
    while steps <= read_history(config.out)[-1]["step"]:
        steps += 10
    train(tiny(config.out, steps=steps))
    train(tiny(tmp_path / "longer", steps=steps))
    assert contents(config.out) == contents(tmp_path / "longer")


def command(name: str, config: TrainConfig) -> list[str]:
    fields = json.loads(config.model_dump_json(exclude_defaults=True))
    options = [
        f"{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in fields.items()
    ]
    return [sys.executable, "-m", "xmodal", name, *options]


def test_more_steps_equal_the_longer_run(tiny: Tiny, copy: Path, tmp_path: Path):
    train(tiny(copy, steps=60))
    train(tiny(tmp_path / "longer", steps=60))
    assert contents(copy) == contents(tmp_path / "longer")


def test_a_finished_run_is_left_alone(tiny: Tiny, copy: Path):
    before = snapshot(copy)
    result = train(tiny(copy))
    assert result == json.loads((copy / "result.json").read_text())
    train(tiny(copy, overwrite=True))
    assert snapshot(copy) == before


@pytest.mark.parametrize("change", [{"seed": 1}, {"margin": 0.3}, {"variant": "authors"}])
def test_another_configuration_is_refused(tiny: Tiny, copy: Path, change: dict[str, Any]):
    before = snapshot(copy)
    (name, new), *_ = change.items()
    with pytest.raises(InputError, match=r"holds a run of another .* overwrite=true") as told:
        train(tiny(copy, **change))
    old = getattr(tiny(copy), name)
    assert f"{name}: {old} there, {new} asked for" in str(told.value)
    assert snapshot(copy) == before


def test_what_differs_is_told_and_nothing_else(tiny: Tiny, copy: Path, tmp_path: Path):
    """The identity of a run is its settings, its data, the arithmetic and the version."""
    stored = json.loads((copy / "config.json").read_text())
    assert stored.keys() == {"config", "version", "sizes", "data", "validation_data", "arithmetic"}
    assert stored["version"] == TRAINING_VERSION
    for name, old in {"version": 0, "data": "of another set", "arithmetic": "bf16 3"}.items():
        (copy / "config.json").write_text(json.dumps({**stored, name: old}))
        there = f"version \\({name}: {old} there, {str(stored[name])[:40]} asked for\\)"
        with pytest.raises(InputError, match=there):
            train(tiny(copy))
    (copy / "config.json").write_text(json.dumps({**stored, "config": {"new": 1}}))
    with pytest.raises(InputError, match="its settings are of another version"):
        train(tiny(copy))


def test_a_second_training_is_refused_and_the_first_is_unharmed(tiny: Tiny, tmp_path: Path):
    """The issue of two in one folder: a history with the steps of both."""
    config = tiny(tmp_path / "run")
    told = []

    def second() -> None:
        with pytest.raises(InputError) as refused:
            train(config)
        told.append(str(refused.value))

    train(config, second)
    who = f"process {os.getpid()} on {socket.gethostname()}, since "
    assert len(told) == 5 and all(who in line and "pytest" in line for line in told)
    assert [line["step"] for line in read_history(config.out)] == [10, 20, 30, 40]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_overwrite_replaces_the_run(tiny: Tiny, whole: Path, copy: Path):
    train(tiny(copy, seed=1, overwrite=True))
    assert load_run(copy)[1].seed == 1
    train(tiny(copy, overwrite=True))
    assert contents(copy) == contents(whole)


def test_overwrite_keeps_what_is_not_the_runs(tiny: Tiny, copy: Path):
    (copy / "notes.txt").write_text("mine")
    (copy / "pictures").mkdir()
    (copy / "pictures" / "a.png").write_bytes(b"mine")
    (copy / "recall.csv").write_text("measured with the earlier weights")
    train(tiny(copy, seed=1, overwrite=True))
    assert (copy / "notes.txt").read_text() == "mine"
    assert (copy / "pictures" / "a.png").read_bytes() == b"mine"
    assert not (copy / "recall.csv").exists()


def test_clutter_is_no_reason_to_refuse_a_folder(tiny: Tiny, whole: Path, tmp_path: Path):
    for name in (".DS_Store", "Thumbs.db", ".nfs000123", "desktop.ini"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    train(tiny(tmp_path))
    assert contents(tmp_path) == contents(whole)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_holds_no_run_is_never_replaced(
    tiny: Tiny, whole: Path, tmp_path: Path, overwrite: bool
):
    """Such as the folder of all runs."""
    shutil.copytree(whole, tmp_path / "runs" / "run")
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match="holds something else than a training run"):
        train(tiny(tmp_path / "runs", overwrite=overwrite))
    assert snapshot(tmp_path) == before
    for path in (whole / "config.json", whole / "model.safetensors"):
        shutil.copy(path, tmp_path / "runs")
    (tmp_path / "runs" / "config.json").write_text('{"model_type": "of another program"}')
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match="config.json is missing, damaged or of another program"):
        train(tiny(tmp_path / "runs", overwrite=overwrite))
    assert snapshot(tmp_path) == before


def test_fewer_steps_than_were_made_are_refused(tiny: Tiny, copy: Path):
    before = snapshot(copy)
    with pytest.raises(InputError, match="has made 40 steps"):
        train(tiny(copy, steps=20))
    assert snapshot(copy) == before


@pytest.mark.parametrize("patience", [5, 10, 25])
def test_patience_stops_at_a_validation(tiny: Tiny, tmp_path: Path, patience: int):
    """A learning rate of next to nothing: no validation is better than the first."""
    config = tiny(tmp_path / "run", learning_rate=1e-30, patience=patience, steps=100)
    result = train(config)
    stop = {5: 20, 10: 20, 25: 40}[patience]
    assert (result["best_step"], result["step"]) == (10, stop)
    assert read_history(config.out)[-1]["step"] == stop
    load_run(config.out)


# --- refused -------------------------------------------------------------------------------------


def test_too_few_clips_are_told(tiny: Tiny, tmp_path: Path):
    with pytest.raises(InputError, match=r"has 256 training clips, fewer than one batch of 257"):
        train(tiny(tmp_path / "run", batch_size=257))
    assert not (tmp_path / "run").exists()


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, size))


def test_a_disk_too_small_is_told_beforehand(
    tiny: Tiny, whole: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is begun, nor removed; what is complete needs no room, and what is there counts."""
    before = snapshot(copy)
    free(monkeypatch, 9)
    told = r"run: needs 0\.[0-9]+ MB and the disk has 0\.[0-9]+ MB left; free some space or choose"
    for refused in (tiny(tmp_path / "new" / "run"), tiny(copy, seed=1, overwrite=True)):
        with pytest.raises(InputError, match=told):
            train(refused)
    assert not (tmp_path / "new" / "run").exists()
    train(tiny(copy))
    assert snapshot(copy) == before
    free(monkeypatch, sum(path.stat().st_size for path in (whole / "checkpoint").iterdir()))
    train(tiny(copy, steps=50))


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_the_room_of_a_run_is_that_of_its_weights_and_two_checkpoints(
    tiny: Tiny, tmp_path: Path, average: float
) -> None:
    config = tiny(tmp_path / "run", visual_hidden=(512, 512), class_start_step=0, average=average)
    train(config)
    sizes = json.loads((config.out / "config.json").read_text())["sizes"]
    weights = (config.out / "model.safetensors").stat().st_size
    checkpoint = sum(path.stat().st_size for path in (config.out / "checkpoint").iterdir())
    assert bytes_needed(config, sizes) == pytest.approx(weights + 2 * checkpoint, rel=0.02)


@pytest.mark.parametrize(("validate_every", "step"), [(1, 1), (10, 2)])
def test_a_training_that_diverges_is_told(
    tiny: Tiny, tmp_path: Path, validate_every: int, step: int
):
    """After one step the weights overflow, after two the loss."""
    config = tiny(tmp_path / "run", learning_rate=1e38, validate_every=validate_every)
    told = rf"finite at step {step}, .* lower learning_rate .* there is no checkpoint yet"
    with pytest.raises(InputError, match=told):
        train(config)
    assert not (config.out / "result.json").exists()


def test_the_checkpoint_before_a_divergence_is_kept(
    tiny: Tiny, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    before = contents(copy)
    with monkeypatch.context() as patch:
        patch.setattr("xmodal.loss.cosine_loss", lambda cosine, *_: cosine.mean() * torch.nan)
        with pytest.raises(InputError, match=r"finite at step 41, .* checkpoint of step 40 is"):
            train(tiny(copy, steps=60))
    assert contents(copy) == before
    train(tiny(copy, steps=60))
    train(tiny(tmp_path / "longer", steps=60))
    assert contents(copy) == contents(tmp_path / "longer")


@pytest.fixture
def changed(related_features: Path, tmp_path: Path) -> Callable[..., Path]:
    """Give ``changed(split, modality, rows, value)``: a feature set damaged by something else."""

    def change(split: str, modality: str, rows: Any, value: float) -> Path:
        folder = Path(shutil.copytree(related_features, tmp_path / "features"))
        np.load(folder / split / f"{modality}.npy", mmap_mode="r+")[rows] = value
        return folder

    return change


@pytest.mark.parametrize(("validate_every", "value"), [(3, np.nan), (40, -np.inf)])
def test_features_that_are_not_finite_are_named(
    tiny: Tiny, tmp_path: Path, changed: Callable[..., Path], validate_every: int, value: float
):
    """An epoch has 8 batches; the step named is that whose batch holds the clip."""
    folder = changed("train", "audio", (200, 5), value)
    config = tiny(tmp_path / "run", features=folder, validate_every=validate_every)
    clip, order = open_features(folder, "train").ids[200], Order(config.seed, 256, 32)
    step = next(step for step in range(8) if 200 in order.rows(step))
    last = step // validate_every * validate_every
    kept = f"the checkpoint of step {last} is kept" if last else "there is no checkpoint yet"
    told = (
        rf"finite at step {step + 1}, .* not finite, those of {clip}: prepare them anew .*; {kept}"
    )
    with pytest.raises(InputError, match=told):
        train(config)
    assert bool(last) == (config.out / "checkpoint").exists()


def test_validation_features_that_are_not_finite_are_named(
    tiny: Tiny, tmp_path: Path, changed: Callable[..., Path]
):
    folder = changed("validation", "visual", (7, 5), np.inf)
    clip = open_features(folder, "validation").ids[7]
    with pytest.raises(InputError, match=f"features of validation clip {clip} are not finite"):
        train(tiny(tmp_path / "run", features=folder))


def test_features_that_do_not_vary_cannot_be_standardised(
    tiny: Tiny, tmp_path: Path, changed: Callable[..., Path]
):
    """Clips may be the same among the first so many alone."""
    folder = changed("train", "audio", slice(0, 64), 0.5)
    config = tiny(tmp_path / "run", features=folder, standardise=True)
    with pytest.raises(InputError, match="features of length 128 are the same in all clips"):
        train(config.model_copy(update={"training_clips": 64}))
    train(config.model_copy(update={"out": tmp_path / "all"}))


def test_a_space_that_has_collapsed_is_told_once(
    tiny: Tiny, tmp_path: Path, changed: Callable[..., Path], capsys: pytest.CaptureFixture[str]
):
    folder = changed("validation", "audio", slice(None), 0.5)
    train(tiny(tmp_path / "run", features=folder))
    told = capsys.readouterr().out
    assert told.count("at step 10 all audio embeddings are one point: the space has") == 1
    assert told.count("collapsed") == 1
    embed_run(tmp_path / "run", open_features(folder, "validation"))
    assert f"{tmp_path / 'run'}: all audio embeddings are one" in capsys.readouterr().out
    evaluation = open_features(folder, "evaluation")
    embed_run(tmp_path / "run", evaluation)
    assert capsys.readouterr().out == ""
    np.load(folder / "evaluation" / "audio.npy", mmap_mode="r+")[9] = np.nan
    with pytest.raises(
        InputError, match=f"clip {evaluation.ids[9]} of the evaluation split is not"
    ):
        embed_run(tmp_path / "run", open_features(folder, "evaluation"))


def test_passes_too_few_for_a_step_make_one(tiny: Tiny, tmp_path: Path):
    config = TrainConfig(**tiny(tmp_path / "run").model_dump(exclude={"steps"}) | {"passes": 1e-3})
    assert train(config)["step"] == 1
    load_run(config.out)


def test_an_unfinished_run_is_not_loaded(tiny: Tiny, copy: Path):
    (copy / "result.json").unlink()
    with pytest.raises(InputError, match="holds no finished training run"):
        load_run(copy)


# --- several processes ---------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    ("launcher", "variant"),
    [
        ("torchrun", "text"),
        pytest.param("torchrun", "authors", marks=pytest.mark.slow),
        pytest.param("accelerate", "text", marks=pytest.mark.slow),
    ],
)
def test_two_processes_train_as_one_does(tiny: Tiny, tmp_path: Path, launcher: str, variant: str):
    """Each reads its own part; negatives come from both: only rounding may differ.

    Told to use processors, accelerate's launcher starts one process (several need MPI), so here it
    is told to use several graphics cards, and the processes not to.
    """
    shared = {"variant": variant, "readers": 2, "buffer_clips": 96, "gather_negatives": True}
    single, double = (
        tiny(tmp_path / name, steps=20, class_start_step=10, **shared)
        for name in ("single", "double")
    )
    train(single)
    launch(launcher, double)
    for one, two in zip(read_history(single.out), read_history(double.out), strict=True):
        assert two == pytest.approx(one, rel=1e-4)
    weights = load_file(single.out / "checkpoint" / "model.safetensors")
    for name, found in load_file(double.out / "checkpoint" / "model.safetensors").items():
        torch.testing.assert_close(found, weights[name], rtol=1e-3, atol=1e-5)


def launch(launcher: str, config: TrainConfig) -> None:
    words = {
        "torchrun": ["torch.distributed.run", "--standalone", "--nproc_per_node=2"],
        "accelerate": [
            *("accelerate.commands.launch", "--multi_gpu", "--num_processes=2"),
            *(f"--main_process_port={free_port()}", "--num_machines=1"),
            *("--mixed_precision=no", "--dynamo_backend=no"),
        ],
    }[launcher]
    told = subprocess.run(
        [sys.executable, "-m", *words, *command("train", config)[1:]],
        capture_output=True,
        text=True,
        env={**os.environ, "ACCELERATE_USE_CPU": "true"},
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.count("20 steps") == 2  # each process has the result


@pytest.mark.slow
def test_negatives_drawn_inside_a_process_are_others(tiny: Tiny, tmp_path: Path):
    """The test above would be worth little if one loss curve were like any other."""
    single, double = (tiny(tmp_path / name, steps=20) for name in ("single", "double"))
    train(single)
    launch("torchrun", double)
    one, two = (read_history(config.out)[-1]["loss"] for config in (single, double))
    assert two != pytest.approx(one, rel=1e-3)


def test_readers_must_divide_the_batch(tiny: Tiny, tmp_path: Path):
    with pytest.raises(InputError, match="a batch of 32 cannot be cut .* for 3 readers"):
        train(tiny(tmp_path / "run", readers=3))


def test_a_set_larger_than_the_buffer_is_trained_on_and_resumed(tiny: Tiny, tmp_path: Path):
    """In windows of 64 of 256 clips, interrupted inside one of them."""
    whole, halted = (tiny(tmp_path / n, buffer_clips=64, steps=30) for n in ("whole", "halted"))
    train(whole)
    train(halted.model_copy(update={"steps": 10}))
    train(halted)
    assert contents(halted.out) == contents(whole.out)
    assert read_history(whole.out) != read_history(train_uniformly(tiny, tmp_path))


def train_uniformly(tiny: Tiny, tmp_path: Path) -> Path:
    config = tiny(tmp_path / "uniform", steps=30)
    train(config)
    return config.out
