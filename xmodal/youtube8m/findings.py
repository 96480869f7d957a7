"""What an inspection of shards found: as data, as JSON and as tables to read."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tabulate import tabulate

from xmodal.data.schema import FEATURE_RANGE

FEW = 20
"""Up to so many files, each has a row of the table; of more, only those with problems."""


@dataclass
class Problem:
    """A stretch of a file that is no good clip.

    ``record`` is its number in the file as it is, damaged stretches counted as one record each;
    ``offset`` and ``bytes`` are those of the whole record, header included. ``kind`` is one of
    `Damage`, or "not an example", "unknown label" (outside the vocabulary) or "repeated id".
    """

    record: int
    offset: int
    bytes: int
    kind: str
    reason: str


@dataclass
class Values:
    """The values of a feature: how many a clip has, and their range.

    ``outside`` counts the clips with a value outside YouTube-8M's `FEATURE_RANGE`.
    """

    dimension: int
    minimum: float
    maximum: float
    outside: int


@dataclass
class Labels:
    """The labels of some clips; ``classes`` counts those that occur, ``without`` unlabelled clips.

    ``outside`` counts labels outside the vocabulary, ``None`` where no vocabulary was given.
    """

    total: int = 0
    mean: float | None = None
    maximum: int = 0
    classes: int = 0
    without: int = 0
    outside: int | None = None


@dataclass
class Contents:
    """What the clips of a file, or of all files, hold.

    ``records`` counts damaged stretches too, ``clips`` the records that are YouTube-8M examples.
    Clips of release 1 have the key ``video_id``, those of release 2 ``id``. ``visual`` and
    ``audio`` are None where there is no clip. ``silent`` is as `FeatureSet.silent` defines it, over
    the clips without a problem in all files.
    """

    bytes: int = 0
    records: int = 0
    clips: int = 0
    release_1: int = 0
    release_2: int = 0
    visual: Values | None = None
    audio: Values | None = None
    labels: Labels = field(default_factory=Labels)
    silent: int = 0


@dataclass
class Shard:
    """A file: its path as it was named, its name below the folder that was named, and findings."""

    file: str
    name: str
    contents: Contents
    problems: list[Problem]


@dataclass
class Place:
    """Where a record is."""

    file: str
    record: int
    offset: int


@dataclass
class Inspection:
    """All that was found; files in the order of their names.

    ``problems`` counts problems by kind; ``repeated`` gives each id that occurs more than once in
    otherwise good records, and where.
    """

    shards: list[Shard]
    totals: Contents
    problems: dict[str, int]
    repeated: dict[str, list[Place]]

    def as_text(self) -> str:
        """Return the totals, and a table of the files: all if they are few, else the bad ones."""
        bad = [shard for shard in self.shards if shard.problems]
        shown = self.shards if len(self.shards) <= FEW else bad
        return "\n\n".join(
            [self._summary(len(bad)), _files(shown)] if shown else [self._summary(0)]
        )

    def _summary(self, bad: int) -> str:
        found = self.totals
        labels = found.labels
        problems = f"{sum(self.problems.values()):,} in {_count(bad, 'file')}: " + ", ".join(
            f"{count:,} {kind}" for kind, count in self.problems.items()
        )
        outside = "" if labels.outside is None else f", {labels.outside:,} outside the vocabulary"
        mean = "–" if labels.mean is None else f"{labels.mean:.1f}"
        lines = {
            "files": f"{len(self.shards):,} ({found.bytes / 1e6:,.1f} MB)",
            "records": f"{found.records:,}, {found.clips:,} of them clips",
            "release": _release(found),
            "visual": _values(found.visual),
            "audio": _values(found.audio),
            "labels": f"{labels.total:,}: {mean} a clip, at most {labels.maximum}; "
            f"{labels.classes:,} classes{outside}; {_count(labels.without, 'clip')} without",
            "silent": f"{_count(found.silent, 'clip')} whose audio is that of another, bit for bit",
            "problems": problems if bad else "none",
        }
        return tabulate(lines.items(), tablefmt="plain", disable_numparse=True)


def _files(shards: Sequence[Shard]) -> str:
    rows = [
        [
            shard.file,
            f"{shard.contents.records:,}",
            f"{shard.contents.clips:,}",
            _release(shard.contents),
            _count(len(shard.problems), "problem") if shard.problems else "good",
            _first(shard),
        ]
        for shard in shards
    ]
    heads = ["file", "records", "clips", "release", "state", "first problem"]
    aligned = ["left", "right", "right", "left", "left", "left"]
    return tabulate(rows, heads, disable_numparse=True, colalign=aligned)


def _first(shard: Shard) -> str:
    if not shard.problems:
        return ""
    first = shard.problems[0]
    if first.bytes == shard.contents.bytes:  # the file as a whole
        return first.reason
    return f"record {first.record} at byte {first.offset}: {first.reason}"


def _release(contents: Contents) -> str:
    if contents.release_1 and contents.release_2:
        return f"mixed: {contents.release_1:,} of release 1, {contents.release_2:,} of release 2"
    return "1" if contents.release_1 else "2" if contents.release_2 else "–"


def _values(values: Values | None) -> str:
    if values is None:
        return "–"
    low, high = FEATURE_RANGE
    place = f"{_count(values.outside, 'clip')} outside" if values.outside else "inside"
    return (
        f"{values.dimension} values a clip, from {values.minimum:.5g} to {values.maximum:.5g}; "
        f"{place} YouTube-8M's range, {low:.5g} to {high:.5g}"
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
