"""The parameters of a notebook, declared in the notebook's own cell and nowhere else."""

import ast
import difflib
import json
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from xmodal.config import InputError

Declared = dict[str, tuple[Any, Any]]
"""The type and the default of each parameter, by its name."""


def declared(notebook: Path) -> Declared:
    """Read what the cell tagged ``parameters`` declares, by annotations or by its defaults."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    (cell,) = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    found: Declared = {}
    for statement in ast.parse("".join(cell["source"])).body:
        match statement:
            case ast.AnnAssign(ast.Name(name), kind, ast.expr() as value):
                words = ast.unparse(kind).strip("'")  # "int or None": papermill knows no other
                found[name] = eval(words.replace(" or ", " | ")), ast.literal_eval(value)
            case ast.Assign([ast.Name(name)], value):
                default = ast.literal_eval(value)
                many = isinstance(default, list) and default
                found[name] = list[type(default[0])] if many else type(default), default  # type: ignore[misc]
    return found


def require_parameters(notebook: str, known: Declared, given: dict[str, Any]) -> None:
    """Refuse a name that a notebook does not declare, and a value of another type."""
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
            raise InputError(f"{notebook} has no parameter {name}: {hint}")
        try:
            TypeAdapter(known[name][0], config=ConfigDict(strict=True)).validate_python(value)
        except ValidationError as error:
            raise InputError(
                f"parameter {name} of {notebook} is {value!r}: {error.errors()[0]['msg']}"
            ) from None
