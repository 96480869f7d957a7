"""The benchmarks run, on next to nothing."""

import importlib.util
import json
import math
import random
from functools import partial
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch

from xmodal.checkpoint import build_model
from xmodal.config import TrainConfig
from xmodal.data.batches import Drawn
from xmodal.data.features import open_features
from xmodal.data.prepare import PrepareConfig
from xmodal.data.sample import SampleConfig
from xmodal.model import Embeddings

ROOT = Path(__file__).parents[1]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def readers() -> ModuleType:
    return load("readers")


def test_readers_are_measured_and_their_faults_found(
    readers: ModuleType, shard_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {key: readers.CONTENDERS[key] for key in ("columns", "clips")}
    absent = ours["clips"]._replace(name="another", package="no-such-reader")
    monkeypatch.setattr(readers, "CONTENDERS", {**ours, "absent": absent})
    out = tmp_path / "out.json"
    monkeypatch.setattr(
        "sys.argv", ["readers.py", f"{shard_folder}", "--repeats=1", f"--out={out}"]
    )
    readers.main()
    results = json.loads(out.read_text())
    assert (results["clips"], results["shards"]) == (60, 8)
    assert results["rounds"][0].keys() == ours.keys()
    assert all(one["clips"] == 60 and one["seconds"] > 0 for one in results["rounds"][0].values())
    assert results["faults"] == {key: dict.fromkeys(readers.FAULTS, "InputError") for key in ours}
    page = out.with_suffix(".md").read_text()
    assert "| this reader, clip by clip | 1 |" in page
    assert "another" not in page


def test_what_grows_in_a_soak_is_told_and_what_rises_at_first_is_not() -> None:
    """Nine rounds, by hand: the first three do not count, and memory may rise by 5 %."""
    pytest.importorskip("psutil", reason="the extra bench is not installed")
    soak = load("soak")
    memory = [100, 200, 300, 400, 400, 400, 419, 419, 419]
    rounds = [dict.fromkeys(soak.SLACK, 7.0) | {"resident MB": float(rss)} for rss in memory]
    assert soak.grown(rounds) == {}
    leaking = [one | {"open files": 7.0 + number} for number, one in enumerate(rounds)]
    assert soak.grown(leaking) == {"open files": (11, 14)}
    assert soak.grown([one | {"resident MB": 50.0 * n} for n, one in enumerate(rounds)]) == {
        "resident MB": (200, 350)
    }


def test_contenders_that_deliver_other_numbers_are_refused(
    readers: ModuleType, shard_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter("ab")
    result = {"clips": 60, "seconds": 1.0}
    monkeypatch.setattr(readers, "run", lambda *_: {**result, "digest": next(answers)})
    ours = {key: readers.CONTENDERS[key] for key in ("columns", "clips")}
    monkeypatch.setattr(readers, "CONTENDERS", ours)
    with pytest.raises(SystemExit, match="did not deliver the same numbers"):
        readers.measure(shard_folder, 1)


def test_ideas_change_the_loss_as_they_say() -> None:
    """Three clips, the first two with the same labels; all similarities 0 but the own ones, 1."""
    ideas = load("ideas")
    labels = (torch.tensor([0, 1, 2, 4]), torch.tensor([3, 3, 3, 5]))
    drawn = Drawn(torch.zeros(3, 1), torch.zeros(3, 1), labels, None, 0)
    assert ideas.same_labels(drawn).int().tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    embedded = Embeddings(torch.eye(3), torch.eye(3), scale=torch.tensor(1.0))

    def loss(name: str) -> float:
        return ideas.Objective(ideas.IDEAS[name], [])(embedded, drawn).item()

    e = math.e
    plain, two = math.log(e + 2) - 1, math.log(e + 1) - 1
    assert loss("recipe") == pytest.approx(plain)
    assert loss("masked") == pytest.approx((2 * two + plain) / 3)
    # the first two put 0.05 of their target on the other, whose logit is 1 less
    assert loss("soft") == pytest.approx(plain + 0.05 * 2 / 3)
    queue = ideas.Objective(ideas.IDEAS["queue"], [])
    assert queue(embedded, drawn).item() == pytest.approx(plain)
    assert queue(embedded, drawn).item() == pytest.approx(math.log(2 * e + 4) - 1)


# --- side by side --------------------------------------------------------------------------------


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark of what is done most, with little to do."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    module = load("fast")
    for name, value in {"CLASSES": 12, "BATCH": 16, "CLIPS": 700}.items():
        monkeypatch.setattr(module, name, value)
    return module


def test_ratios_are_those_of_the_same_round(fast: ModuleType) -> None:
    """Rounds 2/1, 9/3 and 4/4: medians of the times would give 4/3."""
    times = {"ours": [2.0, 9.0, 4.0], "theirs": [1.0, 3.0, 4.0]}
    assert fast.ratio(times, "ours", "theirs") == {"ratio": 2, "low": 1, "high": 3, "rounds": 3}
    (row,) = fast.rows_of("work", times, "ours", {"theirs": 1.5})
    assert (row["ratio"], row["goal"], row["milliseconds"]) == (2, 1.5, 4000)


def test_ways_take_turns_and_the_first_round_does_not_count(fast: ModuleType) -> None:
    calls: list[str] = []
    ways = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = fast.in_turns(ways, 3)
    assert calls == list("ab") * 4
    assert [len(some) for some in times.values()] == [3, 3]


def test_ranks_and_negatives_are_compared(fast: ModuleType) -> None:
    rows = fast.rank_part(50, 1, 20)
    assert [row["against"] for row in rows] == [
        "the bare product",
        "faiss, flat, first ten",
        "full argsort",
        "torchmetrics, recall at 10",
    ]
    assert all(row["ratio"] > 0 for row in rows)
    (row,) = fast.negative_part(1)
    assert row["goal"] == 0.02
    sets = [{1}, {1, 2}, {3}]
    drawn = [fast.draw_in_a_loop(sets, 1.0, random.Random(seed)) for seed in range(20)]
    assert {audio[0] for audio in drawn} == {2} and {audio[2] for audio in drawn} == {0, 1}


def test_a_step_is_timed_beside_others_in_the_loop_itself(fast: ModuleType, tmp_path: Path) -> None:
    config = fast.step_config(tmp_path, 2, recipe="best", visual_hidden=(8,), audio_hidden=(8,))
    train = open_features(config.features, "train")
    sizes = fast.sizes_of(train)
    assert sizes == {"visual_dim": 1024, "audio_dim": 128, "classes": 12}
    plain = fast.plain_steps(TrainConfig(batch_size=16), train, build_model(config, sizes))
    others = {
        "bare": fast.products(config, sizes, bf16=False),
        "plain": lambda: next(plain),
    }
    times = fast.steps_beside(config, others, 2)
    assert {name: len(some) for name, some in times.items()} == {"step": 2, "bare": 2, "plain": 2}
    assert sum(times["step"]) > 0


def test_kinds_of_work_share_the_time_of_a_step(
    fast: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"visual_hidden": (8,), "audio_hidden": (8,), "embedding_dim": 8}
    config = fast.step_config
    monkeypatch.setattr(fast, "step_config", lambda *args, **kw: config(*args, **kw | small))
    rows = fast.share_part(tmp_path, 1)
    for row in rows:
        assert sum(share for name, share in row.items() if name != "step") == pytest.approx(100, 1)
        assert row["bare products"] > 0 and row["cross entropies"] > 0 and row["optimiser"] > 0
    dropout = {row["step"]: row["random numbers of dropout"] for row in rows}
    assert dropout["the recipe's, fp32"] > 0 == dropout["the paper's, both losses, fp32"]


def test_a_plain_step_and_ours_learn_from_the_same_sample(
    fast: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, few = fast.step_config, {"evaluation_clips": 64, "validation_clips": 64}
    monkeypatch.setattr(fast, "SampleConfig", partial(SampleConfig, clips=400, clips_per_shard=40))
    monkeypatch.setattr(fast, "PrepareConfig", partial(PrepareConfig, **few))
    small = {"visual_hidden": (8,), "audio_hidden": (8,)}
    monkeypatch.setattr(fast, "step_config", lambda *args, **kw: config(*args, **kw | small))
    found = pd.DataFrame(fast.recall_part(tmp_path, 6))
    assert len(found) % 6 == 0 and found["way"].nunique() >= 2
    assert found["recall"].between(found["low"], found["high"]).all()


@pytest.mark.slow
def test_trainings_and_fits_are_timed_bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = load("bare")
    monkeypatch.chdir(tmp_path)
    spent = bare.bare(bare.validated(bare.Profile, bare.read_profile(ROOT / "profiles/smoke.yaml")))
    assert spent.keys() == {"data", "trainings", "fits"} and min(spent.values()) > 0
    assert len(list(tmp_path.glob("runs/*/result.json"))) == 4
    assert len(list(tmp_path.glob("runs/best/*/result.json"))) == 2


def test_the_page_quotes_ratios_and_slopes(fast: ModuleType, tmp_path: Path) -> None:
    """A cost of size to the 1.5th; a ratio above its goal and one below."""
    row = {"work": "w", "low": 0.5, "high": 3.0, "milliseconds": 1.0}
    rows = [{**row, "against": "a", "ratio": r, "goal": 1.3} for r in (1.2, 1.4)]
    kept = {"what": "ranks", "against": "clips", "low": 1, "high": 1}
    sizes = [{**kept, "size": n, "milliseconds": n**1.5} for n in (100, 200, 800)]
    parts = {part: [] for part in fast.RATIOS} | {"ranks": rows, "slopes": sizes}
    parts["shares"] = [{"step": "s", "bare products": 60.0}]
    value = {"recall": 0.5, "low": 0.25, "high": 0.75}
    learnt = {"way": "plain", "steps": 7, "direction": "audio→video", "k": 5, **value}
    parts["recall"] = [learnt]
    found = {"parts": parts, "machine": fast.machine(), "memory": {"clips": 5, "mb": 7.0}}
    page = fast.page(found)
    assert (
        "| 1.2 (0.5 to 3)  | ≤ 1.3  | yes   |" in page and "| 1.4 (0.5 to 3)  | ≤ 1.3  | no" in page
    )
    assert (
        "after\n7 steps" in page and "50.0 [25.0, 75.0]" in page and "|              60 |" in page
    )
    assert fast.slopes(sizes)[["slope", "slope at the end"]].iloc[0].tolist() == [1.5, 1.5]
    fast.slope_figure(pd.DataFrame(sizes)).savefig(tmp_path / "slopes.png")
