"""A copy of shards without what is wrong with them."""

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

from xmodal.config import InputError
from xmodal.data.framing import write_records
from xmodal.youtube8m.findings import Inspection, Shard
from xmodal.youtube8m.salvage import Damage, salvage_records


@dataclass
class Repair:
    """What a repair wrote into ``folder``.

    ``copied`` names the files that were good, ``rewritten`` those written without their problems,
    ``missing`` those in which no good clip was left, which are not written. ``left_out`` lists
    every stretch that was left out, in any of them: ``file``, ``record``, ``offset``, ``bytes``,
    ``kind`` and ``reason``.
    """

    folder: str
    copied: list[str]
    rewritten: list[str]
    missing: list[str]
    left_out: list[dict[str, Any]]

    def as_text(self) -> str:
        """Return what was done, and a table of what was left out."""
        told = f"{self.folder}: {len(self.copied)} files copied, {len(self.rewritten)} rewritten"
        if self.missing:
            told += f", {len(self.missing)} left out whole"
        if not self.left_out:
            return f"{told}."
        columns = ["file", "record", "offset", "bytes", "reason"]
        rows = [[str(entry[column]) for column in columns] for entry in self.left_out]
        aligned = ["left", "right", "right", "right", "left"]
        table = tabulate(rows, columns, disable_numparse=True, colalign=aligned)
        return f"{told}; left out:\n\n{table}"


def check_folder(folder: Path, inputs: Sequence[Path], names: Sequence[str]) -> None:
    """Make sure that a repaired copy can be written without touching anything that is there.

    Parameters
    ----------
    folder
        Where the copy shall be.
    inputs
        The files and folders that were named.
    names
        The names that the files will have in ``folder``.

    Raises
    ------
    InputError
        ``folder`` is one of the inputs or inside one, it is there and not an empty folder, or two
        files would get one name.
    """
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
    at all; the inputs are only read. Call `check_folder` first.

    Raises
    ------
    InputError
        The folder cannot be written, or a file changed since it was inspected.
    """
    out = Path(os.path.abspath(folder))
    repair = Repair(str(folder), [], [], [], [])
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as work:
            new = Path(work) / "new"
            new.mkdir()
            for shard in tqdm(inspection.shards, "repairing", unit="shard", disable=None):
                _write(shard, new / shard.name, repair)
            new.replace(out)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be made ({error.strerror}: {error.filename}); free some space or "
            "choose another folder."
        ) from error
    return repair


def _write(shard: Shard, target: Path, repair: Repair) -> None:
    bad = {problem.offset for problem in shard.problems}
    repair.left_out += [{"file": shard.file, **asdict(problem)} for problem in shard.problems]
    good = shard.contents.records - sum(problem.bytes > 0 for problem in shard.problems)
    if not good:
        repair.missing.append(shard.file)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if not bad:
        shutil.copyfile(shard.file, target)
        repair.copied.append(shard.file)
        return
    payloads = (
        record.payload
        for record in salvage_records(shard.file)
        if not isinstance(record, Damage) and record.offset not in bad
    )
    if write_records(target, payloads) != good:
        raise InputError(f"{shard.file}: the file changed while it was read; repair again.")
    repair.rewritten.append(shard.file)
