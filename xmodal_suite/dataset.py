"""From the sample's generator or a folder of real shards to a feature set, as in notebook 01."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from xmodal.config import InputError
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.data.sample import SOURCE, SampleConfig, write_sample
from xmodal_suite.figure_config import FigureConfig


class DataConfig(FigureConfig):
    """Where the clips come from and how they are split."""

    sample_clips: int | None = Field(24_000, gt=0, description="synthetic clips; None: real shards")
    sample_shared: float = Field(
        SampleConfig.model_fields["shared"].default, description="see xmodal.data.sample"
    )
    sample_seed: int = Field(0, ge=0, description="of the synthetic clips")
    shards: Path = Field(
        Path("data/sample/shards"), description="folder of *.tfrecord files, or paired features"
    )
    vocabulary: Path | None = Field(
        Path("data/sample/vocabulary.csv"), description="label names; None: no labels"
    )
    source: str = Field(SOURCE, min_length=1, description="written on every figure")
    evaluation_clips: int = Field(6000, gt=0, description="section 4")
    evaluation_shards: str | list[str] | None = Field(
        None, description="e.g. validate/*, or several in order; None: any shard"
    )
    validation_clips: int = Field(1500, gt=0, description="our choice")
    validation_shards: str | list[str] | None = Field(None, description="likewise")
    split_seed: int = Field(0, ge=0, description="of the order of the shards; our choice")
    storage: Literal["float32", "float16"] = Field("float32", description="of the features")


def make_data(config: DataConfig) -> dict[str, Any]:
    """Write the synthetic sample if one is asked for, then the feature set; return its manifest.

    What is there already, from the same configuration, is left as it is.
    """
    if config.sample_clips is not None:
        write_sample(
            SampleConfig(
                out=config.shards.parent,
                clips=config.sample_clips,
                shared=config.sample_shared,
                seed=config.sample_seed,
            )
        )
    shared = config.model_dump(include=set(PrepareConfig.model_fields))
    return prepare(PrepareConfig(out=config.features, **shared))


def need_features(features: Path) -> None:
    """Make the sample's feature set when it is missing; InputError if another set is."""
    if (features / "manifest.json").exists():
        return
    default = DataConfig()
    if features != default.features:
        raise InputError(f"{features} holds no feature set: run 01_data.ipynb for it first")
    make_data(default)
