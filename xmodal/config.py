"""Every choice of a training, the paper's by default, and what all configurations share."""

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)


class InputError(ValueError):
    """Something handed in cannot be used; the message is one sentence: what, where, what to do."""


class StageConfig(BaseModel):
    """Base of the configuration of a stage: unknown keys are refused, values never change.

    A path that begins with ``~`` is in the home folder.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=()
    )

    @field_validator("*")
    @classmethod
    def _from_home(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(cls._from_home(item) for item in value)
        if not isinstance(value, Path):
            return value
        path = os.path.expanduser(value)
        if path.encode(errors="ignore").decode() != path:  # or writing it down would fail, later
            raise ValueError("its name is no UTF-8; rename it")
        return Path(path)


Config = TypeVar("Config", bound=StageConfig)


def validated(config_type: type[Config], values: Mapping[str, Any]) -> Config:
    """Build a configuration; InputError, in one sentence, if a value cannot be used."""
    try:
        return config_type(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name, said = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            raise unknown("parameter", name, config_type.model_fields) from None
        got = "" if isinstance(first["input"], dict) else f" (got {first['input']!r})"
        raise InputError(f"parameter {name}: {said}{got}" if name else said) from None


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Return the error of a name that does not exist, with the one that was perhaps meant."""
    known = list(known)
    close = difflib.get_close_matches(name, known, 1)
    listed = ", ".join(known[:25]) + " and others" * (len(known) > 25)
    hint = f"did you mean {close[0]}?" if close else f"there are {listed}"
    return InputError(f"there is no {kind} {name}; {hint}")


AUTHORS: dict[str, Any] = {
    "joint_normalise": True,  # at evaluation the norms of a clip's halves determine each other
    "swap_first": True,  # in training a pair is scaled as it is compared, so norms tell nothing
    "relu_embedding": True,  # the cosine then lies in [0, 1]
    "audio_hidden": (450, 450, 250, 250),  # 250 units where the text has 200
    "scale_negatives": True,  # a negative pair can cost as much as a positive one: up to 1
    "sqrt_cross_entropy": True,  # of no effect as they ran it, with λ = 0
    "class_weight": 0.0,  # both of their commands
    "clip_each": True,  # a norm for each variable
}

#: What ``variant`` sets, where it is not given itself: nothing, or the two commands of the
#: authors' code, for a cloud and for a server of their own.
VARIANTS: dict[str, dict[str, Any]] = {
    "text": {},
    "authors": AUTHORS,
    "authors_server": AUTHORS
    | {"batch_size": 254, "learning_rate": 5e-4, "decay": 0.7, "decay_every": 1000, "passes": 50},
}

#: What ``recipe`` sets, where it is not given itself.
RECIPES: dict[str, dict[str, Any]] = {
    "paper": {},
    "best": {  # of what was tried, by recall on validation clips of YouTube-8M
        "objective": "infonce",
        "visual_hidden": (2048,),
        "audio_hidden": (2048,),
        "embedding_dim": 256,
        "activation": "gelu",
        "standardise": True,
        "dropout_input": 0.25,
        "dropout": 0.6,
        "mixup": 1.0,
        "temperature": 0.07,
        "optimiser": "adamw",
        "weight_l2": 0.0,
        "weight_decay": 0.05,
        "learning_rate": 3e-3,
        "schedule": "cosine",
        "warmup_steps": 27,
        "class_weight": 0.0,
        "passes": 30,
        "validate_every": 54,
    },
}


class ModelConfig(StageConfig):
    """The network; what is marked "beyond" is not in the paper, and off."""

    embedding_dim: int = Field(250, gt=0, description="size of the joint space (section 3.1)")
    visual_hidden: tuple[PositiveInt, ...] = Field(
        (2000, 2000, 700, 700), description="units of the hidden layers (section 3.1)"
    )
    audio_hidden: tuple[PositiveInt, ...] = Field(
        (450, 450, 200, 200), description="section 3.1; authors: 450 450 250 250"
    )
    relu_embedding: bool = Field(False, description="authors: ReLU on the embedding too")
    joint_normalise: bool = Field(False, description="authors: ‖visual‖² + ‖audio‖² = 1")
    initialisation: Literal["glorot", "he"] = Field("glorot", description="TensorFlow's")
    activation: Literal["relu", "gelu"] = Field("relu", description="section 2; gelu: beyond")
    standardise: bool = Field(False, description="shift and scale the features; beyond")
    dropout_input: float = Field(0, ge=0, lt=1, description="of the features; beyond")
    dropout: float = Field(0, ge=0, lt=1, description="of the hidden layers; beyond")


class LossConfig(StageConfig):
    """What is minimised; what is marked "beyond" is not in the paper."""

    objective: Literal["paper", "infonce", "sigmoid", "triplet"] = Field(
        "paper", description="similarity term (section 3); all but paper: beyond"
    )
    margin: float = Field(0.2, ge=0, lt=1, description="α (section 3.1)")
    p_negative: float = Field(0.6, ge=0, le=1, description="share of negative pairs (section 3.1)")
    class_weight: float = Field(0.02, ge=0, description="λ (section 3.1)")
    class_start_step: int = Field(10_000, ge=0, description="steps with λ = 0 (section 3.1)")
    weight_l2: float = Field(1e-8, ge=0, description="c of c/2 · ‖w‖²: section 2; 1e-8: authors")
    mean_over_classes: bool = Field(False, description="cross entropy: mean, not sum; ours")
    scale_negatives: bool = Field(False, description="authors: negative term over 1 − α")
    sqrt_cross_entropy: bool = Field(False, description="authors: λ · √(cross entropies)")
    swap_first: bool = Field(False, description="authors: swap audio before all else")
    temperature: float = Field(0.07, gt=0, description="to start from, of infonce and sigmoid")


class TrainConfig(ModelConfig, LossConfig):
    """How one model is trained: the paper's way; where it is silent the authors', or our choice.

    ``variant`` and ``recipe`` set several at once; what is given itself wins.
    """

    features: Path = Field(Path("data/sample/features"), description="feature set to learn from")
    out: Path = Field(None, description="folder; None: runs/<data>/dim<d>-seed<s>")  # type: ignore
    overwrite: bool = Field(False, description="replace another run that is in `out`")
    progress: bool | Literal["lines"] = Field(
        True, description="a bar, or lines of it now and then"
    )

    variant: Literal["text", "authors", "authors_server"] = Field(
        "text", description="the paper's text, or its code as run on a cloud or a server"
    )
    recipe: Literal["paper", "best"] = Field("paper", description="best: beyond, for real features")
    training_clips: int | None = Field(None, gt=0, description="use only the first so many")

    steps: int = Field(12_000, gt=0, description="past the 10,000 of section 3.1")
    passes: float | None = Field(None, gt=0, description="over all clips; instead of steps")
    batch_size: int = Field(1024, gt=1, description="section 3.1; over all processes together")
    optimiser: Literal["adam", "adamw"] = Field("adam", description="authors; adamw: beyond")
    weight_decay: float = Field(0, ge=0, description="of adamw, no term of the loss; beyond")
    learning_rate: float = Field(1e-4, gt=0, description="of the optimiser; authors")
    schedule: Literal["staircase", "cosine"] = Field("staircase", description="authors' decay")
    warmup_steps: int = Field(0, ge=0, description="of a rate that rises from 0; beyond")
    decay: float = Field(0.95, gt=0, le=1, description="of the learning rate; authors")
    decay_every: int = Field(4_000_000, gt=0, description="clips between two decays; authors")
    clip_norm: float | None = Field(1.0, gt=0, description="of the gradient; authors")
    clip_each: bool = Field(False, description="authors: the gradient of each variable by itself")
    mixup: float = Field(0, ge=0, description="α of Beta(α, α), mixing clips of a batch; beyond")
    average: float = Field(0, ge=0, lt=1, description="decay of averaged weights; beyond")

    readers: int = Field(1, gt=0, description="parts of the clips; each process reads its own")
    buffer_clips: int = Field(65_536, gt=0, description="clips shuffled and held together, twice")
    gather_negatives: bool = Field(False, description="draw negatives from all processes' clips")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 if fast")
    validate_every: int = Field(250, gt=0, description="steps between validation and checkpoint")
    validation_gallery: int = Field(256, gt=1, description="candidates in validation")
    patience: int | None = Field(None, gt=0, description="stop after so many steps without gain")
    seed: int = Field(0, ge=0, description="of weights, order of clips and negatives")

    @model_validator(mode="before")
    @classmethod
    def fill_in(cls, values: Any) -> Any:
        """Set what is not given as variant and recipe say; name the run."""
        if not isinstance(values, dict):
            return values
        default = {name: field.default for name, field in cls.model_fields.items()}
        recipe, several = values.get("recipe", "paper"), VARIANTS["authors_server"]
        given = {k: v for k, v in values.items() if v is not None or k not in several}
        filled = VARIANTS.get(str(given.get("variant")), {}) | RECIPES.get(str(recipe), {})
        if "steps" in given:
            filled.pop("passes", None)
        values = {**filled, **given}
        if values.get("out") is None:
            chosen = {**default, **values}
            name = f"dim{chosen['embedding_dim']}" if recipe == "paper" else recipe
            data = Path(str(chosen["features"])).parent.name
            values["out"] = f"runs/{data}/{name}-seed{chosen['seed']}"
        return values

    @model_validator(mode="after")
    def fit_together(self) -> "TrainConfig":
        """Refuse settings that contradict each other."""
        if self.mixup and (self.objective == "paper" or self.class_weight):
            raise ValueError("mixup is for other objectives than the paper's, with class_weight 0")
        if self.weight_l2 if self.optimiser == "adamw" else self.weight_decay:
            raise ValueError("weight_l2 is for adam, a term of its loss, weight_decay for adamw")
        return self
