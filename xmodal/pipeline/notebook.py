"""How a notebook takes its parameters: strictly, so that a mistyped one stops the run at once."""

import ast
import difflib
import json
import os
import shlex
from pathlib import Path
from typing import Any, TypeVar

from IPython.core.getipython import get_ipython
from pydantic import ValidationError

from xmodal.config import FigureConfig, InputError, StageConfig
from xmodal.data.features import FeatureSet
from xmodal.results.protocol import Protocol
from xmodal.results.provenance import Provenance

Config = TypeVar("Config", bound=StageConfig)


def parameters(config_type: type[Config]) -> Config:
    """Build a stage's configuration from the notebook's parameters cell and papermill's.

    Call it in the cell after the parameters. papermill writes the parameters it is given into a
    cell between the two and only warns of those that the notebook does not have; here they are
    refused, before any data is loaded. The working directory becomes the project's top folder,
    which every path is relative to, whether the notebook was started there or in ``notebooks``.

    Raises
    ------
    InputError
        If a name is no parameter of the stage or a value is not of its kind.
    """
    user = get_ipython().user_ns  # type: ignore[union-attr]
    os.chdir(project_folder(Path.cwd()))
    cells = list(user["In"])
    while cells[-1] == user["In"][-1]:  # this cell, and its runs just before that were refused
        cells.pop()
    given = literal_names(cells)
    values = {name: user[name] for name in config_type.model_fields if name in user}
    return check(config_type, {**values, **{name: user[name] for name in given}})


def check(config_type: type[Config], values: dict[str, Any]) -> Config:
    """Build a configuration; say in one sentence which value is wrong.

    Raises
    ------
    InputError
        If a name is unknown or a value is not of its kind.
    """
    try:
        return config_type(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] != "extra_forbidden":
            raise InputError(f"parameter {name}: {first['msg']} (got {first['input']!r})") from None
        known = list(config_type.model_fields)
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
        raise InputError(f"there is no parameter {name}; {hint}") from None


def literal_names(cells: list[str]) -> list[str]:
    """Return the names set by the last cells in a row that do nothing but set names to literals."""
    names: list[str] = []
    for cell in reversed(cells):
        try:
            statements = ast.parse(cell).body
            targets = [literal_target(statement) for statement in statements]
        except (SyntaxError, ValueError):
            break
        names += targets
        if not targets:
            break
    return names


def literal_target(statement: ast.stmt) -> str:
    """Return the name that a statement sets to a literal; ValueError if it does anything else."""
    target: ast.expr
    if isinstance(statement, ast.AnnAssign):
        target, value = statement.target, statement.value
    elif isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target, value = statement.targets[0], statement.value
    else:
        raise ValueError("not an assignment")
    if not isinstance(target, ast.Name) or value is None:
        raise ValueError("not a name")
    ast.literal_eval(value)
    return target.id


def project_folder(start: Path) -> Path:
    """Return the nearest folder at or above ``start`` that holds the notebooks; else ``start``."""
    for folder in (start, *start.parents):
        if (folder / "notebooks" / "02_train.ipynb").exists():
            return folder
    return start


def provenance(
    name: str,
    config: FigureConfig,
    features: FeatureSet | None = None,
    protocol: Protocol | None = None,
) -> Provenance:
    """Return where the figures of a notebook come from: data, parameters, seeds and command.

    Parameters
    ----------
    name : str
        Of the notebook, without suffix.
    config : FigureConfig
        Its parameters.
    features : FeatureSet
        The data it shows; none for what is drawn from the paper alone.
    protocol : Protocol
        How its recalls were measured, if it shows any.
    """
    settings = json.loads(config.model_dump_json())
    differing = json.loads(config.model_dump_json(exclude_defaults=True))
    return Provenance(
        source=features.source if features else "the paper",
        fingerprint=features.fingerprint if features else "",
        parameters=settings,
        protocol=protocol,
        seeds={key: value for key, value in settings.items() if key.endswith("seed")},
        command=shlex.join(
            ["papermill", f"notebooks/{name}.ipynb", f"runs/{name}.ipynb"]
            + (["-y", json.dumps(differing)] if differing else [])
        ),
    )
