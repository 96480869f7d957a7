"""A notebook of the batch: run by papermill, a failure told in a few lines, the copy cleaned."""

import ast
import os
import pprint
import re
import sys
import tempfile
import time
from pathlib import Path
from textwrap import indent
from typing import Any
from unittest.mock import patch

import nbformat
import papermill
from ipykernel.kernelspec import write_kernel_spec
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

INLINE = "module://matplotlib_inline.backend_inline"
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def run_notebook(notebook: Path, out: Path, values: dict[str, Any]) -> None:
    """Run a notebook and keep its executed copy; exit with source and error if a cell fails."""
    out.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    try:
        with (
            # not the folder that a user chose: the names of sockets are short
            tempfile.TemporaryDirectory(prefix="xmodal-", dir="/tmp") as sockets,
            # this interpreter, whatever kernels and settings a site or a user has installed
            patch.dict(os.environ, {"JUPYTER_PATH": sockets, "IPYTHONDIR": sockets}),
            patch.dict(os.environ, {"HOME": sockets, **os.environ}),  # where there is none
        ):
            # notebooks show docstrings and rely on assertions, which optimising leaves out
            environment = {"MPLBACKEND": INLINE, "XMODAL_STILL": "1", "PYTHONOPTIMIZE": ""}
            write_kernel_spec(f"{sockets}/kernels/python3", {"env": environment})
            # with TCP, two notebooks that start together may be given the same port
            manager = {"transport": "ipc", "connection_file": f"{sockets}/kernel.json"}
            papermill.execute_notebook(
                notebook,
                out,
                parameters=values,
                progress_bar=False,
                start_timeout=600,  # seconds, on a busy machine or a slow disk
                coalesce_streams=True,  # how text comes in pieces is a matter of time
                extra_arguments=["--log-level=CRITICAL"],  # the kernel's own remarks
                config=Config(KernelManager=manager),
            )
    except RuntimeError as error:  # it died, or never answered; cells fail in another way
        raise SystemExit(f"{out.stem}: {error}; its last words, if any, stand above") from None
    except PapermillExecutionError as error:
        last_lines = "\n".join(error.source.strip().splitlines()[-6:])
        raise SystemExit(
            f"{out.stem} failed in cell {error.exec_count}:\n{indent(last_lines, '    ')}\n"
            f"  {error.ename}: {ESCAPES.sub('', error.evalue)}\n"
            f"  The executed notebook is kept: {out}"
        ) from None
    out.write_text(cleaned(out.read_text(encoding="utf-8"), values), encoding="utf-8")
    print(f"{out.stem}: done in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def cleaned(text: str, values: dict[str, Any]) -> str:
    """Return an executed notebook without dates, progress and versions, values in its own cell.

    Links out of the folder of notebooks are made those of an executed copy, two folders deeper.
    """
    book = nbformat.reads(text, as_version=4)
    language = {"name": "python"}
    book.metadata = {"kernelspec": book.metadata.kernelspec, "language_info": language}
    injected = ["injected-parameters"]
    book.cells = [cell for cell in book.cells if cell.metadata.get("tags") != injected]
    for number, cell in enumerate(book.cells):
        cell.id = f"cell-{number:02}"
        cell.metadata = {name: tags for name, tags in cell.metadata.items() if name == "tags"}
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = with_values(cell.source, values)
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../", "](../../../")
            continue
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.outputs:
            if text := output.get("data", {}).get("text/markdown"):
                output["data"]["text/markdown"] = text.replace("](../", "](../../../")
    return nbformat.writes(book) + "\n"


def with_values(source: str, values: dict[str, Any]) -> str:
    """Return the source of a cell of parameters with other values, and its remarks."""
    lines = source.splitlines()
    for statement in reversed(ast.parse(source).body):
        match statement:
            case ast.Assign([ast.Name(name)], value) | ast.AnnAssign(
                ast.Name(name), value=ast.expr() as value
            ) if name in values and values[name] != ast.literal_eval(value):
                first, last = value.lineno - 1, value.end_lineno or value.lineno
                before = lines[first].encode()[: value.col_offset].decode()
                remark = lines[last - 1].encode()[value.end_col_offset :].decode()
                new = pprint.pformat(values[name], width=96, compact=True).replace("'", '"')
                lines[first:last] = f"{before}{new}{remark}".splitlines()
    return "\n".join(lines)
