"""Where a figure or a table comes from, and figures written with that note beside them.

The same inputs give the same bytes: no dates, no random names, no paths of one machine.
"""

import contextlib
import functools
import io
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import matplotlib.style
import pandas as pd
from IPython.display import Image
from matplotlib.figure import Figure
from pydantic import Field, ValidationError

from xmodal.config import InputError, StageConfig
from xmodal.files import atomic, locked

_ROOT = Path(__file__).resolve().parents[1]

# Unless told not to, matplotlib stamps its files with a date and names SVG parts by chance.
_UNDATED: dict[str, dict[str, None]] = {
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
    ".png": {},
}
SHOWN = 110
"""Pixels to an inch of a figure as a notebook shows it."""
_SAVING = {
    "svg.hashsalt": "xmodal",
    "pdf.fonttype": 42,  # TrueType: journals refuse Type 3
    "savefig.dpi": 140,
}


@functools.cache
def project_commit() -> str:
    """Return the project's commit, "-dirty" where its code differs from it; "unknown" without git.

    Only what a figure depends on counts as code: otherwise a batch's own figures would mark the
    next run dirty.
    """
    if not (_ROOT / ".git").exists():
        return "unknown"
    code = ["xmodal", "xmodal_suite", "notebooks", "profiles", "Snakefile", "pyproject.toml"]
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    run = functools.partial(
        subprocess.run, cwd=_ROOT, env=env, capture_output=True, text=True, check=True, timeout=30
    )
    try:
        commit = run(["git", "describe", "--always"]).stdout.strip()
        changed = run(["git", "status", "--porcelain", "--", *code]).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


class Provenance(StageConfig):
    """Where a figure or a table comes from."""

    source: str = Field(min_length=1, description="The data, as a reader knows them.")
    fingerprint: str = Field(description="Fingerprint of the features.")
    parameters: dict[str, Any] = Field(description="What was chosen, by name.")
    seeds: dict[str, int] = Field(description="Every seed, by what it governs.")
    command: str = Field(description="The command that makes it again.")
    commit: str = Field(default_factory=project_commit, description="State of the project's code.")
    protocol: dict[str, Any] | None = Field(
        None, exclude_if=lambda card: card is None, description="How recalls were measured."
    )
    caption: str = Field(
        "", exclude_if=lambda text: not text, description="What a figure shows, in a sentence."
    )

    def as_json(self) -> str:
        """Return the note as JSON text, keys sorted."""
        return json.dumps(self.model_dump(), sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def recall_protocol(
    clips: str, recalls: pd.DataFrame, seeds: str, tolerance: float, resamples: int = 0
) -> dict[str, Any]:
    """Return what a table of recalls is a statement about; without it a recall means nothing.

    ``recalls`` is what `xmodal.evaluation.recall.recall_of` returns, ``tolerance`` how many points
    a recall may differ when it is measured again.
    """
    sizes = recalls[["gallery", "galleries"]].dropna().drop_duplicates().astype(int)
    return {
        "clips": clips,
        "galleries": dict(sizes.itertuples(index=False, name=None)),
        "ties": "by cosine in float32; ties count as the average over their orders",
        "direction": "every clip of a gallery is a query once, in audio→video by its audio against "
        "the video of all clips of the gallery, its own among them; in video→audio the other way "
        "round",
        "seeds": seeds,
        "interval": "95 % percentile bootstrap over queries"
        + (f", {resamples:,} resamples" if resamples else ""),
        "tolerance": tolerance,
    }


def read_provenance(path: Path) -> Provenance:
    """Read the note beside a figure or a table; InputError if the file is no such note."""
    try:
        return Provenance.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        raise InputError(
            f"{path} is missing or no note of where a table or figure comes from: restore it"
        ) from None


def save_figure(figure: Figure, stem: Path, provenance: Provenance) -> Image:
    """Write ``stem``.pdf, .svg, .png and .json, and return the PNG for a notebook to show.

    All are written before the first takes its place. Any figure of matplotlib will do.
    """
    files = {}
    with matplotlib.style.context(_SAVING, after_reset=True):
        for suffix, metadata in _UNDATED.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix[1:], metadata=metadata)
            files[suffix] = buffer.getvalue()
    write_together(stem, files | {".json": provenance.as_json().encode()})
    return Image(files[".png"], width=round(figure.get_figwidth() * SHOWN))


def write_together(stem: Path, files: Mapping[str, bytes]) -> None:
    """Write every file, by suffix, before the first takes its place."""
    with locked(stem), contextlib.ExitStack() as waiting:
        for suffix, content in files.items():
            path = stem.with_name(stem.name + suffix)
            waiting.enter_context(atomic(path)).write_bytes(content)


def portable(value: Any) -> Any:
    """Cut absolute paths in plain data to their part inside the project, or to their last name."""
    if isinstance(value, dict):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [portable(item) for item in value]
    if not isinstance(value, str):
        return value
    path, root = PurePosixPath(value), _ROOT.as_posix()
    if path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return path.name or value if path.is_absolute() else value
