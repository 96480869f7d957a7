"""The published tables, and whether their rows are embedding dimensions or gallery sizes."""

from pathlib import Path

import pandas as pd
from pydantic import Field, PositiveInt
from tqdm import tqdm

from xmodal.config import InputError
from xmodal.data.features import open_features
from xmodal.evaluation.controls import controls_frame
from xmodal.evaluation.recall import (
    AUDIO_TO_VIDEO,
    KS,
    VIDEO_TO_AUDIO,
    embed_runs,
    rank_frame,
    recall_of,
)
from xmodal_suite.figure_config import FigureConfig
from xmodal_suite.training import history_frame, training_frame

#: Tables 1 and 2 of the paper, in percent: row label → Recall@1, 5, 10.
PUBLISHED = {
    AUDIO_TO_VIDEO: {256: (21.5, 52.0, 63.1), 512: (15.2, 39.5, 52.0), 1024: (9.8, 30.4, 39.6)},
    VIDEO_TO_AUDIO: {256: (22.3, 51.7, 64.4), 512: (14.7, 38.0, 51.5), 1024: (10.2, 29.1, 40.3)},
}
#: What the row labels may be: the numbers say the one, the text the other.
READINGS = ["rows are galleries", "rows are dimensions"]


class RecallConfig(FigureConfig):
    """What notebook 03 measures; what does not come from the tables is our choice."""

    runs: list[Path] = Field([], description="training runs; none: all in runs_folder")
    runs_folder: Path = Field(Path("runs/sample"), description="where 02_train left its runs")
    dimension: int = Field(250, gt=0, description="the one of the gallery reading (section 3.1)")
    galleries: list[PositiveInt] = Field(
        [256, 512, 1024], description="row labels of Tables 1 and 2"
    )
    resamples: int = Field(1000, gt=0, description="of the bootstrap")
    seed: int = Field(0, ge=0, description="draws the galleries")
    tolerance: float = Field(2, ge=0, description="points a recall may differ when made again")

    def trained(self) -> list[Path]:
        """Return the runs named, or all finished ones of the folder, by name."""
        return self.runs or sorted(p.parent for p in self.runs_folder.glob("*/result.json"))


def measure_readings(config: RecallConfig) -> dict[str, pd.DataFrame]:
    """Rank every query under both readings of the row labels of Tables 1 and 2.

    Returns
    -------
    dict of DataFrame
        ``training`` and ``history`` of the runs; ``ranks``, `rank_frame` with columns embedding_dim
        and clips: "all", or for the table of silent clips "all, again" and "not
        silent"; ``controls``. Of the gallery reading's dimension also smaller and larger galleries
        are ranked, up to all clips; of the other dimensions all clips alone.

    Raises
    ------
    InputError
        If there is no run, none has the gallery reading's dimension, or a control is off.
    """
    clips, runs = open_features(config.features, "evaluation"), config.trained()
    if not runs:
        raise InputError(
            f"{config.runs_folder} holds no finished training run: run 02_train.ipynb first"
        )
    embedded = embed_runs(runs, clips)
    if config.dimension not in embedded:
        raise InputError(
            f"no run has the embedding dimension {config.dimension}: train one, or set dimension "
            f"to what there is, {' or '.join(map(str, sorted(embedded)))}"
        )
    mine, count, sound = embedded[config.dimension], len(clips), int((~clips.silent).sum())
    jobs = [
        *((dimension, "all", [count], None) for dimension in sorted(embedded)),
        (config.dimension, "all", sorted({16, 64, *config.galleries, 2048} - {count}), None),
        (config.dimension, "all, again", [*config.galleries, sound], None),
        (config.dimension, "not silent", [*config.galleries, sound], ~clips.silent),
    ]
    ranked = [
        rank_frame(embedded[dimension], sizes, keep, config.seed).assign(
            embedding_dim=dimension, clips=name
        )
        for dimension, name, sizes, keep in tqdm(jobs, "ranking", disable=None)
    ]
    return {
        "training": training_frame(runs),
        "history": history_frame(runs),
        "ranks": pd.concat(ranked, ignore_index=True),
        "controls": controls_frame(clips, mine[0], config.galleries, config.seed),
    }


def both_readings(
    ranked: pd.DataFrame, config: RecallConfig
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Summarise the ranks of `measure_readings` as recall.

    Returns
    -------
    dimensions : DataFrame
        `recall_of` every embedding dimension over all clips, with a column embedding_dim: the text
        calls the rows dimensions.
    galleries : DataFrame
        `recall_of` the paper's dimension over the galleries: the numbers behave as if the rows were
        gallery sizes.
    silence : DataFrame
        `recall_of` the same with all clips and without the silent ones, with a column clips.
    """
    every = ranked["clips"] == "all"
    largest = ranked.loc[every, "gallery"].max()
    mine = ranked["embedding_dim"] == config.dimension
    dimensions = ranked[every & (ranked["gallery"] == largest)]
    galleries = ranked[every & mine].sort_values(["direction", "gallery"], kind="stable")
    silence = ranked[~every].replace({"clips": {"all, again": "all"}})
    return (
        recall_of(dimensions, config.resamples, ["embedding_dim"]),
        recall_of(galleries, config.resamples),
        recall_of(silence, config.resamples, ["clips"]),
    )


def published() -> pd.DataFrame:
    """Return the paper's tables: a line a row, direction and k, with its recall in percent."""
    return pd.DataFrame(
        [
            {"row": row, "direction": direction, "k": k, "recall": value}
            for direction, rows in PUBLISHED.items()
            for row, values in rows.items()
            for k, value in zip(KS, values, strict=True)
        ]
    )


def with_published(frame: pd.DataFrame) -> pd.DataFrame:
    """Put the published recalls above measured ones, their rows taken as gallery sizes.

    ``frame`` is a `recall_frame` with a column model. Columns gallery, direction, k, recall, low,
    high (percent), model ("published", or its own).
    """
    paper = published().rename(columns={"row": "gallery"}).assign(model="published")
    columns = ["gallery", "direction", "k", "recall", "low", "high", "model"]
    return pd.concat([paper, frame]).reindex(columns=columns).reset_index(drop=True)


def compare_readings(dimensions: pd.DataFrame, galleries: pd.DataFrame) -> pd.DataFrame:
    """Put both readings of the paper's row labels beside its numbers and beside chance.

    Takes what `both_readings` returns; columns row, direction, k, reading, recall, low, high
    (percent).
    """
    paper, clips = published(), dimensions["gallery"].max()
    parts = {
        "published": paper,
        "rows are galleries": galleries.rename(columns={"gallery": "row"}),
        "chance, galleries": paper.assign(recall=100 * paper["k"] / paper["row"]),
        "rows are dimensions": dimensions.rename(columns={"embedding_dim": "row"}),
        "chance, all clips": paper.assign(recall=100 * paper["k"] / clips),
    }
    columns = ["row", "direction", "k", "reading", "recall", "low", "high"]
    frames = [
        part[part["row"].isin(paper["row"])].assign(reading=name).reindex(columns=columns)
        for name, part in parts.items()
    ]
    return pd.concat([frame for frame in frames if len(frame)], ignore_index=True)


def share_frame(frame: pd.DataFrame, clips: int) -> pd.DataFrame:
    """Put every recall beside its K and its number of candidates N, under both readings.

    ``frame`` is what `compare_readings` returns, ``clips`` the candidates if rows are dimensions.
    Columns reading, direction, model ("published", "ours"), row, candidates, k, recall.
    """
    parts = [
        frame[frame["reading"] == name].assign(reading=reading, model=model, candidates=size)
        for reading, size in zip(READINGS, (frame["row"], clips), strict=True)
        for model, name in (("published", "published"), ("ours", reading))
    ]
    columns = ["reading", "direction", "model", "row", "candidates", "k", "recall"]
    return pd.concat(parts, ignore_index=True)[columns]


def same_share(frame: pd.DataFrame) -> pd.DataFrame:
    """Pair the recalls of two rows with the same K/row, such as R@5 of 256 and R@10 of 512.

    If rows are galleries, both ask whether the match is in the same share of the candidates, and
    should be nearly equal. If rows are dimensions, the larger K should win by far.

    ``frame`` is what `compare_readings` returns. Columns direction, first, second (such as "R@5,
    row 256"), then for each reading that was measured the second's lead in points.
    """
    measured = frame[~frame["reading"].str.startswith("chance")]
    pairs = measured.merge(measured, on=["direction", "reading"], suffixes=("", "_2"))
    pairs = pairs[
        (pairs["row"] < pairs["row_2"])
        & (pairs["k"] * pairs["row_2"] == pairs["k_2"] * pairs["row"])
    ]
    pairs = pairs.assign(
        first="R@" + pairs["k"].astype(str) + ", row " + pairs["row"].astype(str),
        second="R@" + pairs["k_2"].astype(str) + ", row " + pairs["row_2"].astype(str),
        lead=pairs["recall_2"] - pairs["recall"],
    )
    table = pairs.pivot_table(
        index=["direction", "first", "second"], columns="reading", values="lead", sort=False
    )
    return table.reset_index().rename_axis(columns=None)


def verdict(frame: pd.DataFrame, training: pd.DataFrame, source: str) -> str:
    """Say in a few sentences what the rows of the published tables are, and how far ours are off.

    A reading is held to be right if it is closer in both respects: how far recall falls from the
    first row to the last, and the recalls themselves. ``frame`` is what `compare_readings` returns,
    ``training`` a `training_frame` and ``source`` what the data is called.
    """
    table = frame.pivot(index=["row", "direction", "k"], columns="reading", values="recall")
    table = table.reindex(columns=["published", *READINGS])
    seen = f"with {training['training clips'].max():,} training clips ({source})"
    if table.isna().any(axis=None):
        return f"The readings cannot be compared {seen}: not every row was measured both ways."
    rows = table.index.get_level_values("row")
    falls = (table.loc[rows.max()] / table.loc[rows.min()]).mean()
    lead = table.sub(table["published"], axis=0)[READINGS]
    distances, lower = lead.abs().mean(), (lead < 0).sum()
    closer = {(falls[READINGS] - falls["published"]).abs().idxmin(), distances.idxmin()}
    said = closer.pop().replace("rows are", "behave as") if len(closer) == 1 else "fit neither"
    ours = " and to ".join(f"{falls[name]:.2f} if the {name}" for name in READINGS)
    away = " and by ".join(
        f"{distances[name]:.1f} points on average if the {name} (lower in {lower[name]} of "
        f"{len(table)})"
        for name in READINGS
    )
    return (
        f"From row {rows.min()} to row {rows.max()} the published recalls fall to "
        f"{falls['published']:.2f} of their value. Ours, {seen}, fall to {ours}. They differ from "
        f"the published ones by {away}. So the rows of the published tables {said}."
    )
