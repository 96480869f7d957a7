"""What a table of recalls is a statement about: without its protocol a recall means nothing."""

from pandas import DataFrame
from pydantic import Field, PositiveInt

from xmodal.config import InputError, StageConfig


class Protocol(StageConfig):
    """How recalls were measured."""

    clips: str = Field(min_length=1, description="Which clips are queries and candidates.")
    galleries: dict[PositiveInt, PositiveInt] = Field(
        min_length=1, description="Candidates per query N → number of disjoint galleries."
    )
    ties: str = Field(description="How candidates are compared, and how ties count.")
    direction: str = Field(description="What is the query and what is the gallery.")
    seeds: str = Field(description="What the seeds draw.")
    interval: str = Field(description="What the interval is.")
    tolerance: float = Field(
        ge=0, description="Points of recall: how far a number may lie from the committed one."
    )


def recall_protocol(
    clips: str, frame: DataFrame, seeds: str, tolerance: float, resamples: int | None = None
) -> Protocol:
    """Return the protocol of what `xmodal.evaluation.recall.recall_frame` measured.

    Parameters
    ----------
    clips, seeds, tolerance
        See `Protocol`.
    frame : DataFrame
        Columns gallery and galleries, among others.
    resamples : int, optional
        Of the bootstrap.

    Raises
    ------
    InputError
        If no gallery was measured, or galleries of one size were measured in different numbers.
    """
    pairs = frame.reindex(columns=["gallery", "galleries"]).dropna().drop_duplicates().astype(int)
    if pairs.empty or not pairs["gallery"].is_unique:
        found = ", ".join(f"{row.galleries} of {row.gallery}" for row in pairs.itertuples())
        raise InputError(
            f"no one protocol describes these recalls (galleries: {found or 'none'}): give the "
            "recalls of one set of clips"
        )
    return Protocol(
        clips=clips,
        galleries=dict(pairs.itertuples(index=False, name=None)),
        ties="by cosine in float32; ties count as the average over their orders",
        direction=(
            "every clip of a gallery once, in audio→video by its audio against the video of all "
            "clips of the gallery, its own among them; in video→audio the other way round"
        ),
        seeds=seeds,
        interval="95 % percentile bootstrap over queries"
        + (f", {resamples:,} resamples" if resamples else ""),
        tolerance=tolerance,
    )
