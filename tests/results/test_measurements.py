"""What is measured is kept, read back as it was, and measured again when it no longer holds."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from xmodal.checkpoint import SHIPPED
from xmodal.config import InputError, TrainConfig
from xmodal.train import train
from xmodal_suite.dataset import DataConfig
from xmodal_suite.figure_config import FigureConfig, RunFigureConfig
from xmodal_suite.measurements import (
    LONG,
    Measured,
    measure_now,
    measured,
    read_measured,
)

FRAMES = {
    "short": pd.DataFrame(
        {
            "clip": ["0012", "7"],
            "label": ["None", "NA"],
            "value": [1 / 3, np.nan],
            "own": [True, False],
        }
    ),
    "long": pd.DataFrame({"model": ["a", "b"] * LONG, "better": np.arange(2 * LONG) % 6000}),
}


@pytest.fixture
def config(related_features: Path, tmp_path: Path) -> FigureConfig:
    return FigureConfig(features=related_features, results=tmp_path / "results")


def counted() -> tuple[Callable[[FigureConfig], dict[str, pd.DataFrame]], list[FigureConfig]]:
    calls: list[FigureConfig] = []

    def measure(config: FigureConfig) -> dict[str, pd.DataFrame]:
        calls.append(config)
        return FRAMES

    return measure, calls


def test_a_frame_that_an_earlier_version_did_not_measure_is_told(config: FigureConfig):
    found = measure_now("04_umap", config, counted()[0])
    with pytest.raises(InputError, match="new was not measured, perhaps by an earlier version"):
        found["new"]


def test_frames_are_read_as_they_were_measured(config: FigureConfig):
    found = measured("01_data", config, counted()[0])
    pd.testing.assert_frame_equal(found["short"], FRAMES["short"])
    long = found["long"].astype({"model": object, "better": np.int64})
    pd.testing.assert_frame_equal(long, FRAMES["long"])
    assert found.source == "related noise" or found.source
    assert {p.name for p in (config.results / "01_data").iterdir()} == {
        *("manifest.json", "short.csv", "long.parquet")
    }


def test_what_is_there_is_not_measured_again(config: FigureConfig):
    measure, calls = counted()
    measured("01_data", config, measure)
    measured("01_data", config.model_copy(update={"figures": Path("elsewhere")}), measure)
    assert len(calls) == 1
    measure_now("01_data", config, measure)
    assert len(calls) == 2


def test_labels_of_clips_that_have_none_are_empty_text(config: FigureConfig):
    frame = pd.DataFrame({"query_labels": ["", ""], "match_labels": ["", "3"], "cosine": [0.5, 1]})
    found = measured("05_retrieval", config, lambda _: {"examples": frame})
    pd.testing.assert_frame_equal(found["examples"], frame)


def test_other_parameters_or_features_are_measured_again(
    config: FigureConfig, related_features: Path, tmp_path: Path
):
    measure, calls = counted()
    measured("05_retrieval", RunFigureConfig(**config.model_dump(), run=tmp_path / "a"), measure)
    other = RunFigureConfig(**config.model_dump(), run=tmp_path / "b")
    measured("05_retrieval", other, measure)
    assert len(calls) == 2
    manifest = config.results / "05_retrieval" / "manifest.json"
    noted = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**noted, "features": "of another set"}))
    measured("05_retrieval", other, measure)
    assert len(calls) == 3


@pytest.mark.parametrize(("clips", "calls_made"), [(None, 1), (1000, 2)])
def test_settings_of_the_sample_count_where_the_clips_are_the_samples(
    config: FigureConfig, clips: int | None, calls_made: int
):
    measure, calls = counted()
    for shared in (2.5, 14):
        settings = {**config.model_dump(), "sample_clips": clips, "sample_shared": shared}
        measured("01_data", DataConfig(**settings), measure)
    assert len(calls) == calls_made


def test_other_weights_are_measured_again(
    config: FigureConfig, tiny: Callable[..., TrainConfig], tmp_path: Path
):
    measure, calls = counted()
    mine = RunFigureConfig(**config.model_dump(), run=tmp_path / "run")
    train(tiny(tmp_path / "run"))
    for _ in range(2):
        measured("04_umap", mine, measure)
    assert len(calls) == 1
    train(tiny(tmp_path / "run", seed=1, overwrite=True))
    measured("04_umap", mine, measure)
    assert len(calls) == 2


def test_without_features_and_runs_what_is_kept_counts(
    config: FigureConfig, tmp_path: Path, tiny: Callable[..., TrainConfig]
):
    """As in a clone of the repository, where nothing but measurements lies."""
    (tmp_path / "elsewhere").mkdir()
    mine = RunFigureConfig(**config.model_dump(), run=tmp_path / "run")
    train(tiny(tmp_path / "run"))
    before = measured("04_umap", mine, counted()[0])
    for path in sorted((tmp_path / "run").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    measure, calls = counted()
    after = measured("04_umap", mine, measure)
    assert not calls and after.origin == before.origin


@pytest.mark.parametrize("harm", ["changed", "missing", "manifest"])
def test_a_file_that_is_not_as_it_was_is_refused(config: FigureConfig, harm: str):
    measured("01_data", config, counted()[0])
    folder = config.results / "01_data"
    if harm == "changed":
        (folder / "short.csv").write_text((folder / "short.csv").read_text().replace("7", "8"))
    elif harm == "missing":
        (folder / "long.parquet").unlink()
    else:
        (folder / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="01_data"):
        read_measured(folder)


def test_a_measurement_that_fails_leaves_what_was_there(config: FigureConfig):
    before = measured("01_data", config, counted()[0])

    def fails(_: FigureConfig) -> dict[str, pd.DataFrame]:
        raise InputError("no disk")

    with pytest.raises(InputError, match="no disk"):
        measure_now("01_data", config, fails)
    after: Measured = read_measured(config.results / "01_data")
    assert after.origin == before.origin


def test_weights_of_the_package_are_noted_as_those_of_a_run_are(config: FigureConfig):
    named = RunFigureConfig(**config.model_dump(), run="yt8m-recipe")
    measured("05_explorer", named, lambda _: {"a": pd.DataFrame({"n": [1]})})
    kept = json.loads((config.results / "05_explorer" / "manifest.json").read_text())
    content = (SHIPPED / "yt8m-recipe" / "model.safetensors").read_bytes()
    assert kept["weights"] == {"yt8m-recipe": sha256(content).hexdigest()}
