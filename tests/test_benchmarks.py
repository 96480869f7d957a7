"""The benchmarks run, on next to nothing."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from xmodal.config import TrainConfig
from xmodal.data.features import open_features
from xmodal.train import train

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Give ``load(name)``: a benchmark as a module."""
    monkeypatch.syspath_prepend(BENCHMARKS)

    def module(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        return loaded

    return module


def test_readers_are_measured_and_must_agree(
    load: Callable, shard_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = load("readers")
    ours = {name: told for name, told in readers.READERS.items() if "this reader" in name}
    monkeypatch.setattr(readers, "READERS", {**ours, "absent": ("no-such-reader", None)})
    out = tmp_path / "out.json"
    monkeypatch.setattr("sys.argv", ["readers.py", f"{shard_folder}", "--rounds=1", f"--out={out}"])
    readers.main()
    results = json.loads(out.read_text())
    assert (results["clips"], results["shards"]) == (60, 8)
    assert {one["clips"] for one in results["rounds"][0].values()} == {60}
    assert results["complaints"] == dict.fromkeys(ours, "InputError")
    assert "| this reader, clip by clip | " in out.with_suffix(".md").read_text()

    digests = iter("ab")
    monkeypatch.setattr(readers, "run", lambda *_: {"digest": next(digests)})
    with pytest.raises(SystemExit, match="same"):
        readers.measure(shard_folder, 1)


def test_ways_take_turns_and_ratios_are_those_of_the_same_round(load: Callable) -> None:
    """Rounds 2/1, 9/3 and 4/4: medians of the times would give 4/3."""
    beside, calls = load("side_by_side"), []
    ways = {name: lambda name=name: calls.append(name) for name in "ab"}
    assert [len(some) for some in beside.in_turns(ways, 3).values()] == [3, 3]
    assert calls == list("ab") * 4
    times = {"ours": [2.0, 9.0, 4.0], "theirs": [1.0, 3.0, 4.0]}
    assert beside.ratio(times, "ours", "theirs") == {"ratio": 2, "low": 1, "high": 3, "rounds": 3}


def test_steps_are_timed_beside_others_in_the_loop_itself(
    load: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = load("fast")
    for name, value in {"CLASSES": 12, "BATCH": 16, "CLIPS": 700}.items():
        monkeypatch.setattr(fast, name, value)
    config = fast.step_config(tmp_path, 2, visual_hidden=(8,), audio_hidden=(8,))
    clips = open_features(config.features, "train")
    plain = fast.plain_steps(config, clips)
    others = {"bare": fast.products(config, clips), "plain": plain.__next__}
    times = fast.steps_beside(config, others)
    assert {name: len(some) for name, some in times.items()} == {"step": 2, "bare": 2, "plain": 2}
    assert all(row["ratio"] > 0 for row in fast.rank_part(50, 1, 20))


def test_the_page_is_made_of_the_numbers_beside_it(load: Callable, tmp_path: Path) -> None:
    fast = load("fast")
    found = json.loads((BENCHMARKS / "fast.json").read_text())
    assert fast.page(found) == (BENCHMARKS / "fast.md").read_text()
    fast.draw_slopes(found["parts"]["slopes"], tmp_path / "slopes.png")
    kept = {"what": "ranks", "against": "clips"}
    sizes = [{**kept, "size": n, "milliseconds": n**1.5} for n in (100, 200, 800)]
    assert fast.slopes(sizes)[["slope", "slope at the end"]].iloc[0].tolist() == [1.5, 1.5]


@pytest.mark.slow
def test_a_run_is_trained_again_and_a_search_is_timed(
    load: Callable, tiny: Callable[..., TrainConfig], tmp_path: Path, monkeypatch
) -> None:
    train(tiny(tmp_path / "runs/one"))
    assert load("bare").train_again(tmp_path / "runs") == 1
    words = [f"{tmp_path / 'work'}", "--clips=20000", "--dimension=16", f"--out={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["search.py", *words])
    load("search").main()
    assert len(json.loads((tmp_path / "search.json").read_text())["rows"]) == 3
