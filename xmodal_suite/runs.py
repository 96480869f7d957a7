"""Finished trainings as tidy frames: what was made, and how it went (section 3.1)."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from xmodal.checkpoint import RunFolder, read_history
from xmodal.evaluation.recall import KS


def training_frame(runs: Sequence[Path]) -> pd.DataFrame:
    """Return one row a run: dimension, seed, steps made, step and recall of the best weights."""
    rows = []
    for run in runs:
        folder = RunFolder(run)
        config, result = folder.read("config.json")["config"], folder.result()
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
