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

import pandas as pd
import PIL.Image
from IPython.display import Image
from matplotlib.figure import Figure

from xmodal.config import InputError
from xmodal.files import atomic, locked
from xmodal_suite.figures import style

_ROOT = Path(__file__).resolve().parents[1]

# Unless told not to, matplotlib stamps these files with a date.
_UNDATED: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
SHOWN = 110
"""Pixels to an inch of a figure as a notebook shows it."""


@functools.cache
def project_commit() -> str:
    """Return the project's commit, "-dirty" where its code differs; "unknown" without git."""
    # no figures: otherwise a batch would mark the next one dirty
    code = ["xmodal", "xmodal_suite", "notebooks", "profiles", "Snakefile", "pyproject.toml"]
    git = ["git", f"--git-dir={_ROOT / '.git'}", f"--work-tree={_ROOT}"]
    run = functools.partial(subprocess.check_output, text=True, stderr=subprocess.DEVNULL)
    try:
        commit = run([*git, "describe", "--always"]).strip()
        changed = run([*git, "status", "--porcelain", "--", *(str(_ROOT / part) for part in code)])
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


Origin = dict[str, Any]
"""Where a figure or a table comes from, as `xmodal_suite.notebook.Book.origin` tells it."""


def recall_protocol(
    clips: str, recalls: pd.DataFrame, seeds: str, tolerance: float, resamples: int = 0
) -> dict[str, Any]:
    """Return how `recall_of` was measured, and how many points another measurement may differ."""
    sizes = recalls[["gallery", "galleries"]].dropna().drop_duplicates().astype(int)
    return {
        "clips": clips,
        "galleries": dict(sizes.itertuples(index=False, name=None)),
        "ties": "by cosine in float32; ties count as the average over their orders",
        "direction": "every clip of a gallery is a query once, in audio→video by its audio against "
        "the video of all clips of the gallery, its own among them; in video→audio the other way "
        "round",
        "seeds": seeds,
        "interval": "95% percentile bootstrap over queries"
        + (f", {resamples:,} resamples" if resamples else ""),
        "tolerance": tolerance,
    }


def read_origin(path: Path) -> Origin:
    """Read the note beside a figure or a table; InputError if the file is no such note."""
    try:
        origin = dict(json.loads(path.read_bytes()))
        return origin | {name: origin[name] for name in ("source", "fingerprint", "commit")}
    except (OSError, ValueError, KeyError):
        raise InputError(f"{path} is no note of where something comes from: restore it") from None


def save_figure(figure: Figure, stem: Path, origin: Origin) -> Image:
    """Write ``stem``.pdf, .svg, .png and .json, and return the PNG for a notebook to show."""
    style.settle(figure)
    files = {}
    for kind in ("pdf", "svg", "png"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=_UNDATED.get(kind))
        files[f".{kind}"] = buffer.getvalue()
    small = io.BytesIO()  # of 256 colours, a third of the bytes
    PIL.Image.open(buffer).convert("RGB").quantize().save(small, "png", optimize=True)
    files[".png"] = small.getvalue()
    write_together(stem, origin, files)
    return Image(files[".png"], width=round(figure.get_figwidth() * SHOWN))


def write_together(stem: Path, origin: Origin, files: Mapping[str, str | bytes]) -> None:
    """Write every file, by suffix, and the origin as JSON, before the first takes its place."""
    note = json.dumps(origin, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
    with locked(stem), contextlib.ExitStack() as waiting:
        for suffix, content in {**files, ".json": note}.items():
            fresh = waiting.enter_context(atomic(stem.with_name(stem.name + suffix)))
            fresh.write_bytes(content if isinstance(content, bytes) else content.encode())


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
