"""The benchmarks run, on next to nothing."""

import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType

import pytest
import torch

from xmodal.data.batches import Drawn
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
