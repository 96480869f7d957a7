"""Training: the loop, validation, and going on where it was interrupted (section 3.1)."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list, set_seed
from safetensors import SafetensorError
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from xmodal.checkpoint import TRAINING_VERSION, RunFolder, build_model
from xmodal.config import TrainConfig
from xmodal.data.batches import Batches
from xmodal.data.features import FeatureSet
from xmodal.files import hidden, locked
from xmodal.kernels import bf16_is_fast, reproducible
from xmodal.loss import objective
from xmodal.metrics import alignment, gallery_ranks, recall, uniformity
from xmodal.model import JointEmbedding

Watch = Callable[[], object] | None


def train(config: TrainConfig, watch: Watch = None) -> dict[str, Any]:
    """Train one model, or go on with its training where it was interrupted; return its result.

    ``config.out`` then holds ``config.json``, ``history.jsonl`` (a line for each validation),
    ``model.safetensors`` (the weights with the best validation recall), ``checkpoint/`` (all that
    is needed to go on) and, written last, ``result.json``. Each of several processes (``torchrun``)
    takes its share of every batch and draws negatives within it; their gradients are averaged.
    ``watch`` is called by the main process after each validation and when the run is complete.
    InputError if the folder cannot be used, clips are too few, or embeddings are not finite.
    """
    AcceleratorState._reset_state()  # a notebook may train again with another precision
    bf16 = config.precision == "bf16" or (config.precision == "auto" and bf16_is_fast())
    cpu = not torch.accelerator.is_available()  # or processes would train alone
    accelerator = Accelerator(cpu=cpu, mixed_precision="bf16" if bf16 else "no")
    place = accelerator.process_index, accelerator.num_processes
    batches = Batches(config, accelerator.device, *place)
    folder, main = RunFolder(config.out), accelerator.is_main_process
    with locked(config.out) if main else nullcontext(), reproducible():
        if main:
            arithmetic = f"{accelerator.mixed_precision} {accelerator.num_processes}"
            identity = {"version": TRAINING_VERSION, **batches.identity, "arithmetic": arithmetic}
            folder.claim(identity, batches.config)
        accelerator.wait_for_everyone()
        if not (config.out / "result.json").exists():
            run_steps(accelerator, batches, watch)
        accelerator.wait_for_everyone()
        if watch and main:
            watch()
        return folder.read("result.json")


def run_steps(accelerator: Accelerator, batches: Batches, watch: Watch = None) -> None:
    """Take the steps that are left, with a validation and a checkpoint every so many."""
    config, folder = batches.config, RunFolder(batches.config.out)
    set_seed(config.seed)
    model, snapshot = (build_model(config, batches.sizes).to(accelerator.device) for _ in range(2))
    if config.standardise:
        visual, audio = batches.spread()
        model.visual_scaler.fit(visual)
        model.audio_scaler.fit(audio)
    accelerator.prepare_model(model, evaluation_mode=True)  # that is, for its precision alone
    optimiser = accelerator.prepare(make_optimiser(model, config))
    averaged = None
    if config.average:
        averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.average))
        accelerator.prepare_model(averaged, evaluation_mode=True)  # for checkpoints to hold it
    weights, main, state = [*model.parameters()], accelerator.is_main_process, folder.state()
    if state["step"]:
        accelerator.load_state(str(config.out / "checkpoint"))
    sums = torch.zeros(4, device=accelerator.device)  # of the losses since the last validation
    about = {"desc": config.out.name, "total": config.steps, "initial": state["step"]}
    if config.progress == "lines":
        about |= {"mininterval": 10, "bar_format": "{l_bar}{r_bar}\n"}
    bar = tqdm(**about, unit="step", disable=not (config.progress and main))

    for step in range(state["step"], config.steps):
        if config.patience and state["step"] - state["best_step"] >= config.patience:
            break
        rate = learning_rate(config, step)
        class_weight = config.class_weight if step >= config.class_start_step else 0.0  # λ
        for group in optimiser.param_groups:
            group["lr"] = rate
        batch = batches(step)  # clips, and pairs of them
        embedded = model(batch.visual, batch.audio, classify=class_weight > 0)
        losses = objective(
            embedded, batch.pairs, batch.labels, weights, class_weight, config, model.scale_and_bias
        )
        optimiser.zero_grad()
        accelerator.backward(losses.total)
        for weight in weights:
            if weight.grad is not None and accelerator.num_processes > 1:
                weight.grad = accelerator.reduce(weight.grad, "mean")
        if config.clip_norm:
            for part in [[weight] for weight in weights] if config.clip_each else [weights]:
                torch.nn.utils.clip_grad_norm_(part, config.clip_norm)
        optimiser.step()

        if averaged:
            averaged.update_parameters(model)
        sums += torch.stack(losses).detach()
        bar.update()
        if (step + 1) % config.validate_every == 0 or step + 1 == config.steps:
            taken = step + 1 - state["step"]
            means = [total / taken for total in accelerator.reduce(sums, "mean").tolist()]
            if main:
                snapshot.load_state_dict((averaged.module if averaged else model).state_dict())
                terms = zip(("loss", "cosine", "classification", "l2"), means, strict=True)
                line = {"step": step + 1, **dict(terms), "learning_rate": rate}
                folder.note(line | validate(snapshot, batches.validation, config), snapshot, state)
            save_checkpoint(accelerator, folder, state)
            sums.zero_()
            bar.set_postfix_str(f"best Recall@1 {100 * state['best_recall']:.1f}%", refresh=False)
            if watch and main:
                watch()
    bar.close()
    if main:
        result = {key: state[key] for key in state if key not in ("files", "line")}
        folder.write("result.json", result | {"training_clips": batches.clips})


def make_optimiser(model: JointEmbedding, config: TrainConfig) -> torch.optim.Optimizer:
    """Return Adam, whose weight decay is the gradient of the L2 term, or AdamW, where it is not."""
    adam = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
    weights = [weight for weight in model.parameters() if weight.ndim > 1]
    biases = [bias for bias in model.parameters() if bias.ndim < 2]  # section 2 names weights
    decay = config.weight_l2 or config.weight_decay
    groups = [{"params": weights, "weight_decay": decay}, {"params": biases, "weight_decay": 0.0}]
    return adam(groups, lr=config.learning_rate, fused=True)


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return a step's rate: a staircase in clips seen, or a cosine that falls to 0 at the end."""
    warm, steps = config.warmup_steps, config.steps
    rate = config.learning_rate * min(1, (step + 1) / (warm + 1))
    if config.schedule == "staircase":
        return rate * config.decay ** (step * config.batch_size // config.decay_every)
    return rate * (1 + math.cos(math.pi * max(0, step - warm) / max(1, steps - warm))) / 2


def validate(model: JointEmbedding, clips: FeatureSet, config: TrainConfig) -> dict[str, float]:
    """Return recall, the mean of both directions, and alignment and uniformity of the space."""
    visual, audio, *_ = model.eval().embed(clips.visual, clips.audio)
    size = min(config.validation_gallery, len(clips))
    both = [recall(way, resamples=0).recall for way in gallery_ranks(visual, audio, size)]
    found = {f"recall_at_{k}": sum(r) / 2 for k, *r in zip((1, 5, 10), *both, strict=True)}
    spread = (uniformity(visual[:4096]) + uniformity(audio[:4096])) / 2  # of n clips it takes n²
    return found | {"alignment": alignment(visual, audio), "uniformity": spread}


def save_checkpoint(accelerator: Accelerator, folder: RunFolder, state: dict[str, Any]) -> None:
    """Write everything needed to go on, after telling all processes where the main one stands."""
    state.update(broadcast_object_list([state])[0])
    fresh = hidden(folder.path / "checkpoint", "partial")
    try:
        accelerator.save_state(str(fresh))  # with the random state of each process
    except (RuntimeError, SafetensorError) as error:  # what torch makes of a full disk
        raise OSError(str(error)) from error
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        folder.keep(fresh, state)
