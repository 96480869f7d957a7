"""A copy of shards without what is wrong with them."""

import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from xmodal.config import InputError
from xmodal.data.framing import write_records
from xmodal.files import atomic
from xmodal.youtube8m.inspect import Inspection, rows
from xmodal.youtube8m.salvage import salvage_records


@dataclass
class Repair:
    """What a repair wrote into ``folder``.

    ``copied`` names the files that were good, ``rewritten`` those written without their problems,
    ``missing`` those in which no good clip was left, which are not written. ``left_out`` are the
    problems, each a stretch that is in no file of the copy.
    """

    folder: str
    copied: list[str]
    rewritten: list[str]
    missing: list[str]
    left_out: pd.DataFrame

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return vars(self) | {"left_out": rows(self.left_out)}

    def as_text(self) -> str:
        """Return what was done, and a table of what was left out."""
        done = f"{self.folder}: {len(self.copied)} files copied, {len(self.rewritten)} rewritten"
        if self.missing:
            done += f", {len(self.missing)} left out whole"
        if self.left_out.empty:
            return f"{done}."
        table = self.left_out.drop(columns="kind")
        table = table.to_markdown(index=False, tablefmt="simple", disable_numparse=[0, 4])
        return f"{done}; left out:\n\n{table}"


def require_new_folder(folder: Path, inputs: Sequence[Path], names: Iterable[str]) -> None:
    """Refuse a folder that is not new or lies in an input, and files that would get one name."""
    target = folder.resolve()
    for path in inputs:
        if path.resolve() in (target, *target.parents):
            raise InputError(f"{folder}: lies in the input {path}; choose a folder outside it.")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder}: is there already and not empty; choose a new folder.")
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise InputError(f"{count} of the inputs are named {name}; repair their folders apart.")


def write_repaired(inspection: Inspection, folder: Path) -> Repair:
    """Write a copy of all files that were inspected, without their problems.

    Good files are copied byte for byte, the others written anew with their good records, the same
    payloads in the same order, so that the folder can be prepared as it is. It appears whole or not
    at all; the inputs are only read. Call `require_new_folder` first. InputError if the folder
    cannot be written, or a file changed since it was inspected.
    """
    shards, problems = inspection.shards, inspection.problems
    left_out = problems.groupby("file", observed=False)["offset"].agg(set)
    try:
        with atomic(folder) as new:
            new.mkdir()
            kept = shards[shards["good"] > 0]
            for shard in tqdm(list(kept.itertuples()), "repairing", unit="shard", disable=None):
                target = new / shard.name
                target.parent.mkdir(parents=True, exist_ok=True)
                if not shard.problems:
                    shutil.copyfile(shard.file, target)
                elif _rewrite(Path(shard.file), target, left_out[shard.file]) != shard.good:
                    raise InputError(
                        f"{shard.file}: the file changed while it was read; repair again."
                    )
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be made ({error.strerror}: {error.filename}); free some space or "
            "choose another folder."
        ) from error
    bad, gone = shards["problems"] > 0, shards["good"] == 0
    copied, rewritten, missing = (
        shards.loc[which, "file"].tolist() for which in (~bad, bad & ~gone, gone)
    )
    return Repair(str(folder), copied, rewritten, missing, problems)


def _rewrite(source: Path, target: Path, bad: set[int]) -> int:
    """Write the whole records of a file but those at some offsets, and return how many."""
    good = (part for part in salvage_records(source) if not part.kind and part.offset not in bad)
    return write_records(target, (part.payload for part in good))
