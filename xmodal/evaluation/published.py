"""The published tables, and whether their rows are embedding dimensions or gallery sizes."""

import pandas as pd

from xmodal.evaluation.recall import AUDIO_TO_VIDEO, KS, VIDEO_TO_AUDIO

#: Tables 1 and 2 of the paper, in percent: row label → Recall@1, 5, 10.
PUBLISHED = {
    AUDIO_TO_VIDEO: {256: (21.5, 52.0, 63.1), 512: (15.2, 39.5, 52.0), 1024: (9.8, 30.4, 39.6)},
    VIDEO_TO_AUDIO: {256: (22.3, 51.7, 64.4), 512: (14.7, 38.0, 51.5), 1024: (10.2, 29.1, 40.3)},
}
#: What the row labels may be: the numbers say the one, the text the other.
READINGS = ["rows are galleries", "rows are dimensions"]


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

    Parameters
    ----------
    frame : DataFrame
        `recall_frame` with a column model.

    Returns
    -------
    DataFrame
        Columns gallery, direction, k, recall, low, high (percent), model ("published", or its own).
    """
    paper = published().rename(columns={"row": "gallery"}).assign(model="published")
    columns = ["gallery", "direction", "k", "recall", "low", "high", "model"]
    return pd.concat([paper, frame]).reindex(columns=columns).reset_index(drop=True)


def compare_readings(dimensions: pd.DataFrame, galleries: pd.DataFrame) -> pd.DataFrame:
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

    Parameters
    ----------
    frame : DataFrame
        As `compare_readings` returns it.
    clips : int
        Candidates if rows are dimensions.

    Returns
    -------
    DataFrame
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
    """Pair the recalls of two rows that have the same K/row, such as R@5 of 256 and R@10 of 512.

    If rows are galleries, both ask whether the match is in the same share of the candidates, and
    should be nearly equal. If rows are dimensions, the larger K should win by far.

    Parameters
    ----------
    frame : DataFrame
        As `compare_readings` returns it.

    Returns
    -------
    DataFrame
        Columns direction, first, second (such as "R@5, row 256"), then for each reading that was
        measured the second's lead in points.
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
    """Say in one sentence what the rows of the published tables are, and how far ours are off.

    A reading is held to be right if it is closer in both respects: how far recall falls from the
    first row to the last, and the recalls themselves.

    Parameters
    ----------
    frame : DataFrame
        As `compare_readings` returns it.
    training : DataFrame
        As `training_frame` returns it.
    source : str
        What the data is called.
    """
    table = frame.pivot(index=["row", "direction", "k"], columns="reading", values="recall")
    table = table.reindex(columns=["published", *READINGS])
    seen = f"With {training['training clips'].max():,} training clips ({source}),"
    if table.isna().any(axis=None):
        return f"{seen} the readings cannot be compared: not every row was measured both ways."
    rows = table.index.get_level_values("row")
    falls = (table.loc[rows.max()] / table.loc[rows.min()]).mean()
    lead = table.sub(table["published"], axis=0)[READINGS]
    distances, lower = lead.abs().mean(), (lead < 0).sum()
    closer = {(falls[READINGS] - falls["published"]).abs().idxmin(), distances.idxmin()}
    said = closer.pop().replace("rows are", "behave as") if len(closer) == 1 else "fit neither"
    ours = "; to ".join(
        f"{falls[name]:.2f} if the {name}, {distances[name]:.1f} points away from the published "
        f"ones on average (lower in {lower[name]} of {len(table)})"
        for name in READINGS
    )
    return (
        f"{seen} the rows of the published tables {said}: from the first row to the last the "
        f"published recalls fall to {falls['published']:.2f} of themselves, and ours to {ours}."
    )
