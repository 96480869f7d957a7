"""Training: the loop, checkpoints and resuming (paper, section 3.1)."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list, set_seed
from pydantic import Field, model_validator
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

import xmodal.loss
import xmodal.model
from xmodal.config import InputError, StageConfig
from xmodal.data.batches import batch_labels, batch_rows
from xmodal.data.features import open_features
from xmodal.loss import VARIANTS, Labels, PaperLoss, l2_groups
from xmodal.metrics import gallery_ranks, recall
from xmodal.model import JointEmbedding

#: Settings that change what is written when, but not the course of the training.
BYSTANDERS = {"features", "out", "steps", "patience", "overwrite", "progress"}


class TrainConfig(StageConfig):
    """How one model is trained. A field that is None takes what ``variant`` says."""

    features: Path = Field(Path("data/sample/features"), description="feature set to learn from")
    out: Path = Field(Path("runs/sample/dim250-seed0"), description="folder of this run")
    overwrite: bool = Field(False, description="replace another run that is in `out`")
    progress: bool = Field(True, description="show a progress bar")

    embedding_dim: int = Field(250, gt=0, description="size of the joint space (section 3.1)")
    visual_hidden: tuple[int, ...] = Field((2000, 2000, 700, 700), description="section 3.1")
    audio_hidden: tuple[int, ...] | None = Field(None, description="section 3.1: 450 450 200 200")

    variant: Literal["text", "authors"] = Field("text", description="the paper's text or its code")
    relu_embedding: bool | None = Field(None, description="authors: ReLU on the embedding too")
    joint_normalise: bool | None = Field(None, description="authors: ‖visual‖² + ‖audio‖² = 1")
    scale_negatives: bool | None = Field(None, description="authors: negative term over 1 − α")
    sqrt_cross_entropy: bool | None = Field(None, description="authors: λ · √(cross entropies)")
    swapped_labels: bool | None = Field(None, description="authors: classify audio as swapped")

    margin: float = Field(0.2, ge=0, lt=1, description="α (section 3.1)")
    p_negative: float = Field(0.6, ge=0, le=1, description="share of negative pairs (section 3.1)")
    class_weight: float = Field(0.02, ge=0, description="λ (section 3.1)")
    class_start_step: int = Field(10_000, ge=0, description="steps with λ = 0 (section 3.1)")
    weight_l2: float = Field(1e-8, ge=0, description="L2 on weights: section 2; 1e-8: authors")

    steps: int = Field(12_000, gt=0, description="our choice: past the 10,000 of section 3.1")
    batch_size: int = Field(1024, gt=1, description="section 3.1; over all processes together")
    learning_rate: float = Field(1e-4, gt=0, description="of Adam; authors, the text is silent")
    decay: float = Field(0.95, gt=0, le=1, description="of the learning rate; authors")
    decay_every: int = Field(4_000_000, gt=0, description="clips between two decays; authors")
    clip_norm: float = Field(1.0, gt=0, description="of the gradient; authors")

    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 if fast")
    validate_every: int = Field(250, gt=0, description="steps between validation and checkpoint")
    validation_gallery: int = Field(256, gt=1, description="candidates in validation: our choice")
    patience: int | None = Field(None, gt=0, description="stop after so many steps without gain")
    seed: int = Field(0, ge=0, description="of weights, order of clips and negatives")

    @model_validator(mode="before")
    @classmethod
    def fill_in_variant(cls, values: Any) -> Any:
        if isinstance(values, dict):
            defaults = VARIANTS.get(values.get("variant", "text"), {})
            missing = {k: v for k, v in defaults.items() if values.get(k) is None}
            return {**values, **missing}
        return values


def train(config: TrainConfig) -> dict[str, Any]:
    """Train one model, or go on with its training where it was interrupted.

    ``out`` then holds ``config.json``, ``history.jsonl`` (a line for every few steps and for every
    validation), ``model.safetensors`` (the weights with the best validation recall),
    ``checkpoint/`` (everything needed to go on) and, written last, ``result.json``.

    Parameters
    ----------
    config : TrainConfig
        A run in ``config.out`` of the same configuration, data and code is continued, or left as it
        is when complete.

    Returns
    -------
    dict
        The content of ``result.json``: steps made, the best step and its validation recall.

    Raises
    ------
    InputError
        If ``out`` holds another run and ``overwrite`` is not set, if there are fewer training clips
        than one batch holds, or if the loss stops being finite.

    Notes
    -----
    With several processes (``torchrun``, ``accelerate launch``) each takes its share of every batch
    and draws negatives within it.
    """
    run = Run(config)
    if run.finished():
        return run.read("result.json")
    run.loop()
    return run.read("result.json")


def load_run(out: Path) -> tuple[JointEmbedding, TrainConfig]:
    """Return the best model of a finished run, on the CPU, and its configuration.

    Raises
    ------
    InputError
        If there is no finished run in ``out``.
    """
    if not (out / "result.json").exists():
        raise InputError(f"{out} holds no finished training run: run 02_train (or xmodal train)")
    stored = json.loads((out / "config.json").read_text())
    config = TrainConfig(**stored["config"])
    model = build_model(config, **stored["sizes"])
    model.load_state_dict(load_file(out / "model.safetensors"))
    return model.eval(), config


def read_history(out: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's ``history.jsonl``; validation lines have ``recall_at_1``."""
    return [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]


def build_model(config: TrainConfig, visual_dim: int, audio_dim: int, classes: int):
    """Return the untrained network that a configuration describes."""
    return JointEmbedding(
        visual_dim,
        audio_dim,
        config.visual_hidden,
        config.audio_hidden or (),
        config.embedding_dim,
        classes,
        bool(config.relu_embedding),
        bool(config.joint_normalise),
    )


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return the learning rate of a step: a staircase in the number of clips seen."""
    return config.learning_rate * config.decay ** (step * config.batch_size // config.decay_every)


def bf16_is_fast() -> bool:
    """Tell whether this machine multiplies bfloat16 matrices in hardware."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    flags = Path("/proc/cpuinfo")
    return flags.exists() and any(f in flags.read_text() for f in ("avx512_bf16", "amx_bf16"))


class Run:
    """One training run and its folder."""

    def __init__(self, config: TrainConfig) -> None:
        AcceleratorState._reset_state()  # a notebook may train again with another precision
        bf16 = config.precision == "bf16" or (config.precision == "auto" and bf16_is_fast())
        self.config = config
        self.out = config.out
        self.accelerator = Accelerator(
            mixed_precision="bf16" if bf16 else "no",
            # without λ the classifier takes no part in the loss
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        self.features = open_features(config.features, "train")
        self.validation = open_features(config.features, "validation")
        if len(self.features) < config.batch_size:
            raise InputError(
                f"{config.features} has {len(self.features)} training clips, fewer than one batch "
                f"of {config.batch_size}: prepare more shards or lower batch_size"
            )
        self.sizes = {
            "visual_dim": self.features.visual.shape[1],
            "audio_dim": self.features.audio.shape[1],
            "classes": len(self.features.label_names),
        }
        self.identity = self.identify()

    def identify(self) -> str:
        """Return a digest of all that decides the course of the training."""
        sources = [Path(m.__file__ or "").read_text() for m in (xmodal.loss, xmodal.model)]
        sources.append(Path(__file__).read_text())
        what = [
            self.config.model_dump_json(exclude=BYSTANDERS),
            self.features.fingerprint,
            str(self.accelerator.mixed_precision),
            str(self.accelerator.num_processes),
            *sources,
        ]
        return hashlib.sha256("\n".join(what).encode()).hexdigest()

    def finished(self) -> bool:
        """Make the folder ready; tell whether the run is there already, complete."""
        stored = self.read("config.json") if (self.out / "config.json").exists() else None
        if stored and stored["identity"] != self.identity:
            if not self.config.overwrite:
                raise InputError(
                    f"{self.out} holds a run of another configuration, data set or code: "
                    "choose another `out`, or set overwrite=true to replace it"
                )
            stored = None
        done = stored and (self.out / "result.json").exists()
        same_end = stored and all(
            stored["config"][key] == getattr(self.config, key) for key in ("steps", "patience")
        )
        self.accelerator.wait_for_everyone()
        if done and same_end:
            return True
        if self.accelerator.is_main_process:
            if not stored:
                shutil.rmtree(self.out, ignore_errors=True)
            self.out.mkdir(parents=True, exist_ok=True)
            (self.out / "result.json").unlink(missing_ok=True)
            dumped = json.loads(self.config.model_dump_json())
            self.write(
                "config.json",
                {"config": dumped, "sizes": self.sizes, "identity": self.identity},
            )
        self.accelerator.wait_for_everyone()
        return False

    def loop(self) -> None:
        """Take the remaining steps."""
        config, accelerator = self.config, self.accelerator
        set_seed(config.seed)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.set_flush_denormal(True)  # late gradients are tiny, and denormals very slow

        model = build_model(config, **self.sizes)
        self.frozen = build_model(config, **self.sizes).to(accelerator.device)  # fp32, to validate
        optimiser = torch.optim.Adam(
            l2_groups(model, config.weight_l2), lr=config.learning_rate, fused=True
        )
        self.model, self.optimiser = accelerator.prepare(model, optimiser)
        objective = PaperLoss(**config.model_dump(include=set(PaperLoss.__dataclass_fields__)))

        state = self.resume()
        sums = torch.zeros(3, device=accelerator.device)
        show = config.progress and accelerator.is_main_process
        bar = tqdm(total=config.steps, initial=state["step"], disable=not show, unit="step")
        bar.set_description(self.out.name)
        for step in range(state["step"], config.steps):
            if config.patience and step - state["best_step"] >= config.patience:
                break
            rate = learning_rate(config, step)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            losses = objective(self.model, *self.batch(step), step, self.generator(step))
            self.optimiser.zero_grad()
            accelerator.backward(losses.total)
            accelerator.clip_grad_norm_(self.model.parameters(), config.clip_norm)
            self.optimiser.step()
            sums += torch.stack(losses).detach()
            state["step"] = step + 1
            bar.update()
            if state["step"] % config.validate_every == 0 or state["step"] == config.steps:
                self.validate(state, accelerator.reduce(sums, "mean").tolist(), rate)
                sums.zero_()
                bar.set_postfix_str(f"best validation Recall@1 {100 * state['best_recall']:.1f} %")
        bar.close()
        if accelerator.is_main_process:
            result = {key: state[key] for key in ("step", "best_step", "best_recall")}
            self.write("result.json", {**result, "training_clips": len(self.features)})
        accelerator.wait_for_everyone()

    def batch(self, step: int) -> tuple[Tensor, Tensor, Labels]:
        """Return this process's share of a step's batch: visual and audio features, labels."""
        rows = batch_rows(self.config.seed, step, self.config.batch_size, len(self.features))
        rows = rows[self.accelerator.process_index :: self.accelerator.num_processes]
        indptr, indices = batch_labels(self.features, rows)
        arrays = (self.features.visual[rows], self.features.audio[rows], indptr, indices)
        visual, audio, *labels = (torch.from_numpy(a).to(self.accelerator.device) for a in arrays)
        return visual, audio, Labels(*labels)

    def generator(self, step: int) -> torch.Generator:
        """Return the source of a step's negatives: another one for each step and process."""
        entropy = [self.config.seed, step, self.accelerator.process_index]
        seed = np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(seed))

    def validate(self, state: dict[str, Any], sums: list[float], rate: float) -> None:
        """Measure recall on the validation clips, keep the best weights, write a checkpoint."""
        steps = state["step"] - state["logged_step"]
        state["logged_step"] = state["step"]
        loss, cosine, classification = (value / steps for value in sums)
        if not np.isfinite(loss):
            raise InputError(
                f"the loss of {self.out} is no longer finite at step {state['step']}: "
                "lower learning_rate and start again; the last checkpoint is kept"
            )
        if self.accelerator.is_main_process:
            weights = self.accelerator.get_state_dict(self.model)
            self.frozen.load_state_dict(weights)
            recalls = self.validation_recall()
            if recalls["recall_at_1"] > state["best_recall"]:
                state["best_recall"], state["best_step"] = recalls["recall_at_1"], state["step"]
                temporary = self.out / "model.safetensors.tmp"
                save_file(self.frozen.state_dict(), temporary)
                temporary.replace(self.out / "model.safetensors")
            line = {
                "step": state["step"],
                "loss": loss,
                "cosine": cosine,
                "classification": classification,
                "learning_rate": rate,
                **recalls,
            }
            with open(self.out / "history.jsonl", "a") as history:
                history.write(json.dumps(line) + "\n")
                state["history_bytes"] = history.tell()
        # one process decides for all, or they would not stop together
        shared = [state]
        broadcast_object_list(shared)
        state.update(shared[0])
        self.checkpoint(state)

    def validation_recall(self) -> dict[str, float]:
        """Return Recall@1, 5 and 10, the mean of both directions, over galleries."""
        embedded = self.frozen.eval().embed(self.validation.visual, self.validation.audio)
        size = min(self.config.validation_gallery, len(self.validation))
        both = [
            recall(gallery_ranks(query, gallery, size), resamples=0).recall
            for query, gallery in (embedded[:2], embedded[1::-1])
        ]
        return {f"recall_at_{k}": sum(r) / 2 for k, *r in zip((1, 5, 10), *both, strict=True)}

    def checkpoint(self, state: dict[str, Any]) -> None:
        """Write all that is needed to go on; the previous checkpoint stays until this is whole."""
        fresh, old = self.out / "checkpoint.tmp", self.out / "checkpoint"
        self.accelerator.save_state(str(fresh))
        if self.accelerator.is_main_process:
            (fresh / "state.json").write_text(json.dumps(state))
            shutil.rmtree(self.out / "checkpoint.old", ignore_errors=True)
            if old.exists():
                old.rename(self.out / "checkpoint.old")
            fresh.rename(old)
            shutil.rmtree(self.out / "checkpoint.old", ignore_errors=True)
        self.accelerator.wait_for_everyone()

    def resume(self) -> dict[str, Any]:
        """Load the last checkpoint if there is one; return where the training stands."""
        latest = self.out / "checkpoint"
        if not latest.exists():  # killed between the two renames
            latest = self.out / "checkpoint.old"
        self.accelerator.wait_for_everyone()
        if not latest.exists():
            state = {"step": 0, "logged_step": 0, "best_step": 0, "best_recall": -1.0}
            state["history_bytes"] = 0
        else:
            self.accelerator.load_state(str(latest))
            state = json.loads((latest / "state.json").read_text())
        if self.accelerator.is_main_process:
            with open(self.out / "history.jsonl", "a") as history:
                history.truncate(int(state["history_bytes"]))
        return state

    def read(self, name: str) -> dict[str, Any]:
        """Return the content of one of the folder's JSON files."""
        return json.loads((self.out / name).read_text())

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Write one of the folder's JSON files, whole or not at all."""
        temporary = self.out / f"{name}.tmp"
        temporary.write_text(json.dumps(content, indent=2) + "\n")
        temporary.replace(self.out / name)
