"""Training: the loop, checkpoints and resuming (paper, section 3.1)."""

import json
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list, set_seed
from pydantic import Field, PositiveInt, model_validator
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.nn import functional as distributed
from tqdm import tqdm

import xmodal.data.batches
import xmodal.loss
import xmodal.model
from xmodal.config import InputError, StageConfig
from xmodal.data.batches import Order, Reader, batch_labels
from xmodal.data.features import open_features
from xmodal.loss import VARIANTS, Labels, PaperLoss, Peers, l2_groups, l2_term
from xmodal.metrics import gallery_ranks, recall
from xmodal.model import JointEmbedding
from xmodal.run import RunFolder, digest

#: Settings that change what is written when, but not the course of the training.
BYSTANDERS = {"features", "out", "steps", "patience", "overwrite", "progress"}


class TrainConfig(StageConfig):
    """How one model is trained. A field that is None takes what ``variant`` says."""

    features: Path = Field(Path("data/sample/features"), description="feature set to learn from")
    out: Path = Field(None, description="folder; None: runs/<data>/dim<d>-seed<s>")  # type: ignore
    overwrite: bool = Field(False, description="replace another run that is in `out`")
    progress: bool = Field(True, description="show a progress bar")

    embedding_dim: int = Field(250, gt=0, description="size of the joint space (section 3.1)")
    visual_hidden: tuple[PositiveInt, ...] = Field(
        (2000, 2000, 700, 700), description="section 3.1"
    )
    audio_hidden: tuple[PositiveInt, ...] | None = Field(
        None, description="section 3.1: 450 450 200 200"
    )

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

    readers: int = Field(1, gt=0, description="parts of the clips; each process reads its own")
    buffer_clips: int = Field(65_536, gt=0, description="clips shuffled and held together, twice")
    gather_negatives: bool = Field(False, description="draw negatives from all processes' clips")

    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 if fast")
    validate_every: int = Field(250, gt=0, description="steps between validation and checkpoint")
    validation_gallery: int = Field(256, gt=1, description="candidates in validation: our choice")
    patience: int | None = Field(None, gt=0, description="stop after so many steps without gain")
    seed: int = Field(0, ge=0, description="of weights, order of clips and negatives")

    @model_validator(mode="before")
    @classmethod
    def fill_in(cls, values: Any) -> Any:
        """Take what is None from the variant, and name the run after its data and dimension."""
        if not isinstance(values, dict):
            return values
        default = {name: field.default for name, field in cls.model_fields.items()}
        chosen = {**default, **values}
        switches = VARIANTS.get(str(chosen["variant"]), {})
        filled = {name: value for name, value in switches.items() if chosen[name] is None}
        if chosen["out"] is None:
            data = Path(str(chosen["features"])).parent.name
            filled["out"] = f"runs/{data}/dim{chosen['embedding_dim']}-seed{chosen['seed']}"
        return {**values, **filled}


def train(config: TrainConfig) -> dict[str, Any]:
    """Train one model, or go on with its training where it was interrupted.

    ``out`` then holds ``config.json``, ``history.jsonl`` (a line for every validation),
    ``model.safetensors`` (the weights with the best validation recall), ``checkpoint/``
    (everything needed to go on) and, written last, ``result.json``.

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
        If ``out`` holds another run and ``overwrite`` is not set, more steps than asked for or
        anything else than a run, if there are fewer training clips than one batch holds, or if the
        loss stops being finite.

    Notes
    -----
    With several processes (``torchrun``, ``accelerate launch``) each takes its stretch of every
    batch, and draws negatives within it, or with ``gather_negatives`` from the whole batch. The
    clips of a batch are the same with any number of processes.
    """
    trainer = Trainer(config)
    if not trainer.finished():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or CUDA refuses what follows
        torch.set_deterministic_debug_mode("error")
        torch.set_flush_denormal(True)  # late gradients are tiny, and denormals very slow
        try:
            trainer.loop()
        finally:  # the process is the caller's, who may go on with something else
            torch.set_deterministic_debug_mode("default")
            torch.set_flush_denormal(False)
    return trainer.folder.read("result.json")


def load_run(out: Path) -> tuple[JointEmbedding, TrainConfig]:
    """Return the best model of a finished run, on the CPU, and its configuration.

    Raises
    ------
    InputError
        If there is no finished run in ``out``.
    """
    if not (out / "result.json").exists():
        raise InputError(
            f"{out} holds no finished training run: run 02_train.ipynb (or xmodal train) first"
        )
    stored = json.loads((out / "config.json").read_text())
    config = TrainConfig(**stored["config"])
    model = build_model(config, **stored["sizes"])
    model.load_state_dict(load_file(out / "model.safetensors"))
    return model.eval(), config


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


def all_gather(rows: Tensor) -> Tensor:
    """Join the rows of all processes, in their order; gradients find their way back."""
    return torch.cat(distributed.all_gather(rows))


class Trainer:
    """One training: its data, its network, its optimiser, and the loop over them."""

    def __init__(self, config: TrainConfig) -> None:
        AcceleratorState._reset_state()  # a notebook may train again with another precision
        bf16 = config.precision == "bf16" or (config.precision == "auto" and bf16_is_fast())
        self.config = config
        self.folder = RunFolder(config.out)
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
        processes = self.accelerator.num_processes
        for number, name in ((config.readers, "readers"), (processes, "processes")):
            if config.batch_size % number:
                raise InputError(
                    f"a batch of {config.batch_size} cannot be cut into equal parts for {number} "
                    f"{name}: choose a batch_size that is a multiple"
                )
        self.order = Order(
            config.seed,
            len(self.features),
            config.batch_size,
            config.readers,
            config.buffer_clips,
        )
        share = config.batch_size // processes
        self.begin = share * self.accelerator.process_index
        stretch = slice(self.begin, self.begin + share)
        self.reader = Reader(self.features, self.order, stretch, config.steps)
        self.sizes = {
            "visual_dim": self.features.visual.shape[1],
            "audio_dim": self.features.audio.shape[1],
            "classes": len(self.features.label_names),
        }

    def finished(self) -> bool:
        """Make the folder ready; tell whether the run is there already, complete."""
        accelerator, folder = self.accelerator, self.folder
        settings = json.loads(self.config.model_dump_json())
        course = {name: value for name, value in settings.items() if name not in BYSTANDERS}
        identity = digest(
            [
                json.dumps([course, self.sizes]),
                self.features.fingerprint,
                self.validation.fingerprint,
                f"{accelerator.mixed_precision} {accelerator.num_processes}",
            ],
            [module.__file__ for module in (xmodal.data.batches, xmodal.loss, xmodal.model)]
            + [__file__],
        )
        if accelerator.is_main_process:
            folder.claim(identity, self.config.steps, self.config.overwrite)
        accelerator.wait_for_everyone()
        if (folder.path / "result.json").exists():
            before = folder.read("config.json")["config"]
            if all(before[name] == settings[name] for name in ("steps", "patience")):
                return True
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            folder.path.mkdir(parents=True, exist_ok=True)
            (folder.path / "result.json").unlink(missing_ok=True)
            content = {"config": settings, "sizes": self.sizes, "identity": identity}
            folder.write("config.json", {**content, "data": self.features.fingerprint})
        accelerator.wait_for_everyone()
        return False

    def loop(self) -> None:
        """Take the remaining steps."""
        config, accelerator = self.config, self.accelerator
        set_seed(config.seed)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

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
        bar.set_description(self.folder.path.name)
        for step in range(state["step"], config.steps):
            if config.patience and state["logged_step"] - state["best_step"] >= config.patience:
                break
            rate = learning_rate(config, step)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            batch, chance, peers = self.batch(step), self.generator(step), self.peers(step)
            losses = objective(self.model, *batch, step, chance, peers)
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
            self.folder.write("result.json", {**result, "training_clips": len(self.features)})
        accelerator.wait_for_everyone()

    def batch(self, step: int) -> tuple[Tensor, Tensor, Labels]:
        """Return this process's stretch of a step's batch: visual and audio features, labels."""
        rows, *features = self.reader(step)
        visual, audio = (torch.from_numpy(x).to(self.accelerator.device).float() for x in features)
        return visual, audio, self.labels(rows)

    def labels(self, rows: np.ndarray) -> Labels:
        """Return the labels of some clips."""
        arrays = batch_labels(self.features, rows)
        return Labels(*(torch.from_numpy(x).to(self.accelerator.device) for x in arrays))

    def peers(self, step: int) -> Peers | None:
        """Return what all processes share of a step, if they do; labels are read, not sent."""
        if self.accelerator.num_processes == 1 or not self.config.gather_negatives:
            return None
        return Peers(self.labels(self.order.rows(step)), self.begin, all_gather)

    def generator(self, step: int) -> torch.Generator:
        """Return the source of a step's negatives: another one for each step and process.

        It is the same for all processes when they draw from the clips of all.
        """
        process = 0 if self.config.gather_negatives else self.accelerator.process_index
        entropy = [self.config.seed, step, process]
        seed = np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(seed))

    def validate(self, state: dict[str, Any], sums: list[float], rate: float) -> None:
        """Measure recall on the validation clips, keep the best weights, write a checkpoint."""
        steps = state["step"] - state["logged_step"]
        state["logged_step"] = state["step"]
        loss, cosine, classification = (value / steps for value in sums)
        unstable = InputError(
            f"the loss of {self.folder.path} is no longer finite at step {state['step']}: "
            "lower learning_rate and start again; the last checkpoint is kept"
        )
        if not np.isfinite(loss):
            raise unstable
        if self.accelerator.is_main_process:
            weights = self.accelerator.get_state_dict(self.model)
            self.frozen.load_state_dict(weights)
            try:
                recalls = self.validation_recall()
            except ValueError:  # the last step did it: the embeddings are not finite
                raise unstable from None
            if recalls["recall_at_1"] > state["best_recall"]:
                state["best_recall"], state["best_step"] = recalls["recall_at_1"], state["step"]
                temporary = self.folder.path / "model.safetensors.tmp"
                save_file(self.frozen.state_dict(), temporary)
                temporary.replace(self.folder.path / "model.safetensors")
            line = {
                "step": state["step"],
                "loss": loss,
                "cosine": cosine,
                "classification": classification,
                "l2": l2_term(self.frozen, self.config.weight_l2),
                "learning_rate": rate,
                **recalls,
            }
            state["history_bytes"] = self.folder.note(line)
        # one process decides for all, or they would not stop together
        shared = [state]
        broadcast_object_list(shared)
        state.update(shared[0])
        fresh = self.folder.path / "checkpoint.tmp"
        self.accelerator.save_state(str(fresh))
        self.accelerator.wait_for_everyone()  # each process writes its own random state
        if self.accelerator.is_main_process:
            self.folder.keep(fresh, state)
        self.accelerator.wait_for_everyone()

    def validation_recall(self) -> dict[str, float]:
        """Return Recall@1, 5 and 10, the mean of both directions, over galleries."""
        embedded = self.frozen.eval().embed(self.validation.visual, self.validation.audio)
        size = min(self.config.validation_gallery, len(self.validation))
        both = [
            recall(gallery_ranks(query, gallery, size), resamples=0).recall
            for query, gallery in (embedded[:2], embedded[1::-1])
        ]
        return {f"recall_at_{k}": sum(r) / 2 for k, *r in zip((1, 5, 10), *both, strict=True)}

    def resume(self) -> dict[str, Any]:
        """Load the last checkpoint if there is one; return where the training stands."""
        if self.accelerator.is_main_process:
            self.folder.state()  # puts a checkpoint in its place that a kill left beside it
        self.accelerator.wait_for_everyone()
        state = self.folder.state()
        if state:
            self.accelerator.load_state(str(self.folder.path / "checkpoint"))
        else:
            state = {"step": 0, "logged_step": 0, "best_step": 0, "best_recall": -1.0}
        if self.accelerator.is_main_process:
            self.folder.forget(state.get("history_bytes", 0))
        return state
