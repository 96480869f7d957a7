"""Trainings as tidy frames: what was made, and how it went (section 3.1); the plain loop."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_embedding_loss, normalize

from xmodal.checkpoint import RunFolder, read_history
from xmodal.data.features import FeatureSet, open_features
from xmodal.evaluation.recall import KS
from xmodal.metrics import gallery_ranks, recall


def training_frame(runs: Sequence[Path]) -> pd.DataFrame:
    """Return one row a run: dimension, seed, steps made, step and recall of the best weights."""
    rows = []
    for run in runs:
        folder = RunFolder(run)
        config, result = folder.read("config.json")["config"], folder.read("result.json")
        rows.append(
            {
                "run": run.name,
                "dimension": config["embedding_dim"],
                "seed": config["seed"],
                "training clips": result["training_clips"],
                "steps": result["step"],
                "λ from step": config["class_start_step"],
                "best step": result["best_step"],
                "validation R@1": 100 * result["best_recall"],
                "validation N": config["validation_gallery"],
            }
        )
    return pd.DataFrame(rows)


def history_frame(runs: Sequence[Path]) -> pd.DataFrame:
    """Return the histories of several runs: columns of ``history.jsonl`` and run; percent."""
    parts = [pd.DataFrame(read_history(run)).assign(run=run.name) for run in runs]
    frame = pd.concat(parts, ignore_index=True)
    recalls = [f"recall_at_{k}" for k in KS]
    frame[recalls] *= 100
    return frame


def plain_loop(
    visual: Tensor,
    audio: Tensor,
    steps: int = 80,
    batch: int = 256,
    p_negative: float = 0.6,
    margin: float = 0.2,
    seed: int = 0,
) -> tuple[list[float], nn.Module, nn.Module]:
    """Train the paper's idea alone: two small branches, pairs, and a margin.

    There is no classifier, no checkpoint, and no label: a negative may show the same kind of thing.
    Depth, widths and learning rate are our choice.

    Row i of the features, float32, (clips, visual_dim) and (clips, audio_dim), is one clip's. A
    step takes ``batch`` clips, or all if there are fewer. A pair is negative with the chance
    ``p_negative``, and then costs from a cosine of ``margin`` on: α. ``seed`` is of the weights,
    the batches and the negatives. Returns the loss of each step, and the two branches, whose
    outputs are not yet unit vectors.
    """
    torch.manual_seed(seed)
    visual_net, audio_net = (
        nn.Sequential(nn.Linear(values.shape[1], 512), nn.ReLU(), nn.Linear(512, 128))
        for values in (visual, audio)
    )
    adam = torch.optim.Adam([*visual_net.parameters(), *audio_net.parameters()], lr=1e-3)
    losses = []
    for _ in range(steps):
        i = torch.randperm(len(visual))[:batch]
        target = torch.where(torch.rand(len(i)) < p_negative, -1, 1)
        j = torch.where(target == 1, i, i.roll(1))  # a negative hears another clip of the batch
        loss = cosine_embedding_loss(visual_net(visual[i]), audio_net(audio[j]), target, margin)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    return losses, visual_net, audio_net


def plain_frame(features: Path, clips: int = 2000, gallery: int = 256) -> pd.DataFrame:
    """Train the plain loop on the first training clips, and measure it on the validation clips.

    A row a step: step, loss (of its batch), recall_at_1 (percent, mean of both directions; NaN but
    in the last row) and gallery (candidates; all validation clips if there are fewer).
    """
    train, validation = (open_features(features, split) for split in ("train", "validation"))
    losses, *nets = plain_loop(*_tensors(train, clips))
    with torch.no_grad():
        pairs = zip(nets, _tensors(validation), strict=True)
        v, a = (normalize(net(values), dim=1) for net, values in pairs)
    size = min(gallery, len(validation))
    both = gallery_ranks(v, a, size)
    frame = pd.DataFrame({"step": range(1, len(losses) + 1), "loss": losses})
    frame.loc[len(losses) - 1, "recall_at_1"] = 100 * recall(*both, ks=(1,), resamples=0).recall[0]
    return frame.assign(gallery=size)


def _tensors(clips: FeatureSet, first: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the visual and the audio features of the first clips, or of all."""
    return torch.tensor(clips.visual[:first]).float(), torch.tensor(clips.audio[:first]).float()
