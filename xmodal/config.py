"""Every choice of a training, and whose it is: the paper's (a section), its authors', or ours."""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict, Field, PositiveInt


class InputError(ValueError):
    """Something handed in cannot be used; the message is one sentence: what, where, what to do."""


class StageConfig(BaseModel):
    """Base of a stage's configuration: no unknown keys; values never change; ``~`` is expanded."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @pydantic.field_validator("*")
    @classmethod
    def _expand_home(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(map(cls._expand_home, value))
        return Path(os.path.expanduser(value)) if isinstance(value, Path) else value


Config = TypeVar("Config", bound=StageConfig)
Units = tuple[PositiveInt, ...]


def validated(config_type: type[Config], values: dict[str, Any]) -> Config:
    """Build a configuration; InputError names the first value that cannot be used."""
    try:
        return config_type.model_validate(values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise unknown("parameter", name, config_type.model_fields) from None
        told = f"parameter {name} = {first['input']!r}: " if name else ""
        raise InputError(told + first["msg"].removeprefix("Value error, ")) from None


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Return the error of a name that does not exist, with the one that was perhaps meant."""
    lower = {one.lower(): one for one in known}
    close = [lower[n] for n in difflib.get_close_matches(name.lower(), list(lower), 1)]
    return InputError(f"there is no {kind} {name}" + "".join(f"; did you mean {n}?" for n in close))


#: The authors' code where it differs from the text. The halves of a clip are scaled together, so at
#: evaluation their norms determine each other; in training a pair is scaled as it is compared.
AUTHORS: dict[str, Any] = {
    "joint_normalise": True, "swap_first": True, "relu_embedding": True,
    "audio_hidden": (450, 450, 250, 250), "scale_negatives": True, "clip_each": True,
    "sqrt_cross_entropy": True, "class_weight": 0.0,  # both of their commands: so it has no effect
}  # fmt: skip

#: What ``variant`` sets: nothing, or the authors' commands for a cloud and for their own server.
VARIANTS: dict[str, dict[str, Any]] = {
    "text": {},
    "authors": AUTHORS,
    "authors_server": AUTHORS
    | {"batch_size": 254, "learning_rate": 5e-4, "decay": 0.7, "decay_every": 1000, "passes": 50},
}

#: What ``recipe`` sets: nothing, or what had the best recall on YouTube-8M's validation clips.
RECIPES: dict[str, dict[str, Any]] = {
    "paper": {},
    "best": {
        "visual_hidden": (2048,), "audio_hidden": (2048,), "embedding_dim": 256,
        "activation": "gelu", "standardise": True, "dropout_input": 0.25, "dropout": 0.6,
        "objective": "infonce", "temperature": 0.07, "class_weight": 0.0, "mixup": 1.0,
        "optimiser": "adamw", "weight_decay": 0.05, "weight_l2": 0.0, "learning_rate": 3e-3,
        "schedule": "cosine", "warmup_steps": 27, "passes": 30, "validate_every": 54,
    },
}  # fmt: skip


class ModelConfig(StageConfig):
    """The network (section 2); "ours" is not in the paper, and off."""

    embedding_dim: int = Field(250, gt=0, description="Dimension of the joint space (section 3.1)")
    visual_hidden: Units = Field((2000, 2000, 700, 700), description="Visual layers (section 3.1)")
    audio_hidden: Units = Field((450, 450, 200, 200), description="Audio layers (section 3.1)")
    relu_embedding: bool = Field(False, description="Apply a ReLU to embeddings (authors' code)")
    joint_normalise: bool = Field(False, description="Scale to ‖visual‖² + ‖audio‖² = 1 (authors)")
    initialisation: Literal["glorot", "he"] = Field("glorot", description="Initial weights")
    activation: Literal["relu", "gelu"] = Field("relu", description="Hidden units (gelu: ours)")
    standardise: bool = Field(False, description="Shift and scale the features (ours)")
    dropout_input: float = Field(0, ge=0, lt=1, description="Dropout rate of features (ours)")
    dropout: float = Field(0, ge=0, lt=1, description="Dropout rate of hidden units (ours)")


class LossConfig(StageConfig):
    """What is minimised: cosine loss + λ · (CE(visual) + CE(audio)) + c/2 · ‖w‖² (section 3)."""

    objective: Literal["paper", "infonce", "sigmoid", "triplet"] = Field(
        "paper", description="Similarity term (section 3; all but paper: ours)"
    )
    margin: float = Field(0.2, ge=0, lt=1, description="Margin α (section 3.1)")
    p_negative: float = Field(0.6, ge=0, le=1, description="Share of negatives (section 3.1)")
    class_weight: float = Field(0.02, ge=0, description="Weight λ of classification (section 3.1)")
    class_start_step: int = Field(10_000, ge=0, description="Steps with λ = 0 (section 3.1)")
    weight_l2: float = Field(1e-8, ge=0, description="Factor c of c/2 · ‖w‖² (authors' code)")
    mean_over_classes: bool = Field(False, description="Cross entropy as a mean, not a sum (ours)")
    scale_negatives: bool = Field(False, description="Divide negative terms by 1 − α (authors)")
    sqrt_cross_entropy: bool = Field(False, description="Take the root of both entropies (authors)")
    swap_first: bool = Field(False, description="Swap audio before the network (authors' code)")
    temperature: float = Field(0.07, gt=0, description="Initial temperature (infonce, sigmoid)")


def run_folder(chosen: dict[str, Any]) -> Path:
    """Return ``runs/<data>/dim<d>-seed<s>``, or the recipe's name in place of the dimension."""
    name = f"dim{chosen['embedding_dim']}" if chosen["recipe"] == "paper" else chosen["recipe"]
    return Path("runs", chosen["features"].parent.name, f"{name}-seed{chosen['seed']}")


class TrainConfig(ModelConfig, LossConfig):
    """How one model is trained (section 3.1); ``variant`` and ``recipe`` set several fields."""

    features: Path = Field(Path("data/sample/features"), description="Feature set to train on")
    variant: Literal["text", "authors", "authors_server"] = Field(
        "text", description="The paper's text, or its code as run on a cloud or a server"
    )
    recipe: Literal["paper", "best"] = Field("paper", description="The paper's, or our best one")
    training_clips: int | None = Field(None, gt=0, description="Use only the first so many clips")
    steps: int = Field(12_000, gt=0, description="Training steps (our choice)")
    passes: float | None = Field(None, gt=0, description="Epochs to train, instead of steps")
    batch_size: int = Field(1024, gt=1, description="Clips per step, of all processes together")
    optimiser: Literal["adam", "adamw"] = Field("adam", description="Optimiser (authors' code)")
    weight_decay: float = Field(0, ge=0, description="Weight decay of AdamW (ours)")
    learning_rate: float = Field(1e-4, gt=0, description="Learning rate (authors' code)")
    schedule: Literal["staircase", "cosine"] = Field("staircase", description="Fall of the rate")
    warmup_steps: int = Field(0, ge=0, description="Steps in which the learning rate rises (ours)")
    decay: float = Field(0.95, gt=0, le=1, description="Factor from stair to stair (authors' code)")
    decay_every: int = Field(4_000_000, gt=0, description="Clips per stair (authors' code)")
    clip_norm: float | None = Field(1.0, gt=0, description="Largest gradient norm (authors' code)")
    clip_each: bool = Field(False, description="Clip each variable's gradient alone (authors)")
    mixup: float = Field(0, ge=0, description="Mix clips by shares of Beta(mixup, mixup) (ours)")
    average: float = Field(0, ge=0, lt=1, description="Decay of the average of weights (ours)")
    buffer_clips: int = Field(65_536, gt=0, description="Clips per shuffle buffer (two in memory)")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where fast")
    validate_every: int = Field(250, gt=0, description="Steps between validations and checkpoints")
    validation_gallery: int = Field(256, gt=1, description="Clips per gallery in validation")
    patience: int | None = Field(None, gt=0, description="Stop after so many steps without gain")
    seed: int = Field(0, ge=0, description="Seed of weights, order of clips and negatives")
    out: Path = Field(default_factory=run_folder, description="Folder of the run")
    overwrite: bool = Field(False, description="Replace another run in the folder")
    progress: bool | Literal["lines"] = Field(True, description="Show a bar, or lines for a log")

    @pydantic.model_validator(mode="before")
    @classmethod
    def fill_in(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Set what variant and recipe say and is not given itself, or given as None."""
        variant, recipe = str(given.get("variant")), str(given.get("recipe"))
        fill = VARIANTS.get(variant, {}) | RECIPES.get(recipe, {})
        if "steps" in given:
            fill.pop("passes", None)
        return fill | {k: v for k, v in given.items() if v is not None or k not in (*fill, "out")}

    @pydantic.model_validator(mode="after")
    def fit_together(self) -> "TrainConfig":
        """Refuse settings that contradict each other."""
        if self.mixup and (self.objective == "paper" or self.class_weight):
            raise ValueError("mixup needs another objective than the paper's, and class_weight 0")
        if self.weight_l2 if self.optimiser == "adamw" else self.weight_decay:
            raise ValueError("weight_l2 is for adam, a term of its loss, weight_decay for adamw")
        return self
