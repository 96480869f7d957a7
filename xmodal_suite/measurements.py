"""What a stage measured: tidy frames on disk, from which alone tables and pictures are drawn.

A folder such as ``data/results/yt8m/03_recall`` holds a file a frame, CSV or, if it is long,
Parquet, and ``manifest.json``: where they come from, and the SHA-256 of each.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from xmodal.checkpoint import SHIPPED, WEIGHTS, digest
from xmodal.config import InputError
from xmodal.data.features import open_features, read_manifest
from xmodal.files import atomic, locked
from xmodal_suite.provenance import Provenance, origin_of

LONG = 20_000
"""Rows from which on a frame is kept as Parquet."""
LABELS = ("query_labels", "match_labels")
"""Columns of text that is empty where a clip has no label, which is no missing value."""
TEXTS = ("clip", "query_id", "match_id", "commit", *LABELS)
"""Columns that are text even if it looks like numbers."""
VIEW = {"results", "figures", "resamples", "tolerance", "overwrite", "progress"}
VIEW |= {"shards", "vocabulary"}  # whose content is that of the features
VIEW |= {"explorer_run"}  # which is measured by itself
"""Parameters that change nothing of what is measured, or are noted otherwise."""
SAMPLE = {"sample_shared", "sample_seed"}
"""Parameters that say nothing where the clips are not those of the sample."""


@dataclass(frozen=True)
class Measured:
    """What was measured, by name, and where it comes from."""

    frames: dict[str, pd.DataFrame]
    origin: Provenance

    @property
    def source(self) -> str:
        """What the data is called."""
        return self.origin.source

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self.frames:
            raise InputError(
                f"{name} was not measured, perhaps by an earlier version: remove the folder of "
                "this notebook in `results` and measure again"
            )
        return self.frames[name]


def measured(
    notebook: str, config: Any, measure: Callable[[Any], dict[str, pd.DataFrame]]
) -> Measured:
    """Return what a notebook shows: as it was measured, or measured now.

    It is measured if that was never done, or with other parameters, features or weights. Where the
    features or the weights are not there, as in a clone of the repository, what is kept counts.

    Parameters
    ----------
    notebook : str
        Its name, or that of a further set it shows; the folder in ``config.results`` has it too.
    config : StageConfig
        Its parameters; ``features``, ``results`` and ``trained()`` say what is measured, and where
        that is kept.
    measure : callable
        Takes the configuration, returns frames by name.

    Raises
    ------
    InputError
        If a file was changed by hand; or if it has to be measured and cannot be, for want of
        features or of trained runs.
    """
    folder = config.results / notebook
    if (folder / "manifest.json").exists():
        found = read_measured(folder)
        if _holds(folder, found.origin, notebook, config):
            return found
    return measure_now(notebook, config, measure)


def measure_now(
    notebook: str, config: Any, measure: Callable[[Any], dict[str, pd.DataFrame]]
) -> Measured:
    """Measure, keep and return what a notebook shows, whatever is there already."""
    folder = config.results / notebook
    with locked(folder):
        frames = measure(config)
        features = open_features(config.features, "evaluation")
        write_measured(folder, frames, origin_of(notebook, config, features), _made_from(config))
        return read_measured(folder)


def write_measured(
    folder: Path, frames: dict[str, pd.DataFrame], origin: Provenance, made_from: dict[str, Any]
) -> None:
    """Write frames and their manifest; the folder is replaced when all is written."""
    with atomic(folder) as fresh:
        fresh.mkdir()
        files = {}
        for name, frame in frames.items():
            if len(frame) < LONG:
                path = fresh / f"{name}.csv"
                frame.to_csv(path, index=False, lineterminator="\n")
            else:
                path = fresh / f"{name}.parquet"
                _narrow(frame).to_parquet(path, index=False, compression="zstd")
            files[path.name] = digest(path)
        manifest = {"origin": origin.model_dump(), **made_from, "files": files}
        text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False)
        (fresh / "manifest.json").write_text(text + "\n", encoding="utf-8")


def read_measured(folder: Path) -> Measured:
    """Read what `write_measured` wrote; InputError if a file is missing or not as it was."""
    manifest = _read_manifest(folder)
    if not manifest:
        raise InputError(f"{folder} holds no measurements: run its notebook")
    try:
        origin, files = Provenance(**manifest["origin"]), dict(manifest["files"])
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{folder}/manifest.json is damaged or of another program: restore it, or remove "
            f"{folder} and measure again"
        ) from None
    frames = {}
    for name, noted in files.items():
        path = folder / name
        if not path.is_file() or digest(path) != noted:
            raise InputError(
                f"{path} is missing or not as it was measured: restore it, or remove {folder} and "
                "measure again"
            )
        frames[path.stem] = _read(path)
    return Measured(frames, origin)


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Return what is noted of measurements, {} if there are none; no files if it is damaged."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        return manifest if isinstance(manifest, dict) else {"files": {}}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        return {"files": {}}


def _read(path: Path) -> pd.DataFrame:
    """Read one frame; empty text is a missing value, but of labels, and nothing else is."""
    if path.suffix == ".parquet":
        frame = pd.read_parquet(path)
        names = frame.select_dtypes("category").columns
        return frame.astype(dict.fromkeys(names, object))  # no groups that do not occur
    frame = pd.read_csv(
        path, keep_default_na=False, na_values=[""], float_precision="round_trip",
        dtype=dict.fromkeys(TEXTS, str),
    )  # fmt: skip
    return frame.fillna(dict.fromkeys(LABELS, ""))


def _narrow(frame: pd.DataFrame) -> pd.DataFrame:
    """Take the smallest types that hold a long frame: integers of few bytes, text as categories."""
    narrow = {}
    for name, column in frame.items():
        if pd.api.types.is_integer_dtype(column):
            narrow[name] = pd.to_numeric(column, downcast="integer")
        elif column.dtype == object:
            narrow[name] = column.astype("category")
    return frame.assign(**narrow)


def _holds(folder: Path, origin: Provenance, notebook: str, config: Any) -> bool:
    """Tell whether measurements are those that the configuration asks for."""
    now = origin_of(notebook, config, None).parameters
    idle = VIEW | (SAMPLE if now.get("sample_clips", 0) is None else set())
    if any(origin.parameters.get(k) != v for k, v in now.items() if k not in idle):
        return False
    kept, there = _read_manifest(folder), _made_from(config)
    if there["features"] and there["features"] != kept.get("features"):
        return False
    return there["weights"].items() <= kept.get("weights", {}).items()


def _made_from(config: Any) -> dict[str, Any]:
    """Return the fingerprint of the features, and the SHA-256 of each run's weights, if there."""
    runs = {"/".join(r.parts[-2:]): r if r.exists() else SHIPPED / r for r in config.trained()}
    paths = {name: run / WEIGHTS for name, run in runs.items()}
    weights = {name: digest(path) for name, path in paths.items() if path.exists()}
    return {"features": read_manifest(config.features).get("fingerprint"), "weights": weights}
