"""Tables 1 and 2 of the paper, and ours compared with them under both readings of their rows."""

import pandas as pd

from xmodal.evaluation.recall import AUDIO_TO_VIDEO, KS, VIDEO_TO_AUDIO

PUBLISHED = {
    AUDIO_TO_VIDEO: {256: (21.5, 52.0, 63.1), 512: (15.2, 39.5, 52.0), 1024: (9.8, 30.4, 39.6)},
    VIDEO_TO_AUDIO: {256: (22.3, 51.7, 64.4), 512: (14.7, 38.0, 51.5), 1024: (10.2, 29.1, 40.3)},
}
"""Recall@1, 5 and 10 in percent, by direction and row label."""
GALLERIES, DIMENSIONS = READINGS = ("rows are galleries", "rows are dimensions")
"""What the row labels may be: the numbers say the one, the text the other."""


def published() -> pd.DataFrame:
    """Return the paper's tables with a line a number: row, direction, k and recall (percent)."""
    lines = [
        (row, direction, k, recall)
        for direction, rows in PUBLISHED.items()
        for row, recalls in rows.items()
        for k, recall in zip(KS, recalls, strict=True)
    ]
    return pd.DataFrame(lines, columns=["row", "direction", "k", "recall"])


def with_published(frame: pd.DataFrame) -> pd.DataFrame:
    """Put the published recalls, read as galleries, above a `recall_frame` with a column model."""
    paper = published().rename(columns={"row": "gallery"}).assign(model="published")
    columns = ["gallery", "direction", "k", "recall", "low", "high", "model"]
    return pd.concat([paper, frame], ignore_index=True).reindex(columns=columns)


def compare_readings(dimensions: pd.DataFrame, galleries: pd.DataFrame) -> pd.DataFrame:
    """Put recalls of dimensions (among all clips) and of galleries beside the published ones."""
    paper, clips = published(), dimensions["gallery"].max()
    parts = {
        "published": paper,
        GALLERIES: galleries.rename(columns={"gallery": "row"}),
        "chance, galleries": paper.assign(recall=100 * paper["k"] / paper["row"]),
        DIMENSIONS: dimensions.rename(columns={"embedding_dim": "row"}),
        "chance, all clips": paper.assign(recall=100 * paper["k"] / clips),
    }
    columns = ["row", "direction", "k", "reading", "recall", "low", "high"]
    frames = [part.assign(reading=name).reindex(columns=columns) for name, part in parts.items()]
    both = pd.concat(frames, ignore_index=True)
    return both[both["row"].isin(paper["row"])].reset_index(drop=True)


def same_share(rows: pd.DataFrame) -> pd.DataFrame:
    """Pair recalls of `compare_readings` with the same K/row; give the second's lead in points."""
    measured = rows[~rows["reading"].str.startswith("chance")]
    pairs = measured.merge(measured, on=["direction", "reading"], suffixes=("", "_2"))
    pairs = pairs.query("row < row_2 and k * row_2 == k_2 * row").astype({"k": str, "k_2": str})
    pairs["first"] = "R@" + pairs["k"] + ", row " + pairs["row"].astype(str)
    pairs["second"] = "R@" + pairs["k_2"] + ", row " + pairs["row_2"].astype(str)
    pairs["lead"] = pairs["recall_2"] - pairs["recall"]
    keys = ["direction", "first", "second"]
    table = pairs.pivot_table(index=keys, columns="reading", values="lead", sort=False)
    return table.reset_index().rename_axis(columns=None)
