"""Looking into shards: what they hold, and everything that is wrong with them."""

import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from xmodal.config import InputError
from xmodal.data.parallel import each, processes
from xmodal.youtube8m.examine import examine
from xmodal.youtube8m.findings import Contents, Inspection, Labels, Place, Problem, Shard, Values


def find_shards(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Find the files to inspect: those named, and each ``*.tfrecord`` in or below those folders.

    Returns
    -------
    list of (Path, str)
        Each file once, with its name below the folder that was named (a file's own name if itself
        was), in the order of the paths.

    Raises
    ------
    InputError
        A path does not exist, or a folder holds no such file.
    """
    found: dict[str, tuple[Path, str]] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder; check the path.")
        files = [(path, path.name)]
        if path.is_dir():
            files = [(file, file.relative_to(path).as_posix()) for file in path.rglob("*.tfrecord")]
        if not files:
            raise InputError(f"{path}: the folder holds no *.tfrecord file; check the path.")
        for file, name in files:
            found.setdefault(os.path.abspath(file), (file, name))
    return sorted(found.values(), key=lambda file: file[0].as_posix())


def inspect_shards(
    files: Sequence[tuple[Path, str]], num_classes: int | None = None, jobs: int | None = None
) -> Inspection:
    """Read files whole, whatever their state, and say what is in them and what is wrong.

    Of an id that occurs more than once, the first record is good and the others are problems.
    Values outside YouTube-8M's range, clips without labels and silent clips are told, but are no
    problems: `prepare` takes them.

    A file is held in memory while it is read. What stays are the findings and, for each good clip,
    40 bytes and the id; finding what repeats takes some 70 bytes a clip more. All 6.1 million clips
    of YouTube-8M need 0.8 GB. Ids are compared as they are, audio by 64-bit digests as in
    `FeatureSet.silent`.

    Parameters
    ----------
    files
        As `find_shards` returns them.
    num_classes
        Size of the vocabulary; ``None`` accepts any label.
    jobs
        Processes; ``None``: all cores, if worth it.
    """
    paths = [path for path, _ in files]
    run = each(
        partial(examine, num_classes=num_classes),
        paths,
        processes((path for path in paths if path.exists()), jobs),
    )
    shards: list[Shard] = []
    rows: list[np.ndarray] = []
    ids: list[np.ndarray] = []
    classes = np.zeros(0, np.int32)
    bar = tqdm(run, "inspecting", len(paths), unit="shard", disable=None)
    for (path, name), seen in zip(files, bar, strict=True):
        shards.append(Shard(str(path), name, seen.contents, seen.problems))
        rows.append(seen.rows)
        ids.append(seen.ids)
        classes = np.union1d(classes, seen.classes)
    repeated, stay = _note_repeated(shards, rows, ids)
    _note_silent(shards, rows, stay)
    kinds = Counter(problem.kind for shard in shards for problem in shard.problems)
    totals = _total([shard.contents for shard in shards], len(classes))
    return Inspection(shards, totals, dict(kinds.most_common()), repeated)


def _note_repeated(
    shards: list[Shard], rows: list[np.ndarray], ids: list[np.ndarray]
) -> tuple[dict[str, list[Place]], np.ndarray]:
    """Note the problems of ids that repeat; return where these are, and which clips stay.

    The clips that stay: bool, shape (clips of all files without another problem,).
    """
    starts = np.cumsum([0, *map(len, rows)])
    first = np.ones(starts[-1], bool)
    found: dict[str, list[Place]] = {}
    for index in np.flatnonzero(_repeated(np.concatenate([table["id"] for table in rows]))):
        number = int(starts.searchsorted(index, side="right")) - 1
        shard, row = shards[number], int(index - starts[number])
        name = ids[number][row].decode()
        record, offset, size = (
            int(rows[number][key][row]) for key in ("record", "offset", "bytes")
        )
        places = found.setdefault(name, [])
        places.append(Place(shard.file, record, offset))
        if len(places) > 1:  # else it may be there once only, and share the digest of another id
            first[index] = False
            reason = f"the id {name!r} is that of record {places[0].record} of {places[0].file}"
            shard.problems.append(Problem(record, offset, size, "repeated id", reason))
    for shard in shards:
        shard.problems.sort(key=lambda problem: problem.offset)
    return {name: places for name, places in found.items() if len(places) > 1}, first


def _repeated(values: np.ndarray) -> np.ndarray:
    """Tell which values occur more than once: bool, (n,)."""
    return pd.Index(values).duplicated(keep=False)


def _note_silent(shards: list[Shard], rows: list[np.ndarray], stay: np.ndarray) -> None:
    audio = np.concatenate([table["audio"] for table in rows])[stay]
    owner = np.repeat(np.arange(len(shards)), [len(table) for table in rows])[stay]
    silent = np.bincount(owner[_repeated(audio)], minlength=len(shards))
    for shard, count in zip(shards, silent, strict=True):
        shard.contents.silent = int(count)


def _total(parts: Sequence[Contents], classes: int) -> Contents:
    """Sum up the contents of all files, in which so many classes occur."""
    labels = [part.labels for part in parts]
    clips = sum(part.clips for part in parts)
    total = sum(part.total for part in labels)
    outside = [part.outside for part in labels if part.outside is not None]
    return Contents(
        bytes=sum(part.bytes for part in parts),
        records=sum(part.records for part in parts),
        clips=clips,
        release_1=sum(part.release_1 for part in parts),
        release_2=sum(part.release_2 for part in parts),
        visual=_join([part.visual for part in parts]),
        audio=_join([part.audio for part in parts]),
        labels=Labels(
            total,
            total / clips if clips else None,
            max(part.maximum for part in labels),
            classes,
            sum(part.without for part in labels),
            sum(outside) if outside else None,
        ),
        silent=sum(part.silent for part in parts),
    )


def _join(parts: Sequence[Values | None]) -> Values | None:
    found = [part for part in parts if part is not None]
    if not found:
        return None
    return Values(
        found[0].dimension,
        min(part.minimum for part in found),
        max(part.maximum for part in found),
        sum(part.outside for part in found),
    )
