"""From shards to a feature set: shards split, verified, and laid out as arrays."""

import json
import shutil
from collections.abc import Sequence
from fnmatch import fnmatch
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field
from tqdm import tqdm

from xmodal.config import InputError, StageConfig
from xmodal.data.features import (
    ARRAYS,
    CHUNK,
    FORMAT,
    SPLITS,
    UNPAIRED,
    begin_rows,
    open_features,
    read_chunks,
    read_manifest,
    row_hashes,
)
from xmodal.data.pairs import Pairs, deal_out, is_paired, numbered, read_pairs
from xmodal.data.parallel import each, processes
from xmodal.data.schema import AUDIO_DIM, CLASSES, VISUAL_DIM, labelled_release, read_columns
from xmodal.data.tfrecord import first_payload, scan_records, shards_below
from xmodal.data.vocabulary import read_vocabulary
from xmodal.files import hidden, locked, replace, require_empty

NOT_COMPARED = {"shards", "out", "vocabulary", "source", "jobs"}
"""Settings that do not change which clip goes where, or are noted otherwise."""
FILES = ["manifest.json", "label_names.json"]
FILES += [f"{split}/{name}.npy" for split in (*SPLITS, UNPAIRED) for name in ARRAYS]
"""What a feature set holds; all else in its folder is its user's."""
LARGEST, SMALLEST = 1e15, 1e-15
"""How large a feature may be, and by how much some must differ from clip to clip: float32 neither
holds sums of squares of larger ones, nor squares of smaller ones."""
RULES = 2
"""Raised when the same input gives another set: 2 drops videos that have a second id."""


class PrepareConfig(StageConfig):
    """What `prepare` reads, and how it splits it."""

    shards: Path = Field(
        description="Folder searched for *.tfrecord, with all folders below it; or paired "
        "features: .npz, .parquet, or a folder of visual.npy and audio.npy."
    )
    out: Path = Field(description="Folder that will hold the feature set; nothing else may.")
    vocabulary: Path | None = Field(
        None, description="YouTube-8M vocabulary CSV of the shards' release; None: no labels."
    )
    source: str = Field("YouTube-8M", description="What tables and figures call this data.")
    evaluation_clips: int = Field(6000, ge=1, description="Clips to evaluate on (section 4).")
    evaluation_shards: str | list[str] | None = Field(
        None, description="Shards to evaluate on, such as validate/*, in this order; None: any."
    )
    validation_clips: int = Field(2000, ge=1, description="Clips to watch training on; our choice.")
    validation_shards: str | list[str] | None = Field(None, description="Where these come from.")
    split_seed: int = Field(0, ge=0, description="Seed of the order of the shards; our choice.")
    storage: Literal["float32", "float16"] = Field(
        "float32", description="Type of the stored features; float16 takes half the disk."
    )
    jobs: int | None = Field(None, ge=1, description="Processes; None: all cores, if worth it.")


class _Shard(NamedTuple):
    """A shard and its place in the feature set.

    Its clips fill the arrays of the folder ``split`` from row ``first``; ``kept`` of its
    ``records`` do. Ids and labels wait in ``part`` until all shards are there.
    """

    path: Path
    records: int
    split: Path
    first: int
    kept: int
    part: Path


def prepare(config: PrepareConfig) -> dict[str, Any]:
    """Turn a folder of shards into a feature set of three splits, or find it done already.

    The split goes by shard, never by row: the shards are shuffled by ``split_seed``; whole shards
    go to evaluation until it has ``evaluation_clips``, then to validation likewise, the rest is for
    training. The clips that the last shard of evaluation or of validation holds beyond the number
    asked for are dropped (and counted in the manifest), never trained on. So are clips with the
    very visual features of an evaluation clip, or of a validation clip: a video may have two ids.

    A first pass reads only the framing, so that every shard's place is known and all cores can
    write at once; memory stays flat. The work goes on beside ``out``, in a hidden folder; after an
    interruption or an error it is kept, and the same call goes on there. ``out`` changes only
    when the new set is whole. When ``out`` was made from the same shards with the same choices,
    nothing is written.

    Paired features of other origin are split by clip: see `xmodal.data.pairs`. They bring their
    labels along, and their sizes.

    Returns
    -------
    dict
        The manifest: ``format``, ``source``, ``config``, ``classes``, ``inputs`` (SHA-256 of what
        the set was made from), ``fingerprint`` (SHA-256 of its contents), and per split under
        ``splits``: ``clips``, ``labels``, ``dropped``, ``shards`` (``name``, ``records``) and
        ``fingerprint``. Of paired features also ``sizes``, of the visual and the audio ones. It
        holds no date and no absolute path.

    Raises
    ------
    InputError
        A shard or the vocabulary is damaged or of another release than a shard, an id occurs
        twice, there are too few shards or clips, features are too large, or the same in all clips
        of a split, ``out`` holds anything but a feature set or cannot be written, or the disk is
        too small. An earlier feature set in ``out`` is then as it was.
    """
    out = config.out
    pairs: Pairs | None = None
    found: list[Any]
    if is_paired(config.shards):
        if "source" not in config.model_fields_set:
            config = config.model_copy(update={"source": config.shards.stem})
        pairs = read_pairs(config.shards)
        label_names = pairs.label_names
        given = [] if pairs.split is None else [pairs.split]
        found = [_digest(*pairs[:3], pairs.group.astype(str), *given), pairs.labels]
    else:
        label_names = read_vocabulary(config.vocabulary) if config.vocabulary else []
        found = _find_shards(config, len(label_names))
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "source": config.source,
        "config": config.model_dump(exclude=NOT_COMPARED),
        "classes": len(label_names),
    }
    if pairs:
        manifest["sizes"] = [values.shape[1] for values in pairs[:2]]
    manifest["inputs"] = _sha256(json.dumps([manifest, label_names, found, RULES]))
    earlier = read_manifest(out)
    if not earlier:
        require_empty(out, "a feature set, or a damaged one")
    if earlier.get("inputs") == manifest["inputs"] and _is_whole(out):
        return earlier

    rows = _deal_out_pairs(pairs, config) if pairs else {}
    taken: dict[str, dict[str, Any]] = {name: {"clips": len(own)} for name, own in rows.items()}
    splits = manifest["splits"] = taken if pairs else _deal_out(found, config)

    work = hidden(out, "partial")
    new = work / "new"
    with locked(out):
        _claim(work, manifest["inputs"])
        if pairs:
            for name, own in rows.items():
                splits[name] |= _write_pairs(new / name, pairs, own, label_names, config.storage)
        else:
            _convert_shards(work, splits, len(label_names), config)
        fingerprints = [split["fingerprint"] for split in splits.values()]
        manifest["fingerprint"] = _sha256(*fingerprints, json.dumps(label_names))
        for name, content in (("label_names", label_names), ("manifest", manifest)):
            text = json.dumps(content, indent=1, ensure_ascii=False)
            (new / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        _require_variety(new, config.shards)
        replace(out, new)
        shutil.rmtree(work)
    return manifest


# --- paired features -----------------------------------------------------------------------------


def _deal_out_pairs(pairs: Pairs, config: PrepareConfig) -> dict[str, np.ndarray]:
    """Return the rows of each split, and of the clips in no pair if there are any."""
    sizes = {"evaluation": config.evaluation_clips, "validation": config.validation_clips}
    try:
        rows = deal_out(pairs, sizes, config.split_seed)
    except ValueError as error:
        raise InputError(f"{config.shards}: {error}; change `split`, or leave it out.") from None
    if not all(len(rows[name]) for name in SPLITS):
        raise InputError(
            f"{config.shards}: {pairs.whole.sum()} pairs are too few, or too many of one group or "
            f"with the same visual or audio features, for {config.evaluation_clips} evaluation and "
            f"{config.validation_clips} validation clips and some to "
            "train on; ask for fewer with evaluation_clips and validation_clips."
        )
    return {name: rows[name] for name in (*SPLITS, UNPAIRED) if len(rows[name])}


def _write_pairs(
    split: Path, pairs: Pairs, rows: np.ndarray, label_names: list[str], storage: str
) -> dict[str, Any]:
    """Write the arrays of a split; return what the manifest notes of it."""
    split.mkdir(parents=True, exist_ok=True)
    starts, places = numbered([pairs.labels[row] for row in rows], label_names)
    arrays = {"ids": pairs.ids[rows], "label_indptr": starts, "label_indices": places}
    for name, values in (("visual", pairs.visual), ("audio", pairs.audio)):
        path = split / f"{name}.npy"
        _copy_rows(path, values, rows, storage)
        arrays[name] = np.load(path, mmap_mode="r")
    for name in ARRAYS[2:]:
        np.save(split / f"{name}.npy", arrays[name])
    noted = {"labels": len(arrays["label_indices"]), "dropped": 0, "shards": []}
    return noted | {"fingerprint": _digest(*arrays.values())}


def _copy_rows(path: Path, values: np.ndarray, rows: np.ndarray, storage: Any) -> None:
    """Write some rows of features to a file, chunk by chunk."""
    with begin_rows(path, storage, (len(rows), values.shape[1])) as file:
        for start in range(0, len(rows), CHUNK):
            with np.errstate(over="ignore"):
                chunk = values[rows[start : start + CHUNK]].astype(storage)
            if (np.abs(chunk.astype(np.float32)) > LARGEST).any():
                raise InputError(
                    f"{path.stem} features are too large for {storage}; scale them down."
                )
            file.write(chunk.tobytes())


# --- which shard goes where ----------------------------------------------------------------------


def _find_shards(config: PrepareConfig, classes: int) -> list[dict[str, Any]]:
    """Find the shards, ordered by their name below the folder, and scan their framing.

    Labels of two releases mean different things; that they are mixed is told before the work.
    """
    folder = config.shards
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder of shards; check the path.")
    found = shards_below(folder)
    names, paths = list(found), list(found.values())
    scans = each(_look_at, paths, processes(paths, config.jobs))
    bar = tqdm(scans, "looking at shards", len(paths), unit="shard", disable=None)
    shards = []
    first: dict[int, str] = {}  # a shard of each release that has labels
    for name, (records, digest, release) in zip(names, bar, strict=True):
        shards.append({"name": name, "records": records, "digest": digest})
        if release:
            first.setdefault(release, name)
    if first and not classes:
        tqdm.write(f"{folder}: no vocabulary is given, so labels are left out")
        return shards
    for release, name in first.items():
        other = 3 - release
        if other in first:
            raise InputError(
                f"{folder}: {name} is of release {release} of YouTube-8M and {first[other]} of "
                f"release {other}, and their labels are not numbered alike; prepare them apart, or "
                "set vocabulary to null to join them without labels."
            )
        if classes == CLASSES[other]:
            raise InputError(
                f"{config.vocabulary}: these {classes:,} classes are those of release {other} of "
                f"YouTube-8M, and {name} is of release {release}; give the vocabulary of that "
                f"release, with {CLASSES[release]:,} classes."
            )
    return shards


def _look_at(path: Path) -> tuple[int, str, int]:
    """Return a shard's number of records, its digest and the release that its labels are of."""
    return *scan_records(path), labelled_release(first_payload(path))


def _deal_out(found: list[dict[str, Any]], config: PrepareConfig) -> dict[str, dict[str, Any]]:
    """Deal the shuffled shards out to the splits, as `prepare` says; named ones in that order."""
    order = np.random.default_rng(config.split_seed).permutation(len(found))
    left = [{key: found[i][key] for key in ("name", "records")} for i in order]
    splits: dict[str, dict[str, Any]] = {}
    for name, named, clips in (
        ("evaluation", config.evaluation_shards, config.evaluation_clips),
        ("validation", config.validation_shards, config.validation_clips),
    ):
        taken: list[dict[str, Any]] = []
        records = 0
        patterns = [named] if isinstance(named, str) else named or ["*"]
        for pattern, shard in [(p, s) for p in patterns for s in left]:
            if records < clips and fnmatch(shard["name"], pattern) and shard in left:
                taken.append(shard)
                left.remove(shard)
                records += shard["records"]
        if records < clips and named:
            raise InputError(
                f"{config.shards}: the shards named {', '.join(patterns)} hold {records} clips, "
                f"too few for {clips} {name} clips; add shards, ask for fewer clips, or set "
                f"{name}_shards to another pattern."
            )
        splits[name] = {"clips": clips, "dropped": records - clips, "shards": taken}
    clips = sum(shard["records"] for shard in left)
    splits["train"] = {"clips": clips, "dropped": 0, "shards": left}
    if not clips:
        raise InputError(
            f"{config.shards}: {len(found)} shards of {sum(s['records'] for s in found)} clips "
            f"are too few for {config.evaluation_clips} evaluation and {config.validation_clips} "
            "validation clips in shards of their own and one shard to train on; "
            "add shards or ask for fewer clips."
        )
    return {name: splits[name] for name in SPLITS}


def _lay_out(work: Path, splits: dict[str, dict[str, Any]], config: PrepareConfig) -> list[_Shard]:
    """Make the arrays at their full size, and find every shard's place in them."""
    shards: list[_Shard] = []
    (work / "parts").mkdir(exist_ok=True)
    for name, split in splits.items():
        folder = work / "new" / name
        folder.mkdir(parents=True, exist_ok=True)
        for array, dim in (("visual", VISUAL_DIM), ("audio", AUDIO_DIM)):
            path, shape = folder / f"{array}.npy", (split["clips"], dim)
            if not path.exists() or np.load(path, mmap_mode="r").shape != shape:
                partial_path = path.with_suffix(".tmp")  # of zeros, which take no room on the disk
                np.lib.format.open_memmap(partial_path, "w+", config.storage, shape)
                partial_path.replace(path)
        first = 0
        for noted in split["shards"]:
            kept = min(noted["records"], split["clips"] - first)
            path, part = config.shards / noted["name"], work / f"parts/{len(shards)}.npz"
            shards.append(_Shard(path, noted["records"], folder, first, kept, part))
            first += kept
    return shards


# --- one shard -----------------------------------------------------------------------------------


def _convert_shards(
    work: Path, splits: dict[str, dict[str, Any]], classes: int, config: PrepareConfig
) -> None:
    """Fill the splits from their shards, less videos that have a second id in another split."""
    shards = _lay_out(work, splits, config)
    convert = partial(_convert, classes=classes, storage=config.storage)
    jobs = processes((shard.path for shard in shards), config.jobs)
    total = sum(shard.records for shard in shards)
    with tqdm(desc="preparing", total=total, unit="clip", disable=None) as bar:
        for clips in each(convert, shards, jobs):
            bar.update(clips)
    _refuse_repeated_ids(shards)
    seen = np.zeros(0, np.int64)
    for name in reversed(SPLITS):  # evaluation clips all stay
        folder = work / "new" / name
        own = [shard for shard in shards if shard.split == folder]
        hashes = np.concatenate([_read_part(shard, "hashes") for shard in own])
        kept = ~np.isin(hashes, seen)
        seen = np.union1d(seen, hashes)
        if not kept.all():
            _keep_rows(folder, kept)
            splits[name]["clips"] = int(kept.sum())
            splits[name]["dropped"] += int((~kept).sum())
        splits[name] |= _join_parts(folder, own, kept)


def _convert(shard: _Shard, classes: int, storage: str) -> int:
    """Write a shard's rows and its part, unless they are there; return its number of clips."""
    arrays = {name: shard.split / f"{name}.npy" for name in ("visual", "audio")}
    if shard.part.exists():  # what an earlier call wrote, if it is still whole
        rows = slice(shard.first, shard.first + shard.kept)
        stored = [np.load(path, mmap_mode="r")[rows] for path in arrays.values()]
        stored += [_read_part(shard, name) for name in ("ids", "counts", "labels")]
        if str(_read_part(shard, "digest")) == _digest(*stored):
            return shard.records
    clips = read_columns(shard.path, classes or None)
    if len(clips.ids) != shard.records:
        raise InputError(f"{shard.path}: the file changed while it was read; prepare again.")
    kept = (clips.visual[: shard.kept], clips.audio[: shard.kept])
    largest = max(max(values.max(), -values.min()) for values in kept)
    if largest > LARGEST:
        raise InputError(f"{shard.path}: holds values beyond {LARGEST:g}; check its origin.")
    if largest > np.finfo(storage).max:
        raise InputError(f"{shard.path}: holds values too large for float16; store as float32.")
    visual, audio = (values.astype(storage) for values in kept)
    _write_rows(arrays["visual"], shard.first, visual)
    _write_rows(arrays["audio"], shard.first, audio)
    counts = clips.counts[: shard.kept] * bool(classes)
    ids, labels = np.array(clips.ids), clips.labels[: counts.sum()]
    digest = np.array(_digest(visual, audio, ids, counts, labels))
    partial_path = shard.part.with_suffix(".tmp.npz")
    found = {"ids": ids, "counts": counts, "labels": labels, "hashes": row_hashes(visual)}
    np.savez(partial_path, digest=digest, **found)  # type: ignore[arg-type]
    partial_path.replace(shard.part)
    return shard.records


def _write_rows(path: Path, first: int, rows: np.ndarray) -> None:
    """Write rows into an ``.npy`` file, not mapped: a full disk is then an error, not a crash."""
    begin = np.load(path, mmap_mode="r").offset + first * rows[:1].nbytes
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(np.ascontiguousarray(rows).data)


def _read_part(shard: _Shard, name: str) -> np.ndarray:
    """Read all ``ids``; or, of the clips kept, ``counts`` of labels, ``labels``, ``hashes``...."""
    with np.load(shard.part) as part:
        return part[name]


def _digest(*arrays: np.ndarray) -> str:
    """Return the SHA-256 of the type, shape and contents of some arrays."""
    hashed = sha256()
    for values in arrays:
        hashed.update(f"{values.dtype.str} {values.shape} ".encode() + values.tobytes())
    return hashed.hexdigest()


# --- all shards ----------------------------------------------------------------------------------


def _refuse_repeated_ids(shards: Sequence[_Shard]) -> None:
    """Make sure that no two records of any shards have the same id."""
    ids = np.concatenate([_read_part(shard, "ids").astype(bytes) for shard in shards])
    ordered = np.sort(ids)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(repeated):
        return
    starts = np.cumsum([0, *(shard.records for shard in shards)])
    one, other = np.flatnonzero(ids == repeated[0])[:2]
    first, second = starts.searchsorted([one, other], side="right") - 1
    raise InputError(
        f"{shards[second].path}: record {other - starts[second]}: the id {repeated[0].decode()!r} "
        f"is that of record {one - starts[first]} of {shards[first].path}; "
        "remove one of the two, as clips must differ."
    )


def _keep_rows(split: Path, kept: np.ndarray) -> None:
    """Drop rows of a split's features."""
    for name in ("visual", "audio"):
        path = split / f"{name}.npy"
        values, partial_path = np.load(path, mmap_mode="r"), path.with_suffix(".tmp")
        _copy_rows(partial_path, values, np.flatnonzero(kept), values.dtype)
        partial_path.replace(path)


def _join_parts(split: Path, shards: Sequence[_Shard], kept: np.ndarray) -> dict[str, Any]:
    """Write a split's ids and labels; return the number of labels and the split's fingerprint."""
    ids = np.concatenate([_read_part(shard, "ids")[: shard.kept] for shard in shards])
    np.save(split / "ids.npy", ids[kept])
    del ids  # one after the other, as there may be millions
    counts = np.concatenate([_read_part(shard, "counts") for shard in shards])
    np.save(split / "label_indptr.npy", np.concatenate([[0], counts[kept].cumsum()]))
    labels = np.concatenate([_read_part(shard, "labels") for shard in shards])
    labels = labels[kept.repeat(counts)]
    np.save(split / "label_indices.npy", labels)
    digests = [str(_read_part(shard, "digest")) for shard in shards]
    dropped = [] if kept.all() else [_digest(kept)]
    return {"labels": len(labels), "fingerprint": _sha256(*digests, *dropped)}


def _require_variety(new: Path, shards: Path) -> None:
    """Make sure that there is something to learn, and something to rank, in every split."""
    for name in reversed(SPLITS):  # clips that repeat those of evaluation were dropped
        clips = open_features(new, name)
        if not len(clips):
            raise InputError(
                f"{shards}: all clips left for the {name} split have the visual features of clips "
                "of another, as second ids of a video do; add shards."
            )
        for modality, values in (("visual", clips.visual), ("audio", clips.audio)):
            first = values[0].astype(np.float32)
            differ = any(np.abs(rows - first).max() > SMALLEST for (rows,) in read_chunks(values))
            if len(clips) > 1 and not differ:
                raise InputError(
                    f"{shards}: all {len(clips)} {name} clips have the same {modality} features, "
                    f"to {SMALLEST:g}: there is nothing to learn or to rank; check where they come "
                    "from, or scale them up."
                )
        if name != "train" and clips.silent.all():
            raise InputError(
                f"{shards}: each of the {len(clips)} {name} clips has the audio features of "
                "another, as silent clips do, so none can be ranked; take other clips."
            )


# --- the folder ----------------------------------------------------------------------------------


def _claim(work: Path, inputs: str) -> None:
    """Make the hidden folder ready; what another preparation left there is removed."""
    note = work / "inputs"
    if not note.exists() or note.read_text() != inputs:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        note.write_text(inputs)


def _is_whole(out: Path) -> bool:
    """Tell whether every split of a feature set opens."""
    try:
        for split in SPLITS:
            open_features(out, split)
    except InputError:
        return False
    return True


def _sha256(*texts: str) -> str:
    return sha256("".join(texts).encode()).hexdigest()
