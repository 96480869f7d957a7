"""Where a figure or a table comes from, and figures written with that note beside them.

The same inputs give the same bytes: no dates, no random names, no paths of one machine.
"""

import contextlib
import functools
import io
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
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
_UNDATED: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
_SAVING = {"svg.hashsalt": "xmodal", "savefig.dpi": 140}
_SAVING |= {"pdf.fonttype": 42}  # TrueType: journals refuse Type 3
SHOWN = 110
"""Pixels to an inch of a figure as a notebook shows it."""


@functools.cache
def project_commit() -> str:
    """Return the project's commit, "-dirty" where its code differs from it; "unknown" without git.

    Only what a figure depends on counts as code: otherwise a batch's own figures would mark the
    next run dirty.
    """
    code = ["xmodal", "xmodal_suite", "notebooks", "profiles", "Snakefile", "pyproject.toml"]
    git = ["git", f"--git-dir={_ROOT / '.git'}", f"--work-tree={_ROOT}"]
    run = functools.partial(subprocess.check_output, text=True, stderr=subprocess.DEVNULL)
    try:
        commit = run([*git, "describe", "--always"]).strip()
        changed = run([*git, "status", "--porcelain", "--", *(str(_ROOT / part) for part in code)])
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
    """Return how recalls were measured; ``recalls`` is what `recall_of` returns.

    ``tolerance`` is how many points a recall may differ when it is measured again.
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
        raise InputError(f"{path} is no note of where something comes from: restore it") from None


def save_figure(figure: Figure, stem: Path, provenance: Provenance) -> Image:
    """Write ``stem``.pdf, .svg, .png and .json, and return the PNG for a notebook to show."""
    files = {}
    with matplotlib.style.context(_SAVING, after_reset=True):
        for kind in ("pdf", "svg", "png"):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=_UNDATED.get(kind))
            files[f".{kind}"] = buffer.getvalue()
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
    if not isinstance(value, str) or not value.startswith("/"):
        return value
    path = Path(value)
    return path.relative_to(_ROOT).as_posix() if path.is_relative_to(_ROOT) else path.name
