"""The benchmarks run, on next to nothing."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def readers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("readers", ROOT / "benchmarks" / "readers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
