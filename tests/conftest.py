"""Small inputs that several test files share."""

import os

# One core, here and in sub-processes: sums are then made in one order. Said before NumPy is loaded,
# whose threads would otherwise wait for each other in busy loops.
os.environ["OMP_NUM_THREADS"] = "1"

import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from xmodal.cli import main
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.data.schema import (
    AUDIO_DIM,
    FEATURE_RANGE,
    VISUAL_DIM,
    Clip,
    encode_example,
)
from xmodal.data.tfrecord import write_records
from xmodal.data.vocabulary import write_vocabulary
from xmodal.train import TrainConfig

CLASSES = 7
LONGEST = ["test_graph.py", "test_drawn.py", "test_train.py", "test_book.py"]
"""Files that take half a minute or more: where several run at once, these are begun first."""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

# Tests that were started in the background inherit that Ctrl-C is ignored, and so would commands.
signal.signal(signal.SIGINT, signal.default_int_handler)
# A busy machine is no failure: property tests have no time limit for an example.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def make_clips() -> Callable[..., list[Clip]]:
    """Give ``make_clips(n, seed)``: n clips of random features, own ids, 1 to 3 labels below 7."""

    def make(n: int, seed: int) -> list[Clip]:
        rng = np.random.default_rng(seed)
        return [
            Clip(
                f"s{seed}c{row}",
                np.sort(rng.choice(CLASSES, rng.integers(1, 4), replace=False)).astype(np.int32),
                rng.uniform(*FEATURE_RANGE, VISUAL_DIM).astype(np.float32),
                rng.uniform(*FEATURE_RANGE, AUDIO_DIM).astype(np.float32),
            )
            for row in range(n)
        ]

    return make


@pytest.fixture
def shard_folder(tmp_path: Path, make_clips: Callable[..., list[Clip]]) -> Path:
    """Make a folder of 8 shards (60 clips, half in a sub-folder) and ``vocabulary.csv``.

    Shard ``[more/]part{k}.tfrecord`` holds ``make_clips(4 + k, seed=k)``.
    """
    folder = tmp_path / "source"
    (folder / "more").mkdir(parents=True)
    for k in range(8):
        path = folder / ("more" if k % 2 else "") / f"part{k}.tfrecord"
        write_records(path, map(encode_example, make_clips(4 + k, k)))
    write_vocabulary(
        folder / "vocabulary.csv", [f"class {c}" for c in range(CLASSES)], [1] * CLASSES
    )
    return folder


@pytest.fixture(scope="session")
def real_shards() -> Path:
    """Give the folder of real shards (validate/, vocabulary.csv) that XMODAL_YT8M names."""
    if "XMODAL_YT8M" not in os.environ:
        pytest.skip("XMODAL_YT8M names no folder of real YouTube-8M shards")
    return Path(os.environ["XMODAL_YT8M"])


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable:
    """Give ``call(*words)``: exit status of xmodal, what went to stdout, what to stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["xmodal", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


# --- trained in no time --------------------------------------------------------------------------


@pytest.fixture(scope="session")
def related_features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepare 256 training, 64 validation and 64 evaluation clips with something to learn.

    Both modalities are linear in the same eight hidden numbers; the labels tell which of the first
    seven are large, or the largest. Clips 0 to 2 of each shard are silent.
    """
    folder = tmp_path_factory.mktemp("related")
    rng = np.random.default_rng(0)
    to_visual, to_audio = rng.normal(0, 0.2, (8, VISUAL_DIM)), rng.normal(0, 0.2, (8, AUDIO_DIM))
    for shard in range(6):
        hidden = rng.normal(size=(64, 8))
        visual, audio = hidden @ to_visual, hidden @ to_audio
        audio[:3] = 0
        clips = [
            Clip(
                f"s{shard}c{row}",
                np.flatnonzero(
                    hidden[row, :CLASSES] > min(0.7, hidden[row, :CLASSES].max() - 1e-9)
                ).astype(np.int32),
                visual[row].clip(-1.9, 1.9).astype(np.float32),
                audio[row].clip(-1.9, 1.9).astype(np.float32),
            )
            for row in range(64)
        ]
        write_records(folder / f"part{shard}.tfrecord", map(encode_example, clips))
    names = [f"class {c}" for c in range(CLASSES)]
    write_vocabulary(folder / "vocabulary.csv", names, [1] * CLASSES)
    prepare(
        PrepareConfig(
            shards=folder,
            out=folder / "features",
            vocabulary=folder / "vocabulary.csv",
            source="related numbers",
            evaluation_clips=64,
            validation_clips=64,
        )
    )
    return folder / "features"


@pytest.fixture(scope="session")
def tiny(related_features: Path) -> Callable[..., TrainConfig]:
    """Give ``tiny(out, **changes)``: the configuration of a training that takes a moment."""

    def configure(out: Path, **changes: Any) -> TrainConfig:
        settings = {
            "features": related_features,
            "out": out,
            "progress": False,
            "embedding_dim": 8,
            "visual_hidden": (16,),
            "audio_hidden": (16,),
            "batch_size": 32,
            "steps": 40,
            "validate_every": 10,
            "class_start_step": 20,
            "learning_rate": 1e-3,
            "precision": "fp32",
        }
        return TrainConfig(**{**settings, **changes})

    return configure


# --- looked at -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """Give a headless Chromium."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium on the path: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()
