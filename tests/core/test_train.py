"""Training: what it leaves, that it goes on where it was, and what it refuses."""

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from xmodal import kernels
from xmodal.checkpoint import GONE, NOTED, TRAINING_VERSION, load_run, read_history
from xmodal.config import InputError, TrainConfig
from xmodal.data.features import open_features
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.files import digest, replace
from xmodal.kernels import bf16_is_fast
from xmodal.metrics import alignment, gallery_ranks, recall, uniformity
from xmodal.train import learning_rate, make_optimiser, train

Tiny = Callable[..., TrainConfig]
FILES = ("model.safetensors", "history.jsonl", "checkpoint/model.safetensors")


def contents(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in FILES}


def snapshot(run: Path) -> dict[Path, tuple[bytes, int]]:
    files = [path for path in run.rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.fixture(scope="module")
def finished(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a run that nothing interrupts; it is copied, not changed."""
    out = tmp_path_factory.mktemp("finished") / "run"
    train(tiny(out))
    return out


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


# --- what a run leaves ---------------------------------------------------------------------------


def test_history_has_a_line_for_each_validation(finished: Path):
    """λ is 0 for 20 steps: the third line is the first with a second term."""
    history = read_history(finished)
    assert [line["step"] for line in history] == [10, 20, 30, 40]
    assert [line["classification"] > 0 for line in history] == [False, False, True, True]
    for line in history:
        total = line["cosine"] + 0.02 * line["classification"] + line["l2"]
        assert line["loss"] == pytest.approx(total, rel=1e-5)
        assert 0 < line["recall_at_1"] <= line["recall_at_5"] <= line["recall_at_10"] <= 1


def test_result_names_the_best_line(finished: Path, related_features: Path):
    result = json.loads((finished / "result.json").read_text())
    best = max(read_history(finished), key=lambda line: line["recall_at_1"])
    assert result == {
        "step": 40,
        "best_step": best["step"],
        "best_recall": best["recall_at_1"],
        "training_clips": len(open_features(related_features, "train")),
        **{key: digest(finished / name) for key, name in NOTED.items()},
    }
    names = {"config.json", "result.json", "history.jsonl", "model.safetensors", "checkpoint"}
    modes = {path.stat().st_mode for path in finished.rglob("*") if path.is_file()}
    assert len(modes) == 1  # that of the umask
    assert {path.name for path in finished.iterdir()} == names  # nothing temporary
    assert not [path for path in finished.parent.iterdir() if path != finished]


def test_the_weights_with_the_best_recall_are_kept(
    tiny: Tiny, tmp_path: Path, related_features: Path
) -> None:
    """With a learning rate this high the recall goes up and down."""
    config = tiny(tmp_path / "run", learning_rate=0.1, steps=60, validate_every=5)
    result = train(config)
    history = {line["step"]: line for line in read_history(config.out)}
    best = history[result["best_step"]]
    recalls = [line["recall_at_1"] for line in history.values()]
    assert result["best_recall"] == best["recall_at_1"] == max(recalls) > recalls[-1]

    model, _ = load_run(config.out)
    clips = open_features(related_features, "validation")
    visual, audio, *_ = model.embed(clips.visual, clips.audio)
    ways = gallery_ranks(visual, audio, 64)
    found = [recall(way, ks=(1,), resamples=0).recall[0] for way in ways]
    assert np.mean(found) == pytest.approx(result["best_recall"], abs=1e-9)
    assert best["alignment"] == pytest.approx(alignment(visual, audio))
    assert best["uniformity"] == pytest.approx((uniformity(visual) + uniformity(audio)) / 2)


def test_training_learns(tiny: Tiny, tmp_path: Path):
    """Chance is 1 of 64."""
    result = train(tiny(tmp_path / "run", steps=150, validate_every=50, learning_rate=3e-3))
    assert result["best_recall"] > 0.5


def test_same_seed_same_bytes_and_another_seed_others(tiny: Tiny, finished: Path, tmp_path: Path):
    train(tiny(tmp_path / "same"))
    train(tiny(tmp_path / "other", seed=1))
    assert contents(tmp_path / "same") == contents(finished)
    for name, content in contents(tmp_path / "other").items():
        assert content != (finished / name).read_bytes()


def test_a_run_loads_as_it_was_trained(finished: Path, tiny: Tiny):
    model, config = load_run(finished)
    assert config == tiny(finished)
    weights = load_file(finished / "model.safetensors")
    assert weights.keys() == model.state_dict().keys()
    assert all(model.state_dict()[name].equal(weight) for name, weight in weights.items())


def test_settings_that_are_gone_make_no_other_run(tiny: Tiny, copy: Path):
    stored = json.loads((copy / "config.json").read_text())
    stored["config"] |= dict.fromkeys(GONE, 1)
    (copy / "config.json").write_text(json.dumps(stored))
    before = snapshot(copy)
    train(tiny(copy))
    assert snapshot(copy) == before
    load_run(copy)


def test_a_training_goes_on_with_the_clips_that_it_began_with(
    tiny: Tiny, related_features: Path, tmp_path: Path
):
    """When the first validation is done, other clips take the place of the set."""
    few = {"buffer_clips": 64, "steps": 20}  # what is read at a time
    train(tiny(tmp_path / "alone", **few))
    features, other = (shutil.copytree(related_features, tmp_path / name) for name in "ab")
    for path in (*other.glob("*/visual.npy"), *other.glob("*/audio.npy")):
        np.save(path, np.load(path)[:9])

    def watch():
        if other.exists():
            replace(features, other)

    train(tiny(tmp_path / "replaced", features=features, **few), watch)
    assert contents(tmp_path / "replaced") == contents(tmp_path / "alone")
    config = (tmp_path / run / "config.json" for run in ("replaced", "alone"))
    noted, asked = (json.loads(path.read_text()) for path in config)
    assert {**noted, "config": 0} == {**asked, "config": 0}


# --- a step --------------------------------------------------------------------------------------


def test_epochs_are_counted_in_steps(tiny: Tiny, tmp_path: Path):
    """By hand: 2.5 epochs of the 100 clips of a subset in batches of 32 are 7.8 steps."""
    config = tiny(tmp_path / "run", passes=2.5, training_clips=100, batch_size=32)
    assert train(config)["step"] == 8
    assert train(config)["step"] == 8  # complete: nothing is trained again
    few = TrainConfig(**config.model_dump(exclude={"steps", "out"}), out=tmp_path / "few")
    assert train(few.model_copy(update={"passes": 1e-3}))["step"] == 1


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


def test_weights_decay_and_biases_do_not(tiny: Tiny, tmp_path: Path):
    """In Adam the decay c is the gradient c · w of the L2 term c/2 · ‖w‖²."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    for changes in (
        {"weight_l2": 0.3},
        {"optimiser": "adamw", "weight_l2": 0, "weight_decay": 0.3},
    ):
        optimiser = make_optimiser(model, tiny(tmp_path, **changes))
        decays = {p: g["weight_decay"] for g in optimiser.param_groups for p in g["params"]}
        for name, parameter in model.named_parameters():
            assert decays[parameter] == (0.3 if name.endswith("weight") else 0)


def test_learning_rate_is_a_staircase_in_clips():
    """By hand: 100 clips between decays and 30 a step, so steps 4, 7 and 10 are the first after."""
    config = TrainConfig(learning_rate=0.5, decay=0.1, decay_every=100, batch_size=30)
    rates = [learning_rate(config, step) for step in range(11)]
    assert rates == pytest.approx([0.5] * 4 + [0.05] * 3 + [0.005] * 3 + [0.0005])


def test_a_cosine_rises_and_falls():
    """By hand: rising over 3 steps to 0.8, then half a cosine over the 4 that are left."""
    config = TrainConfig(learning_rate=0.8, schedule="cosine", warmup_steps=3, steps=7)
    rates = [learning_rate(config, step) for step in range(7)]
    falling = [0.8 * (1 + np.cos(np.pi * part)) / 2 for part in (0, 0.25, 0.5, 0.75)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, *falling])


def test_averaged_weights_are_validated_and_kept(tiny: Tiny, tmp_path: Path):
    """By hand: with a decay of 0.5 after 2 steps, half the second state and half the first."""
    shared = {"validate_every": 1, "learning_rate": 1e-2}
    one, two = (tiny(tmp_path / f"{n}", steps=n, **shared) for n in (1, 2))
    averaged = tiny(tmp_path / "averaged", steps=2, average=0.5, **shared)
    for config in (one, two, averaged):
        train(config)
    first, second = (load_file(c.out / "checkpoint" / "model.safetensors") for c in (one, two))
    found = load_file(averaged.out / "checkpoint" / "model_1.safetensors")
    for name in first:
        torch.testing.assert_close(found[f"module.{name}"], (first[name] + second[name]) / 2)
    assert read_history(averaged.out) != read_history(two.out)


def test_the_recipe_learns_and_resumes(tiny: Tiny, tmp_path: Path):
    """With the objective that learns a scale and a bias."""
    changes = {"objective": "sigmoid", "recipe": "best", "steps": 120, "validate_every": 40}
    changes |= {"schedule": "staircase", "average": 0.9, "class_weight": 0.0, "warmup_steps": 5}
    changes |= {"dropout": 0.2, "dropout_input": 0.1, "learning_rate": 1e-2}
    whole, halted = (tiny(tmp_path / name, **changes) for name in ("whole", "halted"))
    assert train(whole)["best_recall"] > 20 / 64
    train(halted.model_copy(update={"steps": 80}))
    train(halted)
    assert contents(halted.out) == contents(whole.out)


def test_only_the_first_clips_are_used_if_asked_for(tiny: Tiny, tmp_path: Path):
    few = tiny(tmp_path / "few", training_clips=64, steps=10)
    assert train(few)["training_clips"] == 64
    train(tiny(tmp_path / "all", steps=10))
    assert contents(few.out) != contents(tmp_path / "all")


def test_clips_without_labels_are_trained_on_without_the_classifier(tiny: Tiny, tmp_path: Path):
    shards, unlabelled = tiny(tmp_path).features.parent, tmp_path / "features"
    sizes = {"evaluation_clips": 64, "validation_clips": 64}
    prepare(PrepareConfig(shards=shards, out=unlabelled, vocabulary=None, **sizes))
    train(tiny(tmp_path / "with", features=unlabelled, class_weight=0.1))
    train(tiny(tmp_path / "without", features=unlabelled, class_weight=0.0))
    assert contents(tmp_path / "with") == contents(tmp_path / "without")


@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU decides")
@pytest.mark.parametrize(
    ("vendor", "flags", "fast"),
    [
        ("AuthenticAMD", "avx2 avx512f avx512_bf16", True),
        ("GenuineIntel", "avx2 avx512f avx512_bf16", False),
        ("GenuineIntel", "avx512f avx512_bf16 amx_bf16 amx_tile", True),
        ("AuthenticAMD", "avx2", False),
    ],
)
def test_bf16_is_taken_where_it_is_known_to_be_fast(
    vendor: str, flags: str, fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = tmp_path / "cpuinfo"
    known.write_text(f"vendor_id\t: {vendor}\nflags\t\t: fpu {flags}\n")
    monkeypatch.setattr(kernels, "Path", lambda _: known)
    assert bf16_is_fast() == fast


# --- continued, repeated, refused ----------------------------------------------------------------


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


@pytest.mark.parametrize("name", [*NOTED.values(), "checkpoint"])
def test_what_another_run_wrote_is_refused(tiny: Tiny, copy: Path, tmp_path: Path, name: str):
    """Whether the run is finished or not."""
    other = tmp_path / "other"
    train(tiny(other, seed=1, learning_rate=0.1, steps=30))
    (shutil.copytree if name == "checkpoint" else shutil.copy)(other / name, tmp_path / "foreign")
    replace(copy / name, tmp_path / "foreign")
    with pytest.raises(InputError, match=str(copy)):
        train(tiny(copy, steps=60))
    if name != "checkpoint":
        with pytest.raises(InputError, match=name):
            load_run(copy)
    (copy / "result.json").unlink()
    with pytest.raises(InputError, match=str(copy)):
        train(tiny(copy, steps=60))


@pytest.mark.parametrize("change", [{"seed": 1}, {"steps": 20}])
def test_another_or_a_shorter_run_is_refused(tiny: Tiny, copy: Path, change: dict[str, Any]):
    before = snapshot(copy)
    with pytest.raises(InputError, match=next(iter(change))):
        train(tiny(copy, **change))
    assert snapshot(copy) == before


def test_a_cosine_belongs_to_its_number_of_steps(tiny: Tiny, tmp_path: Path):
    config = tiny(tmp_path / "run", schedule="cosine", steps=20)
    train(config)
    with pytest.raises(InputError, match="steps"):
        train(config.model_copy(update={"steps": 30}))


def test_a_run_is_known_by_its_data_arithmetic_and_version(tiny: Tiny, copy: Path):
    stored = json.loads((copy / "config.json").read_text())
    assert stored.keys() == {"config", "version", "sizes", "data", "validation_data", "arithmetic"}
    assert stored["version"] == TRAINING_VERSION
    for name, old in {"version": 0, "data": "of another set", "arithmetic": "bf16 3"}.items():
        (copy / "config.json").write_text(json.dumps({**stored, name: old}))
        with pytest.raises(InputError, match=name):
            train(tiny(copy))


def test_overwrite_replaces_the_run_and_keeps_what_is_its_users(
    tiny: Tiny, finished: Path, copy: Path
):
    (copy / "notes.txt").write_text("mine")
    (copy / "recall.csv").write_text("measured with the earlier weights")
    train(tiny(copy, seed=1, overwrite=True))
    assert load_run(copy)[1].seed == 1
    assert (copy / "notes.txt").read_text() == "mine" and not (copy / "recall.csv").exists()
    train(tiny(copy, overwrite=True))
    assert contents(copy) == contents(finished)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_holds_no_run_is_never_replaced(
    tiny: Tiny, finished: Path, tmp_path: Path, overwrite: bool
):
    """Such as the folder of all runs, or that of another program."""
    shutil.copytree(finished, tmp_path / "runs" / "run")
    for content in (None, '{"model_type": "of another program"}'):
        if content:
            (tmp_path / "runs" / "config.json").write_text(content)
        before = snapshot(tmp_path)
        with pytest.raises(InputError, match="runs"):
            train(tiny(tmp_path / "runs", overwrite=overwrite))
        assert snapshot(tmp_path) == before


@pytest.mark.parametrize("patience", [5, 25])
def test_patience_stops_at_a_validation(tiny: Tiny, tmp_path: Path, patience: int):
    """A learning rate of next to nothing: no validation is better than the first."""
    config = tiny(tmp_path / "run", learning_rate=1e-30, patience=patience, steps=100)
    result = train(config)
    stop = {5: 20, 25: 40}[patience]
    assert (result["best_step"], result["step"]) == (10, stop)
    assert read_history(config.out)[-1]["step"] == stop
    load_run(config.out)


@pytest.mark.parametrize("changes", [{"batch_size": 257}, {"training_clips": 257}])
def test_too_few_clips_are_told(tiny: Tiny, tmp_path: Path, changes: dict[str, int]):
    with pytest.raises(InputError, match="256 .* 257"):
        train(tiny(tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_a_training_that_diverges_is_told_and_its_checkpoint_kept(
    tiny: Tiny, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = tiny(tmp_path / "new", learning_rate=1e38)
    with pytest.raises(InputError, match="finite"):
        train(config)
    assert not (config.out / "result.json").exists()
    before = contents(copy)
    monkeypatch.setattr("xmodal.loss.cosine_loss", lambda cosine, *_: cosine.mean() * torch.nan)
    with pytest.raises(InputError, match="finite"):
        train(tiny(copy, steps=60))
    assert contents(copy) == before


# --- several processes ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{}, {"recipe": "best", "schedule": "staircase", "average": 0.5}]
)
def test_two_processes_train_one_model(tiny: Tiny, tmp_path: Path, changes: dict[str, Any]):
    """Each draws within its half of every batch; a second call goes on from the checkpoint."""
    changes |= {"class_weight": 0.0, "dropout": 0.1, "validate_every": 5}
    halted, straight = (tiny(tmp_path / name, **changes) for name in ("halted", "straight"))
    for config, steps in ((halted, 10), (halted, 20), (straight, 20)):
        given = json.loads(config.model_dump_json(exclude_none=True)) | {"steps": steps}
        words = [f"--{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in given.items()]
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
        command = [sys.executable, *launch, "-m", "xmodal", "train", *words]
        told = subprocess.run(command, capture_output=True, text=True)
        assert told.returncode == 0, told.stderr
    assert contents(halted.out) == contents(straight.out)
    assert len(list((straight.out / "checkpoint").glob("random_states_*"))) == 2
    single = tiny(tmp_path / "single", **changes, steps=20)
    train(single)
    one, two = (read_history(config.out)[-1] for config in (single, straight))
    assert two["loss"] == pytest.approx(one["loss"], rel=0.2)
    assert two["loss"] != pytest.approx(one["loss"], rel=1e-4)
