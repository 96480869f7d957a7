"""Small inputs that several test files share."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from xmodal.data.tfrecord import write_records
from xmodal.data.yt8m import (
    AUDIO_DIM,
    FEATURE_RANGE,
    VISUAL_DIM,
    Clip,
    encode_example,
    write_vocabulary,
)

CLASSES = 7

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
