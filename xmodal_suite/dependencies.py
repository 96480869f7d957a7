"""Which code a stage of the batch depends on, read from the imports: no list is kept by hand."""

import ast
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path


def code_of(start: str) -> list[str]:
    """Return the files of the package that a notebook or a module uses, directly or by others.

    Imports inside functions count too, and so does the page that a module of its name fills. Paths
    are relative to the working directory, which is the project's folder. ``start`` is the path of a
    notebook, or the name of a module such as "xmodal_suite.page".
    """
    found: set[Path] = set()
    waiting = [Path(start)] if start.endswith(".ipynb") else list(_files(start))
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for name in _imported(path):
            waiting += _files(name)
    code = [path for path in found if path.suffix == ".py"]
    pages = [path.with_suffix(".html") for path in code if path.with_suffix(".html").exists()]
    return sorted(path.as_posix() for path in [*code, *pages])


def _source(path: Path) -> str:
    """Return the code of a module, or of all cells of a notebook."""
    if path.suffix == ".py":
        return path.read_text(encoding="utf-8")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


@cache
def _imported(path: Path) -> list[str]:
    """Return the name of everything that is imported, be it a module or something inside one."""
    names = []
    for node in ast.walk(ast.parse(_source(path))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def _files(name: str) -> Iterator[Path]:
    """Yield the files that importing a name of the package runs: its module and those above it."""
    parts = name.split(".")
    if parts[0] not in ("xmodal", "xmodal_suite"):
        return
    for length in range(1, len(parts) + 1):
        path = Path(*parts[:length])
        candidates = (path / "__init__.py", path.with_suffix(".py"))
        yield from (candidate for candidate in candidates if candidate.exists())
