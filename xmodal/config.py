"""What every stage's configuration and every complaint about input have in common."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class InputError(ValueError):
    """Something handed in cannot be used; the message is one sentence: what, where, what to do."""


class StageConfig(BaseModel):
    """Base of the configuration of a stage: unknown keys are refused, values never change.

    Each field's ``description`` says where in the paper its default stands, or that it is ours.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=()
    )


class FigureConfig(StageConfig):
    """Base of the configuration of a notebook that leaves figures or tables."""

    features: Path = Field(Path("data/sample/features"), description="feature set (01_data)")
    figures: Path = Field(Path("figures/sample"), description="folder for pictures and tables")


class RunFigureConfig(FigureConfig):
    """Base of the configuration of a notebook that looks at one trained model."""

    run: Path = Field(Path("runs/sample/dim250-seed0"), description="training run (02_train)")
