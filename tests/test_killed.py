"""Whatever is killed at any moment, the same call again ends as if nothing had happened.

And whatever is being written by one process is refused to a second one.
"""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from killed import killed
from matplotlib.figure import Figure

from xmodal.config import InputError, TrainConfig
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.data.sample import SampleConfig, write_sample
from xmodal.files import locked
from xmodal.index import build_index
from xmodal.search_options import IndexConfig
from xmodal.train import train
from xmodal_suite.provenance import save_figure

STAGES = ["sample", "prepare", "train", "index", "extract", "figure"]


class Stage(NamedTuple):
    """A function that writes ``out``, called for another result before, and for the one wanted."""

    function: Callable[..., Any]
    earlier: tuple
    wanted: tuple
    out: Path


def draw(stem: Path, seed: int) -> None:
    figure = Figure()
    figure.subplots().plot(np.random.default_rng(seed).normal(size=9))
    save_figure(figure, stem, {"source": "by hand", "parameters": {"seed": seed}})


def extract_tones(config: Any, length: int) -> None:
    """Embed sounds as their levels, cut to a length: nothing is to be loaded."""
    from xmodal.media.encoders import Encoders
    from xmodal.media.extract import extract

    def level(samples: np.ndarray) -> np.ndarray:
        return np.abs(samples).max(keepdims=True).repeat(length)

    extract(config, Encoders(f"level {length}", 1, length, 16_000, level, level))


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards")
    write_sample(SampleConfig(out=out, clips=80, clips_per_shard=10))
    return out


@pytest.fixture(scope="session")
def run(tiny: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    train(tiny(out))
    return out


@pytest.fixture(scope="session")
def stage(
    shards: Path, run: Path, tiny: Callable[..., TrainConfig], related_features: Path
) -> Callable[[str, Path], Stage]:
    """Give ``stage(name, folder)``: what writes to ``folder/out``."""

    def make(name: str, folder: Path) -> Stage:
        out = folder / "out"
        if name == "sample":
            size = {"clips": 60, "clips_per_shard": 20}
            configs = [SampleConfig(out=out, **size, seed=s) for s in (1, 0)]
            return Stage(write_sample, (configs[0],), (configs[1],), out / "shards")
        if name == "prepare":
            given = {"shards": shards / "shards", "vocabulary": shards / "vocabulary.csv"}
            given |= {"evaluation_clips": 20, "validation_clips": 10}
            configs = [PrepareConfig(**given, out=out, split_seed=s) for s in (1, 0)]
            return Stage(prepare, *((config,) for config in configs), out)
        if name == "train":
            configs = [tiny(out, seed=s, overwrite=True, steps=20) for s in (1, 0)]
            return Stage(train, *((config,) for config in configs), out)
        if name == "index":
            given = {"run": str(run), "features": related_features, "out": out}
            configs = [
                IndexConfig(**given, correct_hubs=correct, overwrite=True)
                for correct in (False, True)
            ]
            return Stage(build_index, *((config,) for config in configs), out)
        if name == "figure":
            return Stage(draw, (out / "figure", 1), (out / "figure", 0), out / "figure")
        pytest.importorskip("av", reason="the extra media is not installed")
        from media_files import sine, write_media

        from xmodal.media.extract import ExtractConfig

        own = folder / "own"
        own.mkdir(parents=True)
        for number in range(4):
            write_media(own / f"{number}.wav", tone=sine(0.1 * (number + 1)))
        config = ExtractConfig(folder=own, out=out / "features.npz")
        return Stage(extract_tones, (config, 1), (config, 2), config.out)

    return make


def content(folder: Path) -> dict[str, bytes]:
    """All that is there but what says where it is."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "config.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="session")
def undisturbed(
    stage: Callable[[str, Path], Stage], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[dict[str, bytes], int]]:
    """Give ``undisturbed(name)``: what a stage leaves, and in how many changes, each done once."""
    done: dict[str, tuple[dict[str, bytes], int]] = {}

    def make(name: str) -> tuple[dict[str, bytes], int]:
        if name not in done:
            folder = tmp_path_factory.mktemp(name)
            work = stage(name, folder)
            status, changes = killed(work.function, *work.wanted)
            assert status == 0
            done[name] = content(folder), changes
        return done[name]

    return make


def moments(count: int) -> list[tuple[str, float, bool]]:
    """Draw, for each stage, so many moments, and whether an earlier result is there."""
    rng = np.random.default_rng(count)
    return [(name, rng.random(), bool(rng.integers(2))) for name in STAGES for _ in range(count)]


def kill_and_go_on(name: str, moment: float, over: bool, stage, undisturbed, folder: Path) -> None:
    """Kill it before a change, kill the second call after some time, and let the third one end."""
    work = stage(name, folder)
    expected, changes = undisturbed(name)
    if over:
        assert killed(work.function, *work.earlier)[0] == 0
    change = 1 + int(moment * changes)
    assert killed(work.function, *work.wanted, change=change)[0] == -signal.SIGKILL
    assert killed(work.function, *work.wanted, seconds=0.05 + moment)[0] in (0, -signal.SIGKILL)
    assert killed(work.function, *work.wanted)[0] == 0
    assert content(folder) == expected


@pytest.mark.parametrize(("name", "moment", "over"), moments(1))
def test_killed_at_some_moment(
    name: str, moment: float, over: bool, stage, undisturbed, tmp_path: Path
) -> None:
    kill_and_go_on(name, moment, over, stage, undisturbed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "moment", "over"), moments(8))
def test_killed_at_many_moments(
    name: str, moment: float, over: bool, stage, undisturbed, tmp_path: Path
) -> None:
    kill_and_go_on(name, moment, over, stage, undisturbed, tmp_path)


@pytest.mark.parametrize("name", STAGES)
def test_what_another_process_writes_is_refused(name: str, stage, tmp_path: Path) -> None:
    work = stage(name, tmp_path)
    with locked(work.out), pytest.raises(InputError, match=work.out.name):
        work.function(*work.wanted)
    work.function(*work.wanted)
