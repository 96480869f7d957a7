"""From shards or paired features to a feature set: verified, split, and laid out as arrays."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
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
    open_splits,
    read_manifest,
    row_hashes,
    write_header,
)
from xmodal.data.pairs import deal_out, is_paired, read_pairs, sparse_labels
from xmodal.data.schema import AUDIO_DIM, CLASSES, VISUAL_DIM, read_columns, release_of
from xmodal.data.tfrecord import checksum, read_records, shards_below
from xmodal.data.vocabulary import read_vocabulary
from xmodal.files import atomic, locked, require_empty

NOT_COMPARED = {"shards", "out", "vocabulary", "source"}
"""Settings that do not change which clip goes where, or are noted otherwise."""
RULES = 3
"""Raised when the same input gives another set: 3 drops every video that has a second id."""


class PrepareConfig(StageConfig):
    """What `prepare` reads, and how it splits it."""

    shards: Path = Field(
        description="Folder searched for *.tfrecord, with all folders below it; or paired "
        "features: .npz, .parquet, or a folder of visual.npy and audio.npy."
    )
    out: Path = Field(description="Folder that will hold the feature set, and nothing else.")
    vocabulary: Path | None = Field(
        None, description="YouTube-8M vocabulary CSV of the shards' release; None: no labels."
    )
    source: str = Field("YouTube-8M", description="Name of this data in tables and figures.")
    evaluation_clips: int = Field(
        6000,
        ge=1,
        description="Number of evaluation clips (section 4); of "
        "paired features a fifth at most, if it is not given.",
    )
    evaluation_shards: str | list[str] | None = Field(
        None,
        description="Shards to take evaluation clips from, as patterns such as validate/*, in this "
        "order; None: any shard.",
    )
    validation_clips: int = Field(
        2000,
        ge=1,
        description="Number of clips to watch the training on (our choice); of paired features "
        "a fifth at most, if it is not given.",
    )
    validation_shards: str | list[str] | None = Field(
        None, description="Shards to take validation clips from, as patterns; None: any shard."
    )
    other_labels: Literal["refuse", "leave out"] = Field(
        "refuse",
        description="What becomes of clips labelled in another release's vocabulary: they are "
        "refused, or their labels are left out, to train on the clips alone.",
    )
    leave_out: list[str] = Field(
        [], description="Ids of clips to leave out, as of videos known by another id."
    )
    split_seed: int = Field(0, ge=0, description="Seed of the order of shards (our choice).")
    storage: Literal["float32", "float16"] = Field(
        "float32", description="Type of the stored features; float16 takes half the disk."
    )


def prepare(config: PrepareConfig) -> dict[str, Any]:
    """Turn shards or paired features into a feature set of three splits, unless it is there.

    Shards, shuffled by ``split_seed``, go to evaluation until it has ``evaluation_clips``, then to
    validation, then to training. What the last shard of a split holds beyond the number asked for
    is dropped, and so are training clips with the very visual features of another clip, as a video
    may have two ids; shards of another release than the vocabulary's come last, so that the clip
    with labels stays. Paired features are split by clip, see `xmodal.data.pairs`; numbers of
    evaluation and validation clips that are not given are at most a fifth of the pairs each.

    ``out`` changes only when the new set is complete.

    Returns
    -------
    dict
        The manifest: ``format``, ``source``, ``config``, ``classes``, ``inputs`` (SHA-256 of what
        the set was made from), ``fingerprint`` (SHA-256 of its contents), per split under
        ``splits`` ``clips``, ``labels``, ``dropped``, ``fingerprint`` and ``shards`` (``name``,
        ``records``, ``release`` and the ``clips`` that stay), and of paired features the ``sizes``
        of both modalities and, if it is known, their ``encoder``.

    Raises
    ------
    InputError
        A shard or the vocabulary is damaged or of another release, an id occurs twice, there are
        too few clips, features are too large for ``storage``, or ``out`` holds anything but a
        feature set or cannot be written.
    """
    return (_prepare_pairs if is_paired(config.shards) else _prepare_shards)(config)


# --- from shards ---------------------------------------------------------------------------------


def _prepare_shards(config: PrepareConfig) -> dict[str, Any]:
    """Prepare a folder of shards: evaluation first, whose clips the other splits must not hold."""
    label_names = read_vocabulary(config.vocabulary) if config.vocabulary else []
    found: list[dict[str, Any]] = []
    shards = shards_below(config.shards)
    stamps = _stamps(shards.values())
    for name, path in tqdm(shards.items(), "scanning", disable=None):
        payloads = [*read_records(path)]
        shard = {"name": name, "records": len(payloads), "release": release_of(payloads[0])}
        checksums = b"".join(map(checksum, payloads))
        found.append(shard | {"digest": sha256(checksums).hexdigest()})
    manifest = _begin(config, label_names, found)
    if "splits" in manifest:
        return manifest
    classes = len(label_names)
    splits = manifest["splits"] = _deal_out_shards(found, classes, config)
    ids: dict[str, np.ndarray] = {}
    seen = np.zeros(0, np.int64)
    with _writing(config.out, manifest, label_names, stamps) as folder:
        for name in reversed(SPLITS):
            seen = _convert_shards(folder / name, splits[name], seen, ids, classes, config)
        every = np.sort(np.concatenate([*ids.values()]))
        for repeated in every[1:][every[1:] == every[:-1]]:
            names = " and ".join(name for name, some in ids.items() if repeated in some)
            raise InputError(f"{config.shards}: {names} hold {repeated.decode()!r} twice.")
    return manifest


def _deal_out_shards(
    found: list[dict[str, Any]], classes: int, config: PrepareConfig
) -> dict[str, dict[str, Any]]:
    """Deal the shuffled shards out to the splits, as `prepare` says; named ones in that order."""
    order = np.random.default_rng(config.split_seed).permutation(len(found))
    left = [{key: found[i][key] for key in ("name", "records", "release")} for i in order]
    splits: dict[str, dict[str, Any]] = {}
    for split, named, wanted in (
        ("evaluation", config.evaluation_shards, config.evaluation_clips),
        ("validation", config.validation_shards, config.validation_clips),
        ("train", None, None),
    ):
        taken: list[dict[str, Any]] = []
        for pattern in [named] if isinstance(named, str) else named or ["*"]:
            for shard in [shard for shard in left if fnmatch(shard["name"], pattern)]:
                if wanted is None or sum(some["records"] for some in taken) < wanted:
                    taken.append(shard)
                    left.remove(shard)
        records = sum(shard["records"] for shard in taken)
        clips = wanted or records
        if records < max(1, clips):
            raise InputError(
                f"{config.shards}: its shards hold {records} clips, too few for {split}; add "
                "shards, or ask for fewer evaluation or validation clips."
            )
        splits[split] = {"clips": clips, "dropped": records - clips, "shards": taken}
    splits["train"]["shards"].sort(key=lambda shard: CLASSES.get(shard["release"]) != classes)
    return {split: splits[split] for split in SPLITS}


def _convert_shards(
    folder: Path,
    split: dict[str, Any],
    seen: np.ndarray,
    ids: dict[str, np.ndarray],
    classes: int,
    config: PrepareConfig,
) -> np.ndarray:
    """Write a split from its shards, less clips to leave out, or whose features were ``seen``.

    Returns the sorted hashes of the visual features that the next split must not hold; adds to
    ``split`` and, of each shard, to ``ids``.
    """
    digests, kept, hashes = [], [], [seen]

    def parts() -> Iterator[tuple[np.ndarray, ...]]:
        """Give of each shard what stays: features, ids, numbers of labels, and the labels."""
        left, earlier, other = split["clips"], seen, config.other_labels == "leave out"
        for shard in tqdm(split["shards"], folder.name, unit="shard", disable=None):
            path = config.shards / shard["name"]
            clips = read_columns(path, classes, other)
            visual, audio = (_stored(x[:left], config.storage, path) for x in clips[3:])
            names = np.array(clips.ids)
            ids[shard["name"]] = names.astype("S")
            counts = clips.counts[:left] * bool(classes)
            labels = clips.labels[: counts.sum()]
            digests.append(_digest(visual, audio, names, counts, labels))
            hashes.append(row_hashes(visual))
            names = names[:left]
            keep = ~np.isin(names, config.leave_out)
            places = (np.searchsorted(earlier, hashes[-1], side) for side in ("left", "right"))
            keep &= np.equal(*places)
            if folder.name == "train":  # evaluation and validation clips are those they always were
                keep &= ~pd.Index(hashes[-1]).duplicated()
                new = np.sort(hashes[-1][keep])
                earlier = np.insert(earlier, np.searchsorted(earlier, new), new)
            kept.append(keep)
            shard["clips"] = int(keep.sum())
            yield visual[keep], audio[keep], names[keep], counts[keep], labels[keep.repeat(counts)]
            left -= len(keep)

    split |= _write(folder, parts(), config.storage)
    keep = np.concatenate(kept)
    split["dropped"] += int((~keep).sum())
    split["fingerprint"] = _sha256(*digests, *([] if keep.all() else [_digest(keep)]))
    return np.sort(np.concatenate(hashes))


def _write(
    folder: Path,
    parts: Iterable[tuple[np.ndarray, ...]],
    storage: str,
    sizes: Sequence[int] = (VISUAL_DIM, AUDIO_DIM),
) -> dict[str, int]:
    """Write the arrays of a split, part after part; return the numbers of clips and of labels."""
    folder.mkdir()
    visual_file, audio_file, *others = (folder / f"{name}.npy" for name in ARRAYS)
    v = begin_rows(visual_file, storage, (0, sizes[0]))
    a = begin_rows(audio_file, storage, (0, sizes[1]))
    with v, a:
        rest = []
        for visual, audio, *more in parts:
            v.write(visual.tobytes())
            a.write(audio.tobytes())
            rest.append(more)
        ids, counts, labels = map(np.concatenate, zip(*rest, strict=True))
        write_header(v, storage, (len(ids), sizes[0]))
        write_header(a, storage, (len(ids), sizes[1]))
    for path, values in zip(others, (ids, np.cumsum([0, *counts]), labels), strict=True):
        np.save(path, values)
    return {"clips": len(ids), "labels": len(labels)}


# --- from paired features ------------------------------------------------------------------------


def _prepare_pairs(config: PrepareConfig) -> dict[str, Any]:
    """Prepare paired features; a fourth split holds the clips in no pair, if there are any."""
    if "source" not in config.model_fields_set:
        config = config.model_copy(update={"source": config.shards.stem})
    stamps = _stamps(config.shards.glob("*.npy"))  # any other file is read at once
    pairs = read_pairs(config.shards)
    fifth = max(1, int(pairs.complete.sum()) // 5)  # ours: small sets have small splits
    left = {"evaluation_clips", "validation_clips"} - config.model_fields_set
    fewer = {name: min(fifth, getattr(config, name)) for name in left}
    config = config.model_copy(update=fewer)
    texts = [some.astype(str) for some in pairs[4:6] if some is not None]
    found = [_digest(*pairs[:3], *texts), pairs.labels]
    sizes = [values.shape[1] for values in pairs[:2]]
    label_names = pairs.label_names
    noted = {"encoder": pairs.encoder} if pairs.encoder else {}
    if pairs.folder:
        noted["folder"] = str((config.shards.parent / pairs.folder).resolve())
    manifest = _begin(config, label_names, found, sizes=sizes, **noted)
    if "splits" in manifest:
        return manifest
    wanted = {"evaluation": config.evaluation_clips, "validation": config.validation_clips}
    try:
        rows = deal_out(pairs, wanted, config.split_seed)
    except ValueError as error:
        raise InputError(f"{config.shards}: {error}; change `split`, or leave it out.") from None
    if not all(len(rows[name]) for name in SPLITS):
        raise InputError(
            f"{config.shards}: {pairs.complete.sum()} pairs, or groups of them, are too few for "
            "three splits; ask for fewer with evaluation_clips and validation_clips."
        )

    def parts(rows: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
        """Give clips some at a time, as all may be larger than memory."""
        for some in np.split(rows, range(CHUNK, len(rows), CHUNK)):
            features = (_stored(x[some], config.storage, config.shards) for x in pairs[:2])
            starts, labels = sparse_labels([pairs.labels[row] for row in some], label_names)
            yield *features, pairs.ids[some], np.diff(starts), labels

    splits = manifest["splits"] = {}
    with _writing(config.out, manifest, label_names, stamps) as folder:
        for name in [name for name in (*SPLITS, UNPAIRED) if len(rows[name])]:
            splits[name] = _write(folder / name, parts(rows[name]), config.storage, sizes)
            arrays = [np.load(folder / name / f"{one}.npy", mmap_mode="r") for one in ARRAYS]
            fingerprint = _digest(*arrays[2:], *arrays[:2])
            splits[name] |= {"dropped": 0, "shards": [], "fingerprint": fingerprint}
    return manifest


# --- what both share -----------------------------------------------------------------------------


def _begin(
    config: PrepareConfig, label_names: list[str], found: list[Any], **more: Any
) -> dict[str, Any]:
    """Return the manifest of a complete set of the same input, or what is known of it by now."""
    manifest = {
        "format": FORMAT,
        "source": config.source,
        "config": config.model_dump(exclude=NOT_COMPARED),
        "classes": len(label_names),
        **more,
    }
    manifest["inputs"] = _sha256(json.dumps([manifest, label_names, found, RULES]))
    earlier = read_manifest(config.out)
    if not earlier:
        require_empty(config.out, "a feature set, or a damaged one")
    if earlier.get("inputs") == manifest["inputs"]:
        with suppress(InputError):  # a damaged set is made anew
            open_splits(config.out, *SPLITS)
            return earlier
    return manifest


def _stamps(paths: Iterable[Path]) -> dict[Path, tuple[int, ...]]:
    """Return of each file what tells whether it was written again: size, time and inode."""
    found = {path: path.stat() for path in paths if path.is_file()}
    return {path: (one.st_size, one.st_mtime_ns, one.st_ino) for path, one in found.items()}


@contextmanager
def _writing(
    out: Path, manifest: dict[str, Any], label_names: list[str], stamps: dict[Path, Any]
) -> Iterator[Path]:
    """Give a folder to write the splits to, which becomes ``out`` if no file has a new stamp."""
    with locked(out), atomic(out) as folder:
        folder.mkdir()
        yield folder
        for path in [path for path, now in _stamps(stamps).items() if now != stamps[path]]:
            raise InputError(f"{path} changed while it was read; run the command again.")
        fingerprints = [split["fingerprint"] for split in manifest["splits"].values()]
        manifest["fingerprint"] = _sha256(*fingerprints, json.dumps(label_names))
        for name, content in (("label_names", label_names), ("manifest", manifest)):
            text = json.dumps(content, indent=1, ensure_ascii=False)
            (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def _stored(values: np.ndarray, storage: str, path: Path) -> np.ndarray:
    """Return features in the type that they are stored in."""
    with np.errstate(over="ignore"):
        stored = values.astype(storage)
    if np.isinf(stored).any():
        raise InputError(f"{path}: holds features too large for {storage}.")
    return stored


def _digest(*arrays: np.ndarray) -> str:
    """Return the SHA-256 of the type, shape and contents of some arrays."""
    hashed = sha256()
    for values in arrays:
        hashed.update(f"{values.dtype.str} {values.shape} ".encode())
        hashed.update(np.ascontiguousarray(values).data)
    return hashed.hexdigest()


def _sha256(*texts: str) -> str:
    return sha256("".join(texts).encode()).hexdigest()
