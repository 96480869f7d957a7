"""The parameters of a notebook, declared in the notebook's own cell and nowhere else."""

import ast
import json
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, create_model

from xmodal.config import StageConfig


class Parameters(StageConfig):
    """Base of a notebook's parameters: 1 is no text, and "1" no number."""

    model_config = ConfigDict(strict=True)


def declared(notebook: Path) -> type[Parameters]:
    """Return what the cell tagged ``parameters`` declares, by annotations or by its defaults."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    (cell,) = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    found: dict[str, Any] = {}
    for statement in ast.parse("".join(cell["source"])).body:
        match statement:
            case ast.AnnAssign(ast.Name(name), kind, ast.expr() as value):
                words = ast.unparse(kind).strip("'")  # "int or None": papermill knows no other
                found[name] = eval(words.replace(" or ", " | ")), ast.literal_eval(value)
            case ast.Assign([ast.Name(name)], value):
                default = ast.literal_eval(value)
                many = isinstance(default, list) and default
                found[name] = list[type(default[0])] if many else type(default), default  # type: ignore[misc]
    return create_model(notebook.stem, __base__=Parameters, **found)
