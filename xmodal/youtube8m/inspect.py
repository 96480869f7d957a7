"""What shards hold, and the first fault of each file, before `prepare` stops at one."""

from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field
from tqdm import tqdm

from xmodal.config import InputError, StageConfig
from xmodal.data.schema import read_columns
from xmodal.data.tfrecord import shards_below
from xmodal.data.vocabulary import read_vocabulary

TOTALS = {"clips": "sum", "labels": "sum", "unlabelled": "sum", "labels_max": "max"}
TOTALS |= {"visual_min": "min", "visual_max": "max", "audio_min": "min", "audio_max": "max"}
"""What is known of the clips of a file, and how it adds up over files."""
TEXT = """\
files    {files:,}, {problems:,} of them with a problem
clips    {clips:,}, {unlabelled:,} of them without a label
labels   {labels:,}, at most {labels_max:,} a clip
visual   1,024 values a clip, from {visual_min:.5g} to {visual_max:.5g}
audio    128 values a clip, from {audio_min:.5g} to {audio_max:.5g}"""


class InspectConfig(StageConfig):
    """Which shards `inspect` reads, and how it reports."""

    shards: list[Path] = Field(description="Shards, or folders that are searched for *.tfrecord")
    vocabulary: Path | None = Field(None, description="Vocabulary; a label outside it is a problem")
    as_json: bool = Field(False, alias="json", description="Print what was found as JSON")


def inspect(config: InspectConfig) -> pd.DataFrame:
    """Read shards to their end, every checksum verified, and say what they hold.

    There is a row for each file: ``file``; ``problem``, a sentence about its first fault, or None;
    and, if it can be read to its end, what `TOTALS` names.

    A problem is what `prepare` refuses: damage, a record that is no YouTube-8M example, a label
    outside the vocabulary, an id that occurs again. InputError if a folder holds no shards, or the
    vocabulary cannot be read.
    """
    classes = len(read_vocabulary(config.vocabulary)) if config.vocabulary else 0
    rows: list[dict[str, Any]] = []
    first: dict[str, tuple[Path, int]] = {}
    files = {f for p in config.shards for f in (shards_below(p).values() if p.is_dir() else [p])}
    for path in tqdm(sorted(files), "inspecting", unit="shard", disable=None):
        rows.append({"file": str(path), "problem": None})
        try:
            clips = read_columns(path, classes)
            counts, both = clips.counts, (clips.visual, clips.audio)
            found = [len(counts), counts.sum(), (counts == 0).sum(), counts.max()]
            found += [side for x in both for side in (x.min(), x.max())]
            rows[-1] |= dict(zip(TOTALS, found, strict=True))
            for record, name in enumerate(clips.ids):
                file, number = first.setdefault(name, (path, record))
                if (file, number) != (path, record):
                    same = f"has the id {name!r} of record {number} of {file}"
                    raise InputError(f"{path}: record {record} {same}; prepare one of the two.")
        except InputError as error:
            rows[-1]["problem"] = str(error)
    shards = pd.DataFrame(rows, columns=["file", "problem", *TOTALS])
    return shards.astype(dict.fromkeys([*TOTALS][:4], "Int64"))


def summary(shards: pd.DataFrame) -> str:
    """Sum up what was found in shards, with a line for each problem."""
    problems = shards["problem"].dropna()
    totals = {name: shards[name].agg(how) for name, how in TOTALS.items()}
    told = TEXT.format(files=len(shards), problems=len(problems), **totals)
    return "\n".join([told, *(f"problem  {problem}" for problem in problems)])
