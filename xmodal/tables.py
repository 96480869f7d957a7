"""From recall to the tables and curves that are shown, the paper's numbers among them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from xmodal.evaluate import AUDIO_TO_VIDEO, KS, VIDEO_TO_AUDIO
from xmodal.run import RunFolder, read_history

#: Tables 1 and 2 of the paper, in percent: row label → Recall@1, 5, 10.
PUBLISHED = {
    AUDIO_TO_VIDEO: {256: (21.5, 52.0, 63.1), 512: (15.2, 39.5, 52.0), 1024: (9.8, 30.4, 39.6)},
    VIDEO_TO_AUDIO: {256: (22.3, 51.7, 64.4), 512: (14.7, 38.0, 51.5), 1024: (10.2, 29.1, 40.3)},
}


def published() -> pd.DataFrame:
    """Return the paper's tables as rows of row, direction, k and recall in percent."""
    return pd.DataFrame(
        [
            {"row": row, "direction": direction, "k": k, "recall": value}
            for direction, rows in PUBLISHED.items()
            for row, values in rows.items()
            for k, value in zip(KS, values, strict=True)
        ]
    )


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


def readings(dimensions: pd.DataFrame, galleries: pd.DataFrame) -> pd.DataFrame:
    """Put both readings of the paper's row labels beside its numbers and beside chance.

    Parameters
    ----------
    dimensions, galleries : DataFrame
        As `measure` returns them.

    Returns
    -------
    DataFrame
        Columns row, direction, k, reading, recall, low, high (percent).
    """
    told = published()
    clips = dimensions["gallery"].max()
    parts = {
        "published": told,
        "rows are galleries": galleries.rename(columns={"gallery": "row"}),
        "chance, galleries": told.assign(recall=100 * told["k"] / told["row"]),
        "rows are dimensions": dimensions.rename(columns={"embedding_dim": "row"}),
        "chance, all clips": told.assign(recall=100 * told["k"] / clips),
    }
    columns = ["row", "direction", "k", "reading", "recall", "low", "high"]
    frames = [
        part[part["row"].isin(told["row"])].assign(reading=name).reindex(columns=columns)
        for name, part in parts.items()
    ]
    return pd.concat([frame for frame in frames if len(frame)], ignore_index=True)


def verdict(frame: pd.DataFrame, training: pd.DataFrame, source: str) -> str:
    """Say in one sentence how far each reading of the row labels is from the published numbers.

    Parameters
    ----------
    frame : DataFrame
        As `readings` returns it.
    training : DataFrame
        As `training_frame` returns it.
    source : str
        What the data is called.
    """
    keys = ["row", "direction", "k"]
    target = frame[frame["reading"] == "published"].set_index(keys)["recall"]
    told = []
    for reading in ("rows are galleries", "rows are dimensions"):
        ours = frame[frame["reading"] == reading].set_index(keys)["recall"]
        distance = (ours - target).dropna()
        if len(distance):
            told.append(
                f"{distance.abs().mean():.1f} points on average if the {reading} "
                f"(lower in {(distance < 0).sum()} of {len(distance)} numbers)"
            )
    seen = f"On {source}, with {training['training clips'].max():,} training clips"
    if not told:
        return f"{seen}, no gallery and no model has the size of a row of the published tables."
    return f"{seen}, our recalls differ from the published ones by {' and by '.join(told)}."


def against_gallery(galleries: pd.DataFrame, dimension: int) -> pd.DataFrame:
    """Return recall by gallery size as a curve, with the published numbers, read as galleries."""
    ours = galleries.assign(model=f"dimension {dimension}")
    told = published().rename(columns={"row": "gallery"}).assign(model="published")
    columns = ["gallery", "direction", "k", "recall", "low", "high", "model"]
    return pd.concat([ours, told]).reindex(columns=columns).reset_index(drop=True)


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
