"""From shards to a feature set: shards split, checked, and laid out as arrays."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pydantic import Field
from tqdm import tqdm

from xmodal.config import InputError, StageConfig
from xmodal.data.arrays import digest, fingerprint, load_arrays, write_arrays
from xmodal.data.features import FORMAT, SPLITS, open_features, read_manifest
from xmodal.data.tfrecord import scan_records
from xmodal.data.vocabulary import read_vocabulary
from xmodal.data.yt8m import AUDIO_DIM, VISUAL_DIM, Clip, read_shard


class PrepareConfig(StageConfig):
    """What `prepare` reads, and how it splits it."""

    shards: Path = Field(description="Folder searched for *.tfrecord, with all folders below it.")
    out: Path = Field(description="Folder that will hold the feature set; nothing else may.")
    vocabulary: Path = Field(description="YouTube-8M vocabulary CSV of the shards' release.")
    source: str = Field("YouTube-8M", description="What tables and figures call this data.")
    evaluation_clips: int = Field(6000, ge=1, description="Clips to evaluate on (section 4).")
    validation_clips: int = Field(2000, ge=1, description="Clips to watch training on; our choice.")
    split_seed: int = Field(0, ge=0, description="Seed of the order of the shards; our choice.")


def prepare(config: PrepareConfig) -> dict[str, Any]:
    """Turn a folder of shards into a feature set of three splits, or find it done already.

    The split goes by shard, never by row: the shards are shuffled by ``split_seed``; whole shards
    go to evaluation until it has ``evaluation_clips``, then to validation likewise, the rest is for
    training. The clips that the last shard of evaluation or of validation holds beyond the number
    asked for are dropped (and counted in the manifest), never trained on.

    A first pass reads only the framing, so that the arrays can be filled in place and memory stays
    flat. ``out`` changes only when the new set is whole. When ``out`` was made from the same shards
    with the same choices, nothing is written.

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
    shards = _scan(config.shards)
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "source": config.source,
        "config": config.model_dump(include={"evaluation_clips", "validation_clips", "split_seed"}),
        "classes": len(label_names),
    }
    manifest["inputs"] = digest(json.dumps([manifest, label_names, shards]).encode())
    earlier = _earlier_manifest(out)
    if earlier.get("inputs") == manifest["inputs"] and _is_whole(out):
        return earlier
    manifest["splits"] = _split(config, shards)

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _require_space(out.parent, sum(shard["records"] for shard in shards))
        with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
            new = Path(scratch, "new")
            new.mkdir()
            _fill(new, config.shards, manifest["splits"], len(label_names))
            manifest["fingerprint"] = digest(
                *(split["fingerprint"].encode() for split in manifest["splits"].values()),
                json.dumps(label_names).encode(),
            )
            _write_json(new / "label_names.json", label_names)
            _write_json(new / "manifest.json", manifest)
            _replace(out, new, Path(scratch, "earlier"))
    except OSError as error:
        raise InputError(
            f"{out}: cannot be written ({error.strerror}); choose another folder."
        ) from error
    return manifest


def _scan(folder: Path) -> list[dict[str, Any]]:
    """Find the shards, ordered by their name below ``folder``, and look at their framing."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder of shards; check the path.")
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.tfrecord")}
    if not paths:
        raise InputError(f"{folder}: the folder holds no *.tfrecord file; check the path.")
    shards = []
    for name in tqdm(sorted(paths), desc="looking at shards", unit="shard", disable=None):
        records, digest = scan_records(paths[name])
        shards.append({"name": name, "records": records, "digest": digest})
    return shards


def _split(config: PrepareConfig, shards: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Deal the shuffled shards out to the splits, as `prepare` says."""
    order = np.random.default_rng(config.split_seed).permutation(len(shards))
    left = [{key: shards[i][key] for key in ("name", "records")} for i in order]
    wanted = {"evaluation": config.evaluation_clips, "validation": config.validation_clips}
    splits: dict[str, dict[str, Any]] = {}
    for name, clips in wanted.items():
        taken: list[dict[str, Any]] = []
        records = 0
        while records < clips and left:
            taken.append(left.pop(0))
            records += taken[-1]["records"]
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


def _require_space(folder: Path, clips: int) -> None:
    """Refuse early: an array mapped to memory cannot report that the disk ran full."""
    need = clips * (VISUAL_DIM + AUDIO_DIM + 16) * 4
    free = shutil.disk_usage(folder).free
    if need > free:
        raise InputError(
            f"{folder}: the feature set needs {need / 1e9:.1f} GB and the disk has "
            f"{free / 1e9:.1f} GB left; free some space or choose another folder."
        )


def _fill(new: Path, folder: Path, splits: dict[str, dict[str, Any]], classes: int) -> None:
    """Write the arrays of every split, and note its labels and fingerprint in ``splits``."""
    seen: dict[str, str] = {}
    for name, split in splits.items():
        (new / name).mkdir()
        total = split["clips"] + split["dropped"]
        clips = _distinct_clips(folder, split["shards"], classes, seen)
        bar = tqdm(clips, f"preparing {name}", total, unit="clip", disable=None)
        write_arrays(new / name, bar, split["clips"])
        arrays = load_arrays(new / name)
        split["labels"] = len(arrays["label_indices"])
        split["fingerprint"] = fingerprint(arrays)


def _distinct_clips(
    folder: Path, shards: list[dict[str, Any]], classes: int, seen: dict[str, str]
) -> Iterator[Clip]:
    """Read the clips of some shards; ``seen`` maps each id met so far to its shard."""
    for shard in shards:
        path = folder / shard["name"]
        records = 0
        for clip in read_shard(path, classes):
            if clip.id in seen:
                raise _repeated(clip.id, path, records, folder / seen[clip.id])
            seen[clip.id] = shard["name"]
            records += 1
            yield clip
        if records != shard["records"]:
            raise InputError(f"{path}: the file changed while it was read; prepare again.")


def _repeated(identity: str, path: Path, number: int, earlier: Path) -> InputError:
    """Say where an id was met before; only the complaint pays for finding its record."""
    first = next(n for n, clip in enumerate(read_shard(earlier)) if clip.id == identity)
    return InputError(
        f"{path}: record {number}: the id {identity!r} is that of record {first} of {earlier}; "
        "remove one of the two, as clips must differ."
    )


# --- the folder ----------------------------------------------------------------------------------


def _earlier_manifest(out: Path) -> dict[str, Any]:
    """Return the manifest in ``out``, {} if there is nothing; refuse to replace anything else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return {}
    try:
        manifest = read_manifest(out)
        if {path.name for path in out.iterdir()} <= {"manifest.json", "label_names.json", *SPLITS}:
            return manifest
    except InputError:
        pass
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
