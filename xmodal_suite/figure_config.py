"""What the configurations of notebooks share: where features come from and figures go."""

from pathlib import Path

from pydantic import Field

from xmodal.config import StageConfig


class FigureConfig(StageConfig):
    """Base of the configuration of a notebook that leaves figures or tables."""

    features: Path = Field(Path("data/sample/features"), description="feature set (01_data)")
    results: Path = Field(Path("data/results/sample"), description="folder for what is measured")
    figures: Path = Field(Path("figures/sample"), description="folder for pictures and tables")

    def trained(self) -> list[Path]:
        """Return the training runs that are measured."""
        return []


class RunFigureConfig(FigureConfig):
    """Base of the configuration of a notebook that looks at one trained model."""

    run: Path = Field(Path("runs/sample/dim250-seed0"), description="training run (02_train)")

    def trained(self) -> list[Path]:
        """Return that run."""
        return [self.run]
