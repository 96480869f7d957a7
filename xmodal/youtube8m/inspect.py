"""Looking into shards: what they hold, and everything that is wrong with them.

The findings are one pandas frame, a row a record; the problems are those of its rows that say what
is wrong, and totals, tables and JSON follow from these two.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field
from tqdm import tqdm

from xmodal.config import InputError, StageConfig
from xmodal.data.framing import shards_below
from xmodal.data.parallel import each, processes
from xmodal.data.schema import (
    FEATURE_RANGE,
    Clip,
    Columns,
    is_release_1,
    join_clips,
    parse_example,
    read_ordinary,
)
from xmodal.data.vocabulary import read_vocabulary
from xmodal.youtube8m.salvage import Stretch, salvage_records

FEW = 20
"""Up to so many files, each has a row in the text; of more, only those with problems."""
PLACE = ["file", "record", "offset", "bytes"]
"""Where a record is: its file, its number there, where its header begins, and its whole size."""
PROBLEM = [*PLACE, "kind", "reason"]
"""``kind`` is that of a `Stretch`, "not an example", "unknown label" or "repeated id"."""
RANGE = ["visual_min", "visual_max", "audio_min", "audio_max"]
RECORD = np.dtype(
    [("record", "i4"), ("offset", "i8"), ("bytes", "i8"), ("kind", "O"), ("reason", "O")]
    + [(name, "i4") for name in ("release", "labels", "unknown_labels")]
    + [(name, "u8") for name in ("id_hash", "audio_hash")]
    + [(name, "f4") for name in RANGE]
)
"""What is kept of a record, beside its file."""

TEXT = """\
files     {files:,} ({megabytes:,.1f} MB)
records   {records:,}, {clips:,} of them clips: \
{release_1:,} of release 1, {release_2:,} of release 2
visual    1,024 values a clip, from {visual_min:.5g} to {visual_max:.5g}; \
{visual_outside:,} clips outside YouTube-8M's range, {range}
audio     128 values a clip, from {audio_min:.5g} to {audio_max:.5g}; \
{audio_outside:,} clips outside YouTube-8M's range, {range}
labels    {labels:,}: {labels_mean:.1f} a clip, at most {labels_max}; \
{classes:,} classes{unknown}; {unlabelled:,} clips without
silent    {silent:,} clips with the audio of another, bit for bit
problems  {found}"""


class InspectConfig(StageConfig):
    """Which shards `inspect` reads, and how it reports."""

    shards: list[Path] = Field(description="Shards, or folders that are searched for *.tfrecord")
    vocabulary: Path | None = Field(
        None, description="Vocabulary CSV; a label outside it is a problem"
    )
    as_json: bool = Field(False, alias="json", description="Print what was found as JSON")


@dataclass
class Inspection:
    """All that was found; files in the order of their paths, records in the order of the files.

    Attributes
    ----------
    records
        A row a record, each damaged stretch included: `PROBLEM`, whose ``kind`` and ``reason`` are
        empty if it is good; the ``release`` that its keys are of (0: it holds no clip); the number
        of ``labels`` and of ``unknown_labels``; least and greatest value of each feature; 64-bit
        hashes of id and audio; whether it is ``silent``.
    repeated
        Each ``id`` that several otherwise good records have, and the `PLACE` of each of these.
    shards, totals
        What each file and what all of them hold. ``clips`` are the records that are YouTube-8M
        examples, ``good`` those without a problem; ``*_outside`` counts clips with a value outside
        `FEATURE_RANGE`, ``classes`` the labels that occur, ``unlabelled`` the clips without labels,
        ``unknown_labels`` labels outside the vocabulary (None where none was given), ``silent`` the
        good clips whose audio is that of another good clip of any file.
    """

    records: pd.DataFrame
    repeated: pd.DataFrame
    shards: pd.DataFrame
    totals: dict[str, Any]

    @cached_property
    def problems(self) -> pd.DataFrame:
        """The records that are not good: `PROBLEM`."""
        return self.records.loc[self.records["kind"] != "", PROBLEM]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the good records, as JSON can hold it."""
        frames = {"shards": self.shards, "problems": self.problems, "repeated": self.repeated}
        kinds = self.problems["kind"].value_counts().to_dict()
        found = {name: rows(frame) for name, frame in frames.items()}
        return {"totals": self.totals, "kinds": kinds, **found}

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=1)

    def __str__(self) -> str:
        return self.as_text()

    def as_text(self) -> str:
        """Return the totals, and a table of the files: all if they are few, else the bad ones."""
        bad = self.shards[self.shards["problems"] > 0]
        shown = self.shards if len(self.shards) <= FEW else bad
        total = {name: np.nan if value is None else value for name, value in self.totals.items()}
        unknown, low_high = self.totals["unknown_labels"], "{:.5g} to {:.5g}".format(*FEATURE_RANGE)
        kinds = self.problems["kind"].value_counts().items()
        found = ", ".join(f"{count:,} {kind}" for kind, count in kinds)
        found = f"{len(self.problems):,} in {len(bad):,} of the files: {found}" if found else "none"
        text = TEXT.format(
            **total,
            files=len(self.shards),
            megabytes=total["bytes"] / 1e6,
            range=low_high,
            unknown="" if unknown is None else f", {unknown:,} outside the vocabulary",
            found=found,
        )
        if shown.empty:
            return text
        first = {
            row.file: f"record {row.record} at byte {row.offset}: {row.reason}"
            for row in self.problems.drop_duplicates("file").itertuples()
        }
        table = shown[["file", "records", "clips", "release_1", "release_2", "problems"]]
        table = table.assign(first_problem=[first.get(file, "none") for file in table["file"]])
        form = {"tablefmt": "simple", "intfmt": ",", "disable_numparse": [0, 6]}
        return f"{text}\n\n{table.to_markdown(index=False, **form)}"


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as JSON can hold them, what is missing as None."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def inspect(config: InspectConfig) -> Inspection:
    """Read shards to their end and say what they hold: `inspect_shards`."""
    classes = len(read_vocabulary(config.vocabulary)) if config.vocabulary else None
    return inspect_shards(find_shards(config.shards), classes)


def find_shards(paths: Sequence[Path]) -> dict[Path, str]:
    """Find the files named and the ``*.tfrecord`` below folders, and their names below these."""
    found: dict[str, tuple[Path, str]] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder; check the path.")
        files = [(path, path.name)]
        if path.is_dir():
            files = [(file, name) for name, file in shards_below(path).items()]
        for file, name in files:
            found.setdefault(os.path.abspath(file), (file, name))
    return dict(sorted(found.values(), key=lambda file: file[0].as_posix()))


def inspect_shards(
    files: Mapping[Path, str], num_classes: int | None = None, jobs: int | None = None
) -> Inspection:
    """Read files whole, whatever their state, and say what is in them and what is wrong.

    Of an id that occurs more than once, the first record is good and the others are problems.
    Values outside YouTube-8M's range, clips without labels and silent clips are counted, but are no
    problems: `prepare` takes them.

    A file is held in memory while it is read. What stays takes some 80 bytes a record: with
    what it takes to find what repeats, all 6.1 million clips of YouTube-8M need 1.6 GB. Ids are
    compared as they are, audio by 64-bit hashes as in `FeatureSet.silent`.

    ``files`` are those of `find_shards`; ``num_classes``, if given, is the size of the vocabulary,
    and a label outside it a problem.
    """
    paths = list(files)
    jobs = processes(paths, jobs)
    run = each(partial(_examine, num_classes=num_classes), paths, jobs)
    bar = tqdm(run, "inspecting", len(paths), unit="shard", disable=None)
    tables, ids, classes = zip(*bar, strict=True)
    owner = np.repeat(np.arange(len(paths)), [len(table) for table in tables])
    # Column by column: joining whole tables first would hold everything three times.
    columns = {
        name: np.concatenate([table[name] for table in tables]) for name in RECORD.names or ()
    }
    del tables
    records = pd.DataFrame(columns, copy=False)
    records.insert(0, "file", pd.Categorical.from_codes(owner, [str(path) for path in paths]))
    repeated = _refuse_repeated(records, ids)
    audio = records.loc[records["kind"] == "", "audio_hash"]
    records["silent"] = audio.duplicated(keep=False).reindex(records.index, fill_value=False)
    shards, totals = _summarise(records)
    shards["classes"] = [len(some) for some in classes]
    totals["classes"] = len(np.unique(np.concatenate(classes)))
    for table in (shards, totals):
        table["labels_mean"] = table["labels"] / table["clips"]
        if num_classes is None:
            table["unknown_labels"] = None
    shards.insert(0, "name", list(files.values()))
    return Inspection(records, repeated, shards.reset_index(), rows(totals)[0])


def _examine(path: Path, num_classes: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read a file, whatever its state: a `RECORD` and an id for each record, and all classes."""
    found = list(salvage_records(path))
    columns, numbers = read_ordinary(path), np.arange(len(found))
    if columns is None:
        columns, numbers = _parse(found)
    owner = numbers.repeat(columns.counts)
    unknown = columns.labels >= (np.inf if num_classes is None else num_classes)
    for number, label in zip(owner[unknown], columns.labels[unknown], strict=True):
        reason = f"label {label} is outside the vocabulary of {num_classes} classes"
        found[number] = found[number]._replace(kind="unknown label", reason=reason)
    table = np.zeros(len(found), RECORD)
    for place, name in enumerate(PROBLEM[1:]):
        table[name] = [part[place] for part in found]
    table["unknown_labels"] = np.bincount(owner[unknown], minlength=len(found))
    visual, audio = columns.visual, columns.audio
    ranges = (visual.min(1), visual.max(1), audio.min(1), audio.max(1))
    for name, values in zip(RANGE, ranges, strict=True):
        table[name] = np.nan
        table[name][numbers] = values
    table["release"][numbers] = [2 - is_release_1(found[number].payload) for number in numbers]
    table["labels"][numbers] = columns.counts
    table["id_hash"][numbers] = _hash(columns.ids)
    table["audio_hash"][numbers] = _hash([row.tobytes() for row in audio])
    names = np.array(columns.ids, bytes)
    ids = np.zeros(len(found), names.dtype)
    ids[numbers] = names
    return table, ids, np.unique(columns.labels)


def _parse(found: list[Stretch]) -> tuple[Columns, np.ndarray]:
    """Parse whole records one by one: the clips and their numbers; note what is no example."""
    clips: dict[int, Clip] = {}
    for number, part in enumerate(found):
        if not part.kind:
            try:
                clips[number] = parse_example(part.payload)
            except InputError as error:
                found[number] = part._replace(kind="not an example", reason=str(error))
    return join_clips(clips.values()), np.array([*clips], int)


def _hash(values: Sequence[str | bytes]) -> np.ndarray:
    """Return a 64-bit hash of each value, the same in every process."""
    return pd.util.hash_array(np.array(values, object), categorize=False)


def _refuse_repeated(records: pd.DataFrame, ids: Sequence[np.ndarray]) -> pd.DataFrame:
    """Find the good records that share an id, by its hash first; all but the first are problems."""
    hashes = records.loc[records["kind"] == "", "id_hash"]
    same = records.loc[hashes.index[hashes.duplicated(keep=False)], PLACE]
    place = zip(same["file"].cat.codes, same["record"], strict=True)
    same.insert(0, "id", [ids[file][record].decode() for file, record in place])
    same = same[same["id"].duplicated(keep=False)].sort_values("id", kind="stable")
    first = same.groupby("id")[["file", "record"]].transform("first")
    reason = [
        f"the id {name!r} is that of record {record} of {file}"
        for name, file, record in zip(same["id"], first["file"], first["record"], strict=True)
    ]
    later = same.assign(kind="repeated id", reason=reason)[same["id"].duplicated()]
    records.loc[later.index, ["kind", "reason"]] = later[["kind", "reason"]]
    return same


def _summarise(records: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Say what the records of each file, and all records, hold."""
    clip, good = records["release"] > 0, records["kind"] == ""
    low, high = FEATURE_RANGE
    sums = {
        "bytes": records["bytes"],
        "records": records["bytes"] > 0,
        "clips": clip,
        "good": good,
        "problems": ~good,
        "release_1": records["release"] == 1,
        "release_2": records["release"] == 2,
        "silent": records["silent"],
        "labels": records["labels"],
        "unlabelled": clip & (records["labels"] == 0),
        "unknown_labels": records["unknown_labels"],
        "visual_outside": (records["visual_min"] < low) | (records["visual_max"] > high),
        "audio_outside": (records["audio_min"] < low) | (records["audio_max"] > high),
    }
    columns = sums | {name: records[name] for name in RANGE} | {"labels_max": records["labels"]}
    how = {name: "sum" if name in sums else name[-3:] for name in columns}
    shards = pd.DataFrame(columns, copy=False).groupby(records["file"], observed=False).agg(how)
    return shards, shards.groupby(np.zeros(len(shards))).agg(how)
