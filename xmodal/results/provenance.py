"""What a batch leaves to look at: figures and tables, each with a note of where it came from.

The same inputs give the same bytes: no dates, no random names, no paths of one machine.
"""

import contextlib
import functools
import io
import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pydantic import BaseModel, Field, field_validator

from xmodal.config import InputError, StageConfig
from xmodal.results.protocol import Protocol

_ROOT = Path(__file__).resolve().parents[2]

# Unless told not to, matplotlib stamps its files with a date and names SVG parts by chance.
_UNDATED: dict[str, dict[str, None]] = {
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
    ".png": {},
}
_SAVING = {
    "svg.hashsalt": "xmodal",
    "pdf.fonttype": 42,  # TrueType: journals refuse Type 3
    "savefig.dpi": 220,
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib
}

# What the two languages would take for layout, and what pdfTeX has no glyph for.
_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\|*_`<>[]"} | {"\n": " "})
_TEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "…": r"\ldots{}", "–": "--", "\n": " "}
    | {"→": r"$\rightarrow$", "←": r"$\leftarrow$", "−": "$-$", "±": r"$\pm$", "×": r"$\times$"}
    | {"≥": r"$\geq$", "≤": r"$\leq$", "α": r"$\alpha$", "λ": r"$\lambda$"}
)


@functools.cache
def project_commit() -> str:
    """Return the project's commit, "-dirty" where its code differs from it; "unknown" without git.

    Code is what a figure depends on: figures and prose that differ do not count, or a batch's own
    output would mark the next run dirty. It is asked once a process.
    """
    if not (_ROOT / ".git").exists():
        return "unknown"
    code = ["xmodal", "notebooks", "profiles", "Snakefile", "pyproject.toml"]
    try:
        commit = _git("describe", "--always")
        changed = _git("status", "--porcelain", "--", *code)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return commit + ("-dirty" if changed else "") if commit else "unknown"


def _git(*words: str) -> str:
    told = subprocess.run(
        ["git", *words], cwd=_ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    return told.stdout.strip()


class Provenance(StageConfig):
    """Where a figure or a table came from. The form is our choice.

    Absolute paths are cut to what lies inside the project, or to their last name.
    """

    source: str = Field(min_length=1, description="The data, as a reader knows them.")
    fingerprint: str = Field(description="Fingerprint of the features.")
    parameters: dict[str, Any] = Field(description="What was chosen, by name.")
    seeds: dict[str, int] = Field(description="Every seed, by what it governs.")
    command: str = Field(description="The command that makes it again.")
    commit: str = Field(default_factory=project_commit, description="State of the project's code.")
    protocol: Protocol | None = Field(
        None, exclude_if=lambda card: card is None, description="What recalls mean, if it has any."
    )

    @field_validator("parameters", mode="before")
    @classmethod
    def _plain_parameters(cls, value: Any) -> Any:
        return _plain(value, "parameters")

    @field_validator("command")
    @classmethod
    def _portable_command(cls, value: str) -> str:
        return shlex.join(_portable_word(word) for word in shlex.split(value))

    def as_json(self) -> str:
        """Return the note as JSON text, keys sorted."""
        return json.dumps(self.model_dump(), sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def save_figure(figure: Figure, stem: Path, provenance: Provenance) -> list[Path]:
    """Write ``stem``.pdf, .svg, .png and .json, all whole before the first takes its place.

    Parameters
    ----------
    figure
        A figure of `xmodal.plots`, or any other.
    stem
        The files' common path without suffix; missing folders are made.
    provenance
        Goes into the JSON file.

    Returns
    -------
    list[Path]
        The files written.

    Raises
    ------
    InputError
        When the files cannot be written there.
    """
    files = {}
    with matplotlib.style.context(_SAVING, after_reset=True):
        for suffix, metadata in _UNDATED.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix[1:], metadata=metadata)
            files[suffix] = buffer.getvalue()
    return _write_all(stem, files | {".json": provenance.as_json().encode()})


def save_table(
    frame: pd.DataFrame,
    stem: Path,
    provenance: Provenance,
    caption: str,
    decimals: int | Mapping[str, int] = 1,
) -> list[Path]:
    """Write ``stem``.md, .tex (booktabs), .csv and .json, all from one frame.

    Every number is rounded once, so that the three tables say the same. Markdown and LaTeX carry
    the caption with the source; a value that is missing is a dash there, and empty in the CSV.

    Parameters
    ----------
    frame
        The table as it shall be read: names of the columns, order of the rows. A named index
        becomes the first columns, an unnamed one is left out.
    stem
        The files' common path without suffix, its name the LaTeX label; missing folders are made.
    provenance
        Goes into the JSON file, its source into the captions.
    caption
        One sentence, without the source.
    decimals
        Digits after the point of float columns, for all or by column (1 where not named).

    Returns
    -------
    list[Path]
        The files written.

    Raises
    ------
    InputError
        When the columns have several levels or double names, or the files cannot be written there.
    """
    stem = Path(stem)
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    if frame.columns.nlevels > 1 or not frame.columns.is_unique:
        raise InputError(
            f"the table {stem.name} has columns of several levels or of the same name: flatten and "
            "rename them."
        )
    digits = decimals if isinstance(decimals, Mapping) else dict.fromkeys(frame.columns, decimals)
    shown = pd.DataFrame(
        {str(name): _as_text(column, digits.get(name, 1)) for name, column in frame.items()},
        dtype=object,
    )
    right = [pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]
    said = f"{caption.rstrip('. ')}. Source: {provenance.source}."
    files = {
        ".md": _markdown(shown, right, said),
        ".tex": _latex(shown, right, said, f"tab:{stem.name}"),
        ".csv": shown.to_csv(index=False, lineterminator="\n"),
        ".json": provenance.as_json(),
    }
    return _write_all(stem, {suffix: text.encode() for suffix, text in files.items()})


def _as_text(column: pd.Series, decimals: int) -> list[str]:
    """Write each value as the tables show it, floats with ``decimals`` digits, missing as empty."""
    if pd.api.types.is_float_dtype(column):
        column = column.round(decimals) + 0.0  # adding zero takes the sign off a negative zero
        return ["" if pd.isna(value) else f"{value:.{decimals}f}" for value in column]
    return ["" if pd.isna(value) else str(value) for value in column]


def _markdown(shown: pd.DataFrame, right: list[bool], said: str) -> str:
    table = _translated(shown, _MARKDOWN).to_markdown(
        index=False, disable_numparse=True, colalign=["right" if r else "left" for r in right]
    )
    return f"{table}\n\n*{said.translate(_MARKDOWN)}*\n"


def _latex(shown: pd.DataFrame, right: list[bool], said: str, label: str) -> str:
    return _translated(shown, _TEX).to_latex(
        index=False,
        escape=False,
        column_format="".join("r" if r else "l" for r in right),
        caption=said.translate(_TEX),
        label=label,
        position="t",
    )


def _translated(shown: pd.DataFrame, table: dict[int, str]) -> pd.DataFrame:
    """Return the frame with a dash for what is empty, and every text and name translated."""
    dashed = shown.replace("", "–").map(lambda text: text.translate(table))
    return dashed.rename(columns=lambda name: name.translate(table))


def _write_all(stem: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write every file under a temporary name beside its target, then rename them all."""
    stem = Path(stem)
    waiting: dict[Path, Path] = {}
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        for suffix, content in files.items():
            target = stem.with_name(stem.name + suffix)
            waiting[target] = stem.with_name(f".{target.name}.{os.getpid()}.tmp")
            waiting[target].write_bytes(content)
        for target, temporary in waiting.items():
            temporary.replace(target)
    except OSError as error:
        raise InputError(
            f"{stem.name} cannot be written into {stem.parent} ({error.strerror}): choose a folder "
            "with room that you may write to."
        ) from error
    finally:
        for temporary in waiting.values():
            temporary.unlink(missing_ok=True)
    return list(waiting)


def _portable(text: str) -> str:
    """Cut an absolute path to its part inside the project, or else to its last name."""
    if PurePosixPath(text).is_absolute():
        path = PurePosixPath(text)
        inside = path.is_relative_to(_ROOT.as_posix())
        return path.relative_to(_ROOT.as_posix()).as_posix() if inside else path.name or text
    if PureWindowsPath(text).is_absolute():
        return PureWindowsPath(text).name
    return text


def _portable_word(word: str) -> str:
    """Do so in a word of a command: a path, NAME=PATH, or parameters as a JSON object."""
    if word.startswith("{"):
        with contextlib.suppress(ValueError):  # no JSON: a word like others
            return json.dumps(_plain(json.loads(word), "command"))
    name, equals, rest = word.partition("=")
    return _portable(name) + equals + _portable(rest)


def _plain(value: Any, where: str) -> Any:
    """Turn ``value`` into what JSON holds: the same text on every machine."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, where) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item, where) for item in value), key=str)
    if isinstance(value, str | PurePath):
        return _portable(str(value))
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    raise InputError(
        f"{where} holds a {type(value).__name__}, which JSON cannot: give numbers, text or lists."
    )
