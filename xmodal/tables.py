"""From runs and recalls to the tables and curves that are shown."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from xmodal.evaluate import KS
from xmodal.readings import published
from xmodal.run import RunFolder, read_history


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


def against_gallery(frame: pd.DataFrame) -> pd.DataFrame:
    """Return recall by gallery size, of each ``model``, below the published, read as galleries."""
    told = published().rename(columns={"row": "gallery"}).assign(model="published")
    columns = ["gallery", "direction", "k", "recall", "low", "high", "model"]
    return pd.concat([told, frame]).reindex(columns=columns).reset_index(drop=True)


def wide(frame: pd.DataFrame, rows: Sequence[str]) -> pd.DataFrame:
    """Spread a tidy frame of recalls into the paper's layout: a column per direction and K.

    Parameters
    ----------
    frame : DataFrame
        Columns ``rows``, direction, k, recall; optionally low and high, which are then shown too.
    rows : sequence of str
        Columns that name a row of the table; its order is kept.
    """
    shown = frame.assign(column=frame["direction"] + " R@" + frame["k"].astype(str))
    shown["cell"] = [
        f"{value:.1f}" if np.isnan(low) else f"{value:.1f} [{low:.1f}, {high:.1f}]"
        for value, low, high in zip(
            shown["recall"],
            shown.get("low", shown["recall"] * np.nan),
            shown.get("high", shown["recall"] * np.nan),
            strict=True,
        )
    ]
    order = list(dict.fromkeys(shown["column"]))
    table = shown.pivot_table(
        index=list(rows), columns="column", values="cell", aggfunc="first", sort=False
    )
    return table[order].reset_index().rename_axis(columns=None)
