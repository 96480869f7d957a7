"""A batch's profile, which says what is made from which data, and parameters of notebooks."""

import ast
import json
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import ConfigDict, Field, StringConstraints, create_model, model_validator

from xmodal.config import InputError, StageConfig, TrainConfig, validated

FolderName = Annotated[str, StringConstraints(pattern=r"^\w[\w.+-]*$")]
"""Of a study or of a row in it: part of the name of a folder, and never a path."""


class Row(StageConfig):
    """One change to the common base of an ablation study."""

    about: str = Field(description="What is changed, in words.")
    change: dict[str, Any] = Field({}, description="Settings of the training that differ.")


class Study(StageConfig):
    """An ablation study: trainings that each make one change to a common base."""

    base: dict[str, Any] = Field(description="Settings of the training that all rows share.")
    rows: dict[FolderName, Row] = Field(min_length=1, description="By name; the base line first.")
    seeds: list[int] = Field([0], min_length=1, description="Each row is trained once a seed.")


class Profile(StageConfig):
    """Every choice of a batch, as a file in ``profiles/`` writes it down."""

    name: str = Field(pattern=r"^[a-z0-9_]+$", description="Names folders in data, runs, figures.")
    figures: Path | None = Field(None, description="Folder of figures; None: figures/<name>.")
    results: Path | None = Field(None, description="Of measurements; None: data/results/<name>.")
    draw: bool = Field(False, description="Draw what was measured; measure and train nothing.")
    sample: dict[str, Any] = Field({}, description="Settings of the synthetic sample, if any.")
    extract: dict[str, Any] = Field({}, description="Which media files are embedded, if any.")
    prepare: dict[str, Any] = Field({}, description="Settings of the feature set.")
    train: dict[str, Any] = Field({}, description="Settings of every training of the paper's way.")
    dimensions: list[int] = Field(
        [256, 512, 1024], min_length=1, description="Rows of the tables as embedding dimensions."
    )
    dimension: int = Field(250, description="Dimension of the model ranked among galleries.")
    seeds: list[int] = Field([0], min_length=1, description="Each model is trained once a seed.")
    recipe: dict[str, Any] = Field({"recipe": "best"}, description="Settings of each member.")
    members: int = Field(2, gt=0, le=1000, description="Runs of the recipe in the ensemble.")
    wide: dict[str, Any] = Field({}, description="What wider networks beside them change; or none.")
    studies: dict[FolderName, Study] = Field({}, description="Ablation studies, by name.")
    threads: int = Field(1, gt=0, description="Processor cores per training.")
    notebooks: list[str] = Field([], description="What to make; empty: 00 to 06.")
    parameters: dict[str, dict[str, Any]] = Field({}, description="Parameters by notebook.")

    @model_validator(mode="after")
    def _trainings_are_sound(self) -> "Profile":
        """Refuse what a training would refuse when its turn comes."""
        for run, settings in self.trainings().items():
            try:
                validated(TrainConfig, settings)
            except InputError as error:
                raise ValueError(f"{run}: {error}") from None
        return self

    def models(self) -> dict[str, dict[str, Any]]:
        """Return the settings of the paper's runs, its own dimension first."""
        dimensions = dict.fromkeys([self.dimension, *self.dimensions])
        return {
            f"dim{dimension}-seed{seed}": {**self.train, "embedding_dim": dimension, "seed": seed}
            for dimension in dimensions
            for seed in self.seeds
        }

    def members_of_recipe(self) -> dict[str, dict[str, Any]]:
        """Return the settings of the ensemble's members, a seed each."""
        return {f"best/member-seed{s}": {**self.recipe, "seed": s} for s in range(self.members)}

    def wide_networks(self) -> dict[str, dict[str, Any]]:
        """Return the settings of wider networks in the ensemble, one for each of the seeds."""
        settings = {**self.recipe, **self.wide}
        seeds = self.seeds if self.wide else []
        return {f"best/wide-seed{seed}": {**settings, "seed": seed} for seed in seeds}

    def study_runs(self) -> dict[str, dict[str, Any]]:
        """Return the settings of every run of every study, by ``study/row-seed``."""
        return {
            f"{name}/{row}-seed{seed}": {**study.base, **change.change, "seed": seed}
            for name, study in self.studies.items()
            for seed in study.seeds
            for row, change in study.rows.items()
        }

    def trainings(self) -> dict[str, dict[str, Any]]:
        """Return the settings of every run, by its name."""
        ensemble = self.members_of_recipe() | self.wide_networks()
        return self.models() | ensemble | self.study_runs()


def read_profile(path: Path | str) -> Profile:
    """Read a profile; InputError if there is none, or a setting is wrong."""
    try:
        with open(path, encoding="utf-8") as file:
            return validated(Profile, dict(yaml.safe_load(file)))
    except (OSError, yaml.YAMLError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no profile: {' '.join(str(error).split())}") from None


class Parameters(StageConfig):
    """Base of a notebook's parameters: 1 is no text, and "1" no number."""

    model_config = ConfigDict(strict=True)


def declared(notebook: Path) -> type[Parameters]:
    """Return what the cell tagged ``parameters`` declares, by annotations or by its defaults."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    (cell,) = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    found: dict[str, Any] = {}
    for statement in ast.parse("".join(cell["source"])).body:
        match statement:
            case ast.AnnAssign(ast.Name(name), kind, ast.expr() as value):
                words = ast.unparse(kind).strip("'")  # "int or None": papermill knows no other
                found[name] = eval(words.replace(" or ", " | ")), ast.literal_eval(value)
            case ast.Assign([ast.Name(name)], value):
                default = ast.literal_eval(value)
                many = isinstance(default, list) and default
                found[name] = list[type(default[0])] if many else type(default), default  # type: ignore[misc]
    return create_model(notebook.stem, __base__=Parameters, **found)
