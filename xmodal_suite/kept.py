"""Measurements on disk: tidy frames, from which alone tables and pictures are drawn.

A folder such as ``data/results/yt8m/03_recall`` holds a CSV file a frame (Parquet if it is long
or has lists) and ``manifest.json``, which notes of each its SHA-256 and what it was made from.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xmodal.config import InputError
from xmodal.files import atomic, digest, locked

LONG = 20_000
"""Rows from which on a frame is kept as Parquet."""


def read_notes(folder: Path) -> dict[str, Any]:
    """Return what is noted of a folder's frames: source, fingerprint (of its clips) and frames."""
    path = folder / "manifest.json"
    if not path.exists():
        return {"source": "", "fingerprint": "", "frames": {}}
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
        return {**notes, "frames": dict(notes["frames"])}
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{path} is damaged: restore it, or remove {folder} and measure again"
        ) from None


def read_frame(folder: Path, name: str) -> pd.DataFrame:
    """Read a frame that is kept; InputError if it is not there, or not as it was written."""
    noted = read_notes(folder)["frames"].get(name)
    if not noted:
        raise InputError(f"{folder} holds no {name}: measure it first")
    path = folder / noted["file"]
    if not path.is_file() or digest(path) != noted["sha256"]:
        raise InputError(
            f"{path} is missing or not as it was measured: restore it, or remove {folder} and "
            "measure again"
        )
    if path.suffix == ".parquet":
        frame = pd.read_parquet(path)
        frame = frame.astype(dict.fromkeys(frame.select_dtypes("category"), object))
        texts = frame.select_dtypes("object")  # and lists
        lists = texts.map(lambda value: [*value] if isinstance(value, np.ndarray) else value)
        return frame.assign(**lists)
    text = dict.fromkeys(noted["text"], str)
    frame = pd.read_csv(
        path, dtype=text, keep_default_na=False, na_values=[""], float_precision="round_trip"
    )
    return frame.fillna(dict.fromkeys(noted["text"], ""))


def write_frame(
    folder: Path, name: str, frame: pd.DataFrame, noted: dict[str, Any], **about: str
) -> None:
    """Write a frame, with what is noted of it and ``about`` the whole folder."""
    lists = frame.select_dtypes("object").map(lambda value: isinstance(value, list)).any(axis=None)
    path = folder / f"{name}.{'parquet' if lists or len(frame) >= LONG else 'csv'}"
    with locked(folder):
        with atomic(path) as fresh:
            if path.suffix == ".csv":
                frame.to_csv(fresh, index=False, lineterminator="\n")
            else:
                frame.to_parquet(fresh, index=False, compression="zstd")
        notes = read_notes(folder) | about
        text = [str(column) for column in frame.select_dtypes("object")]
        notes["frames"][name] = {**noted, "file": path.name, "sha256": digest(path), "text": text}
        with atomic(folder / "manifest.json") as fresh:
            content = json.dumps(notes, indent=1, sort_keys=True, ensure_ascii=False)
            fresh.write_text(content + "\n", encoding="utf-8")
