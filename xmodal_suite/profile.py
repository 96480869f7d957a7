"""A batch's profile: what is made from which data, and which models are trained for it."""

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from xmodal.config import InputError, StageConfig, TrainConfig, validated
from xmodal_suite.study import Ablation, FolderName


class Profile(StageConfig):
    """Every choice of a batch, as a file in ``profiles/`` writes it down."""

    name: str = Field(pattern=r"^[a-z0-9_]+$", description="of data/, runs/ and figures/ folders")
    figures: Path | None = Field(None, description="folder; None: figures/<name>")
    results: Path | None = Field(None, description="of measurements; None: data/results/<name>")
    draw: bool = Field(False, description="draw what was measured; measure and train nothing")
    stages: list[str] = Field([], description="made by default; none: all that is not on request")
    data: dict[str, Any] = Field(description="DataConfig: where the clips come from")
    train: dict[str, Any] = Field(description="TrainConfig of every model")
    dimensions: list[int] = Field(description="rows of the tables, read as embedding dimensions")
    dimension: int = Field(250, description="of the model whose rows are read as gallery sizes")
    seeds: list[int] = Field([0], min_length=1, description="each model is trained once a seed")
    threads: int = Field(1, gt=0, description="processor cores per training")
    recipe: dict[str, Any] = Field({"recipe": "best"}, description="TrainConfig of each member")
    studies: dict[FolderName, Ablation] = Field({}, description="by name: what each choice does")
    recall: dict[str, Any] = Field({}, description="RecallConfig")
    projection: dict[str, Any] = Field({}, description="ProjectionConfig")
    retrieval: dict[str, Any] = Field({}, description="RetrievalConfig")
    methods: dict[str, Any] = Field({}, description="MethodsConfig")
    study: dict[str, Any] = Field({}, description="AblationConfig")
    own_media: dict[str, Any] = Field({}, description="OwnMediaConfig")
    members: int = Field(2, gt=0, le=1000, description="runs of the recipe, which are joined")

    @model_validator(mode="after")
    def _trainings_are_sound(self) -> "Profile":
        """Refuse what a training would refuse when its turn comes."""
        for run, fields in (self.model_runs() | self.recipe_runs() | self.study_runs()).items():
            try:
                validated(TrainConfig, fields)
            except InputError as error:
                raise ValueError(f"{run}: {error}") from None
        return self

    def model_runs(self) -> dict[str, dict[str, Any]]:
        """Return the TrainConfig fields of the paper's training runs, its own dimension first."""
        dimensions = dict.fromkeys([self.dimension, *self.dimensions])
        return {
            f"dim{dimension}-seed{seed}": {**self.train, "embedding_dim": dimension, "seed": seed}
            for dimension in dimensions
            for seed in self.seeds
        }

    def study_runs(self) -> dict[str, dict[str, Any]]:
        """Return the TrainConfig fields of every run of every study, by ``study/row-seed``."""
        return {
            f"{name}/{run}": fields
            for name, study in self.studies.items()
            for run, fields in study.runs().items()
        }

    def recipe_runs(self) -> dict[str, dict[str, Any]]:
        """Return the same for the members of the recipe, a seed each."""
        return {f"best/member-seed{s}": {**self.recipe, "seed": s} for s in range(self.members)}
