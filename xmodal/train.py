"""Training: the loop, validation, and resuming (paper, section 3.1)."""

import math
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, set_seed
from safetensors import SafetensorError
from safetensors.torch import save
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from xmodal.checkpoint import TRAINING_VERSION, WEIGHTS, RunFolder, build_model, digest
from xmodal.config import InputError, TrainConfig
from xmodal.data.batches import Batches, Drawn
from xmodal.data.features import FeatureSet, open_features, read_rows
from xmodal.devices import all_gather, reproducible, start_accelerator
from xmodal.files import atomic, hidden, locked, remove
from xmodal.loss import Batch, l2_groups, objective
from xmodal.metrics import alignment, gallery_ranks, recall, uniformity
from xmodal.model import JointEmbedding
from xmodal.negatives import Labels, Peers


def train(config: TrainConfig, watch: Callable[[], object] | None = None) -> dict[str, Any]:
    """Train one model, or go on with its training where it was interrupted.

    ``config.out`` then holds ``config.json``, ``history.jsonl`` (a line for every validation),
    ``model.safetensors`` (the weights with the best validation recall), ``checkpoint/``
    (everything needed to go on) and, written last, ``result.json``: steps made, the best step and
    its validation recall, which are returned, and the SHA-256 of the weights.

    With several processes (``torchrun``, ``accelerate launch``) each takes its stretch of every
    batch, and draws negatives within it, or with ``gather_negatives`` from the whole batch. The
    clips of a batch are the same with any number of processes.

    Parameters
    ----------
    config : TrainConfig
        All choices.
    watch : callable, optional
        Called by the main process after each validation, when its line is in the history, and once
        more when the run is complete.

    Raises
    ------
    InputError
        If ``out`` cannot be used, see `RunFolder.claim`, or another process trains there; if there
        are fewer training clips than one batch holds; or if the loss stops being finite, with the
        step and some clips of its batch.
    """
    config = with_steps(config)
    accelerator = start_accelerator(config)
    batches = Batches(
        config, accelerator.device, accelerator.process_index, accelerator.num_processes
    )
    validation = open_features(config.features, "validation")
    if config.class_weight and not batches.features.labels.nnz:
        tqdm.write(
            f"{config.features}: no training clip has a label, so class_weight is 0 and a negative "
            "may be any other clip"
        )
        config = config.model_copy(update={"class_weight": 0.0})
    folder = RunFolder(config.out)
    with ExitStack() as claimed:
        if accelerator.is_main_process:
            claimed.enter_context(locked(config.out))
            content = {
                "version": TRAINING_VERSION,
                "sizes": batches.sizes,
                "data": batches.features.fingerprint,
                "validation_data": validation.fingerprint,
                "arithmetic": f"{accelerator.mixed_precision} {accelerator.num_processes}",
            }
            folder.claim(content, config)
        accelerator.wait_for_everyone()
        if not folder.complete(config):
            with reproducible():
                run_steps(config, accelerator, batches, validation, folder, watch)
        if watch and accelerator.is_main_process:
            watch()
        return folder.read("result.json")


def run_steps(
    config: TrainConfig,
    accelerator: Accelerator,
    batches: Batches,
    validation: FeatureSet,
    folder: RunFolder,
    watch: Callable[[], object] | None,
) -> None:
    """Take the steps that are left, with a validation and a checkpoint every so many."""
    set_seed(config.seed)
    raw = build_model(config, batches.sizes)
    frozen = build_model(config, batches.sizes).to(accelerator.device)  # in float32, to validate
    if config.standardise:
        visual, audio = batches.spread()
        raw.visual_scaler.fit(visual)
        raw.audio_scaler.fit(audio)
    model, optimiser = accelerator.prepare(raw, make_optimiser(raw, config))
    average = None
    if config.average:
        ema = get_ema_multi_avg_fn(config.average)
        average = AveragedModel(raw, accelerator.device, multi_avg_fn=ema)
        accelerator.prepare_model(average, evaluation_mode=True)  # kept as a model, not pickled

    state = resume(accelerator, folder)
    if state["best_step"]:
        folder.load_weights(frozen)  # they are there, if none is better
    sums = torch.zeros(5, device=accelerator.device)  # of the losses, and of steps that had one
    bar = tqdm(
        desc=config.out.name, total=config.steps, initial=state["step"], unit="step",
        disable=not (config.progress and accelerator.is_main_process),
    )  # fmt: skip
    for step in range(state["step"], config.steps):
        if config.patience and state["logged_step"] - state["best_step"] >= config.patience:
            break
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(config, step)
        losses = objective(model, batch_of(batches(step), batches.begin), step, config)
        optimiser.zero_grad()
        accelerator.backward(losses.total)
        if config.clip_norm:
            weights = list(model.parameters())
            for part in [[w] for w in weights] if config.clip_each else [weights]:
                accelerator.clip_grad_norm_(part, config.clip_norm)
        optimiser.step()
        if average:
            average.update_parameters(accelerator.unwrap_model(model))
        sums += torch.stack([*losses, losses.total.isfinite().float()]).detach()
        state["step"] = step + 1
        bar.update()
        if state["step"] % config.validate_every == 0 or state["step"] == config.steps:
            *means, finite = accelerator.reduce(sums, "mean").tolist()
            if not math.isfinite(means[0]):
                raise diverged(batches, state["logged_step"] + int(finite), folder)
            means = [value / (state["step"] - state["logged_step"]) for value in means]
            state["logged_step"] = state["step"]
            if accelerator.is_main_process:
                trained = average.module if average else model
                frozen.load_state_dict(accelerator.get_state_dict(trained))
                validate(frozen, validation, means, config, state, folder, batches)
            save_checkpoint(accelerator, folder, state)
            if watch and accelerator.is_main_process:
                watch()
            sums.zero_()
            bar.set_postfix_str(f"best validation Recall@1 {100 * state['best_recall']:.1f} %")
    bar.close()
    if accelerator.is_main_process:
        result = {key: state[key] for key in ("step", "best_step", "best_recall")}
        result["training_clips"] = batches.clips
        folder.write("result.json", {**result, "weights": digest(folder.path / WEIGHTS)})
    accelerator.wait_for_everyone()


def with_steps(config: TrainConfig) -> TrainConfig:
    """Return the configuration with its passes over the training clips counted in steps."""
    if config.passes is None:
        return config
    clips = config.training_clips or len(open_features(config.features, "train"))
    steps = max(1, round(config.passes * clips / config.batch_size))
    return config.model_copy(update={"steps": steps})


def make_optimiser(model: JointEmbedding, config: TrainConfig) -> torch.optim.Optimizer:
    """Return Adam, which adds the L2 term, or AdamW, whose decay is no term of the loss."""
    if config.optimiser == "adam":
        groups = l2_groups(model, config.weight_l2)
        return torch.optim.Adam(groups, lr=config.learning_rate, fused=True)
    groups = l2_groups(model, config.weight_decay)
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return a step's rate: a staircase in clips seen, or a cosine that falls to 0 at the end."""
    warm = config.warmup_steps
    rate = config.learning_rate * min(1, (step + 1) / (warm + 1))
    if config.schedule == "staircase":
        return rate * config.decay ** (step * config.batch_size // config.decay_every)
    return rate * (1 + math.cos(math.pi * max(0, step - warm) / max(1, config.steps - warm))) / 2


def diverged(batches: Batches, made: int, folder: RunFolder) -> InputError:
    """Return what stops a training: the step after ``made``, the clips it may be due to, the rest.

    Steps are not looked at one by one, which would make each wait for the device.
    """
    clips, rows = batches.features, batches.order.rows(made)
    largest = [np.abs(read_rows(x, rows)).max(axis=1) for x in (clips.visual, clips.audio)]
    size = np.maximum(*largest)
    order, what, todo = ~np.isfinite(size), "there are features not finite,", "prepare them anew"
    if not order.any():
        order, what, todo = np.argsort(-size), "the largest features are", "lower learning_rate"
    kept = folder.state().get("step", 0)
    return InputError(
        f"the loss of {folder.path} is no longer finite at step {made + 1}, in whose batch {what} "
        f"those of {', '.join(clips.ids[rows[order][:3]])}: {todo} and start again; "
        + (f"the checkpoint of step {kept:,} is kept" if kept else "there is no checkpoint yet")
    )


def validate(
    model: JointEmbedding,
    clips: FeatureSet,
    means: list[float],
    config: TrainConfig,
    state: dict[str, Any],
    folder: RunFolder,
    batches: Batches,
) -> None:
    """Measure recall, the mean of both directions; note it and mean `Losses`; keep the best."""
    embedded = model.eval().embed(clips.visual, clips.audio)
    visual, audio, *_ = embedded
    bad = ~(visual.isfinite() & audio.isfinite()).all(dim=1)
    if bad.all():  # the last step has done it: the loss was finite, and the weights are not
        raise diverged(batches, state["step"] - 1, folder)
    if bad.any():
        clip = clips.ids[int(bad.byte().argmax())]
        raise InputError(f"{config.features}: features of validation clip {clip} are not finite")
    if embedded.collapse() and not state.get("collapsed"):
        state["collapsed"] = True  # told once
        tqdm.write(f"{config.out}: at step {state['step']:,} {embedded.collapse()}")
    size = min(config.validation_gallery, len(clips))
    both = [recall(way, resamples=0).recall for way in gallery_ranks(visual, audio, size)]
    recalls = {f"recall_at_{k}": sum(r) / 2 for k, *r in zip((1, 5, 10), *both, strict=True)}
    if recalls["recall_at_1"] > state["best_recall"]:
        state["best_recall"], state["best_step"] = recalls["recall_at_1"], state["step"]
        with atomic(folder.path / WEIGHTS) as fresh:
            fresh.write_bytes(save(model.state_dict()))
    losses = dict(zip(("loss", "cosine", "classification", "l2"), means, strict=True))
    rate = learning_rate(config, state["step"] - 1)
    line = {"step": state["step"], **losses, "learning_rate": rate, **recalls}
    line["alignment"] = alignment(visual, audio)
    some = slice(4096)  # the first so many clips: the work grows with their square
    line["uniformity"] = (uniformity(visual[some]) + uniformity(audio[some])) / 2
    state["history_bytes"] = folder.add_to_history(line)


def save_checkpoint(accelerator: Accelerator, folder: RunFolder, state: dict[str, Any]) -> None:
    """Write everything needed to go on; each process has its own random state."""
    shared = [state]  # one process decides for all, or they would not stop together
    broadcast_object_list(shared)
    state.update(shared[0])
    fresh = hidden(folder.path / "checkpoint", "partial")
    if accelerator.is_main_process:
        remove(fresh)  # a killed process left it
    accelerator.wait_for_everyone()
    try:
        accelerator.save_state(str(fresh))
    except (RuntimeError, SafetensorError) as error:  # what torch makes of a full disk
        raise OSError(str(error).split("\n")[0]) from error
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        folder.keep(fresh, state)
    accelerator.wait_for_everyone()


def resume(accelerator: Accelerator, folder: RunFolder) -> dict[str, Any]:
    """Load the last checkpoint if there is one; return where the training stands."""
    state = folder.state()
    if state:
        folder.verify(state)
        accelerator.load_state(str(folder.path / "checkpoint"))
    state = state or {"step": 0, "logged_step": 0, "best_step": 0, "best_recall": -1.0}
    if accelerator.is_main_process:
        folder.cut_history(state.get("history_bytes", 0))
    return state


def batch_of(drawn: Drawn, begin: int) -> Batch:
    """Return a step's batch with its candidates: of this process, which begins there, or of all."""
    labels = Labels(*drawn.labels)
    peers = Peers(labels)
    if drawn.all_labels:
        peers = Peers(Labels(*drawn.all_labels), begin, all_gather)
    generator = torch.Generator().manual_seed(drawn.seed)
    return Batch(drawn.visual, drawn.audio, labels, peers, generator)
