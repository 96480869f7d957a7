"""From shards to a feature set: shards split, checked, and laid out as arrays."""

import json
import os
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field
from tqdm import tqdm

from xmodal.config import InputError, StageConfig
from xmodal.data.convert import Task, convert, gather_split, refuse_repeated
from xmodal.data.features import FORMAT, SPLITS, open_features, read_any_manifest
from xmodal.data.framing import scan_records
from xmodal.data.parallel import each, processes
from xmodal.data.schema import AUDIO_DIM, VISUAL_DIM
from xmodal.data.storage import digest, new_array
from xmodal.data.vocabulary import read_vocabulary

BYSTANDERS = {"shards", "out", "vocabulary", "source", "jobs"}
"""Settings that do not change which clip goes where, or are noted otherwise."""


class PrepareConfig(StageConfig):
    """What `prepare` reads, and how it splits it."""

    shards: Path = Field(description="Folder searched for *.tfrecord, with all folders below it.")
    out: Path = Field(description="Folder that will hold the feature set; nothing else may.")
    vocabulary: Path = Field(description="YouTube-8M vocabulary CSV of the shards' release.")
    source: str = Field("YouTube-8M", description="What tables and figures call this data.")
    evaluation_clips: int = Field(6000, ge=1, description="Clips to evaluate on (section 4).")
    evaluation_shards: str | None = Field(
        None, description="Names of shards to evaluate on, such as validate/*; None: any."
    )
    validation_clips: int = Field(2000, ge=1, description="Clips to watch training on; our choice.")
    split_seed: int = Field(0, ge=0, description="Seed of the order of the shards; our choice.")
    storage: Literal["float32", "float16"] = Field(
        "float32", description="Type of the stored features; float16 takes half the disk."
    )
    jobs: int | None = Field(None, ge=1, description="Processes; None: all cores, if worth it.")


def prepare(config: PrepareConfig) -> dict[str, Any]:
    """Turn a folder of shards into a feature set of three splits, or find it done already.

    The split goes by shard, never by row: the shards are shuffled by ``split_seed``; whole shards
    go to evaluation until it has ``evaluation_clips``, then to validation likewise, the rest is for
    training. The clips that the last shard of evaluation or of validation holds beyond the number
    asked for are dropped (and counted in the manifest), never trained on.

    A first pass reads only the framing, so that every shard's place is known and all cores can
    write at once; memory stays flat. The work goes on beside ``out``, in a hidden folder; after an
    interruption or a complaint it is kept, and the same call goes on there. ``out`` changes only
    when the new set is whole. When ``out`` was made from the same shards with the same choices,
    nothing is written.

    Returns
    -------
    dict
        The manifest: ``format``, ``source``, ``config``, ``classes``, ``inputs`` (SHA-256 of what
        the set was made from), ``fingerprint`` (SHA-256 of its contents), and per split under
        ``splits``: ``clips``, ``labels``, ``dropped``, ``shards`` (``name``, ``records``) and
        ``fingerprint``. It holds no date and no absolute path.

    Raises
    ------
    InputError
        A shard or the vocabulary is damaged, an id occurs twice, there are too few shards or
        clips, ``out`` holds anything but a feature set or cannot be written, or the disk is too
        small. An earlier feature set in ``out`` is then as it was.
    """
    out = Path(os.path.abspath(config.out))
    label_names = read_vocabulary(config.vocabulary)
    shards = _scan(config)
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "source": config.source,
        "config": config.model_dump(exclude=BYSTANDERS),
        "classes": len(label_names),
    }
    manifest["inputs"] = digest(json.dumps([manifest, label_names, shards]).encode())
    earlier = _earlier_manifest(out)
    if earlier.get("inputs") == manifest["inputs"] and _is_whole(out):
        return earlier
    splits = manifest["splits"] = _split(config, shards)

    work = out.with_name(f".{out.name}.partial")
    new = work / "new"
    try:
        _claim(work, manifest["inputs"])
        _require_space(work, splits, config.storage)
        tasks = _lay_out(work, config, splits, len(label_names))
        _convert(tasks, config)
        refuse_repeated(tasks)
        for name, split in splits.items():
            folder = new / name
            ours = [task for task in tasks if task.split == folder]
            split["labels"], split["fingerprint"] = gather_split(folder, ours)
        manifest["fingerprint"] = digest(
            *(split["fingerprint"].encode() for split in splits.values()),
            json.dumps(label_names).encode(),
        )
        _write_json(new / "label_names.json", label_names)
        _write_json(new / "manifest.json", manifest)
        _replace(out, new, work / "earlier")
        shutil.rmtree(work)
    except OSError as error:
        raise InputError(
            f"{out}: cannot be written ({error.strerror}); free some space or choose another "
            "folder. What is done so far is kept for the next call."
        ) from error
    return manifest


def _scan(config: PrepareConfig) -> list[dict[str, Any]]:
    """Find the shards, ordered by their name below the folder, and look at their framing."""
    folder = config.shards
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder of shards; check the path.")
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.tfrecord")}
    if not found:
        raise InputError(f"{folder}: the folder holds no *.tfrecord file; check the path.")
    names = sorted(found)
    paths = [found[name] for name in names]
    scans = each(scan_records, paths, processes(paths, config.jobs))
    bar = tqdm(scans, "looking at shards", len(paths), unit="shard", disable=None)
    return [
        {"name": name, "records": records, "digest": seen}
        for name, (records, seen) in zip(names, bar, strict=True)
    ]


def _split(config: PrepareConfig, shards: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Deal the shuffled shards out to the splits, as `prepare` says."""
    order = np.random.default_rng(config.split_seed).permutation(len(shards))
    left = [{key: shards[i][key] for key in ("name", "records")} for i in order]
    splits: dict[str, dict[str, Any]] = {}
    for name, pattern, clips in (
        ("evaluation", config.evaluation_shards, config.evaluation_clips),
        ("validation", None, config.validation_clips),
    ):
        taken: list[dict[str, Any]] = []
        records = 0
        for shard in list(left):
            if records < clips and fnmatch(shard["name"], pattern or "*"):
                taken.append(shard)
                left.remove(shard)
                records += shard["records"]
        if records < clips and pattern:
            raise InputError(
                f"{config.shards}: the shards named {pattern} hold {records} clips, too few for "
                f"{clips} evaluation clips; add shards, ask for fewer clips, or set "
                "evaluation_shards to another pattern."
            )
        splits[name] = {"clips": clips, "dropped": records - clips, "shards": taken}
    clips = sum(shard["records"] for shard in left)
    splits["train"] = {"clips": clips, "dropped": 0, "shards": left}
    if not clips:
        raise InputError(
            f"{config.shards}: {len(shards)} shards of {sum(s['records'] for s in shards)} clips "
            f"are too few for {config.evaluation_clips} evaluation and {config.validation_clips} "
            "validation clips in shards of their own and one shard to train on; "
            "add shards or ask for fewer clips."
        )
    return {name: splits[name] for name in SPLITS}


def _claim(work: Path, inputs: str) -> None:
    """Make the hidden folder ready; what another preparation left there is removed."""
    note = work / "inputs"
    if not note.exists() or note.read_text() != inputs:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        note.write_text(inputs)


def _require_space(work: Path, splits: dict[str, dict[str, Any]], storage: str) -> None:
    """Refuse early what cannot end well; what an earlier call has written counts."""
    clips = sum(split["clips"] for split in splits.values())
    need = clips * ((VISUAL_DIM + AUDIO_DIM) * np.dtype(storage).itemsize + 64)
    free = shutil.disk_usage(work).free
    written = sum(path.stat().st_blocks * 512 for path in work.rglob("*.npy"))
    if need > free + written:
        raise InputError(
            f"{work.parent}: the feature set needs {need / 1e9:.1f} GB and the disk has "
            f"{(free + written) / 1e9:.1f} GB left; free some space, choose another folder or "
            "set storage to float16."
        )


def _lay_out(
    work: Path, config: PrepareConfig, splits: dict[str, dict[str, Any]], classes: int
) -> list[Task]:
    """Make the arrays at their full size, and find every shard's place in them."""
    tasks: list[Task] = []
    (work / "parts").mkdir(exist_ok=True)
    for name, split in splits.items():
        folder = work / "new" / name
        folder.mkdir(parents=True, exist_ok=True)
        for array, dim in (("visual", VISUAL_DIM), ("audio", AUDIO_DIM)):
            path = folder / f"{array}.npy"
            if not path.exists():
                new_array(path, (split["clips"], dim), config.storage)
        first = 0
        for shard in split["shards"]:
            kept = min(shard["records"], split["clips"] - first)
            shard_path, part = config.shards / shard["name"], work / f"parts/{len(tasks)}.npz"
            place = (config.storage, folder, first, kept, part)
            tasks.append(Task(shard_path, shard["records"], classes, *place))
            first += kept
    return tasks


def _convert(tasks: list[Task], config: PrepareConfig) -> None:
    jobs = processes((task.shard for task in tasks), config.jobs)
    total = sum(task.records for task in tasks)
    with tqdm(desc="preparing", total=total, unit="clip", disable=None) as bar:
        for clips in each(convert, tasks, jobs):
            bar.update(clips)


# --- the folder ----------------------------------------------------------------------------------


def _earlier_manifest(out: Path) -> dict[str, Any]:
    """Return the manifest in ``out``, {} if there is nothing; refuse to replace anything else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return {}
    manifest, ours = read_any_manifest(out), {"manifest.json", "label_names.json", *SPLITS}
    if manifest and {path.name for path in out.iterdir()} <= ours:
        return manifest
    raise InputError(
        f"{out}: holds something else than a feature set, which is not replaced; "
        "choose another folder or remove it."
    )


def _is_whole(out: Path) -> bool:
    try:
        for split in SPLITS:
            open_features(out, split)
    except InputError:
        return False
    return True


def _replace(out: Path, new: Path, earlier: Path) -> None:
    """Put ``new`` in the place of ``out``; the earlier set comes back if that fails."""
    if out.exists():
        out.rename(earlier)
    try:
        new.rename(out)
    except OSError:
        if earlier.exists():
            earlier.rename(out)
        raise


def _write_json(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
