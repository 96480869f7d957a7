"""Training: the loop, checkpoints and resuming (paper, section 3.1)."""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list, set_seed
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.nn import functional as distributed
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from xmodal.checkpoint import TRAINING_VERSION, RunFolder, build_model, digest
from xmodal.config import InputError, TrainConfig
from xmodal.data.features import open_features, read_rows
from xmodal.data.loader import Order, Reader, batch_labels
from xmodal.loss import (
    Labels,
    Objective,
    Peers,
    l2_groups,
    l2_term,
)
from xmodal.metrics import gallery_ranks, recall
from xmodal.model import JointEmbedding

#: Settings that change what is written when, but not the course of the training.
BYSTANDERS = {"features", "out", "steps", "patience", "overwrite", "progress"}


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


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return the learning rate of a step: a staircase in the number of clips seen, or a cosine.

    The cosine falls to 0 at the last step; either may rise from 0 first.
    """
    warm = config.warmup_steps
    rate = config.learning_rate * min(1, (step + 1) / (warm + 1))
    if config.schedule == "staircase":
        return rate * config.decay ** (step * config.batch_size // config.decay_every)
    return rate * (1 + math.cos(math.pi * max(0, step - warm) / max(1, config.steps - warm))) / 2


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
        self.clips = min(len(self.features), config.training_clips or len(self.features))
        if self.clips < config.batch_size:
            raise InputError(
                f"{config.features} has {self.clips} training clips, fewer than one batch of "
                f"{config.batch_size}: prepare more shards or lower batch_size"
            )
        if self.clips < (config.training_clips or 0):
            raise InputError(
                f"{config.features} has {self.clips} training clips, fewer than the "
                f"{config.training_clips} asked for: prepare more shards or lower training_clips"
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
            self.clips,
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
        bystanders = BYSTANDERS - ({"steps"} if self.config.schedule == "cosine" else set())
        course = {name: value for name, value in settings.items() if name not in bystanders}
        identity = digest(
            json.dumps([TRAINING_VERSION, course, self.sizes]),
            self.features.fingerprint,
            self.validation.fingerprint,
            f"{accelerator.mixed_precision} {accelerator.num_processes}",
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
        if config.standardise:
            self.fit_scalers(model)
        method = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimiser]
        groups = l2_groups(model, config.weight_l2)
        optimiser = method(groups, lr=config.learning_rate, fused=True)
        self.model, self.optimiser = accelerator.prepare(model, optimiser)
        objective = Objective(**config.model_dump(include=set(Objective.__dataclass_fields__)))
        if config.average:
            ema = get_ema_multi_avg_fn(config.average)
            self.averaged = AveragedModel(model, accelerator.device, multi_avg_fn=ema)
            accelerator.register_for_checkpointing(self.averaged)

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
            if config.clip_norm:
                accelerator.clip_grad_norm_(self.model.parameters(), config.clip_norm)
            self.optimiser.step()
            if config.average:
                self.averaged.update_parameters(accelerator.unwrap_model(self.model))
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
            self.folder.write("result.json", {**result, "training_clips": self.clips})
        accelerator.wait_for_everyone()

    def batch(self, step: int) -> tuple[Tensor, Tensor, Labels]:
        """Return this process's stretch of a step's batch: visual and audio features, labels."""
        rows, *features = self.reader(step)
        visual, audio = (torch.from_numpy(x).to(self.accelerator.device).float() for x in features)
        if self.config.mixup:
            visual, audio = self.mix(visual, audio, step)
        return visual, audio, self.labels(rows)

    def mix(self, visual: Tensor, audio: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Mix each clip with another of the batch, both modalities alike (Zhang et al., 2018)."""
        rng = np.random.default_rng([self.config.seed, step, self.accelerator.process_index])
        share = rng.beta(self.config.mixup, self.config.mixup, len(visual))
        share = np.maximum(share, 1 - share)  # it stays closer to itself than to the other
        own = torch.from_numpy(share[:, None]).to(visual)
        other = torch.from_numpy(rng.permutation(len(visual))).to(visual.device)
        return tuple(own * x + (1 - own) * x[other] for x in (visual, audio))  # type: ignore[return-value]

    def fit_scalers(self, model: JointEmbedding) -> None:
        """Fit `Standardise` to training clips from all over the set, at most 65,536."""
        rows = np.linspace(0, self.clips - 1, min(self.clips, 65_536)).astype(int)
        model.visual_scaler.fit(read_rows(self.features.visual, rows))
        model.audio_scaler.fit(read_rows(self.features.audio, rows))

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
            model = self.averaged.module if self.config.average else self.model
            self.frozen.load_state_dict(self.accelerator.get_state_dict(model))
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
