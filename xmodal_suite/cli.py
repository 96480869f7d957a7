"""The commands of a batch: `python -m xmodal_suite COMMAND`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xmodal.cli import CommandLine


def data(line: CommandLine) -> None:
    """Make the data of a batch: the sample if it is asked for, and the feature set."""
    from xmodal_suite.dataset import DataConfig, make_data

    make_data(line.read(DataConfig))


def results(line: CommandLine) -> None:
    """Measure anew what a notebook of a batch shows."""
    from xmodal_suite.stages import measure_stage

    notebook, parameters = line.arguments(notebook="its name", parameters="as JSON")
    measure_stage(notebook, from_json(parameters))


def notebook(line: CommandLine) -> None:
    """Run a notebook of a batch, and report a failure in a few lines."""
    notebook, out, parameters = line.arguments(
        notebook="to run", out="its executed copy", parameters="as JSON"
    )
    values = from_json(parameters)
    from xmodal_suite.batch import run_notebook

    run_notebook(Path(notebook), Path(out), values)


def from_json(parameters: str) -> dict[str, Any]:
    """Read parameters from the command line."""
    from xmodal.config import InputError

    try:
        return json.loads(parameters)
    except ValueError as error:
        raise InputError(f"the parameters are no JSON: {error}") from None


def report(line: CommandLine) -> None:
    """Write README.md from a batch's tables, and print its summary."""
    from xmodal_suite.page import write_report

    (figures,) = line.arguments(figures="folder of tables and pictures")
    print(write_report(Path(figures)))


def fill(line: CommandLine) -> None:
    """Put the tables that a Markdown page names into it (the numbers of README.md)."""
    from xmodal_suite.page import fill_page

    (page,) = line.arguments(page="the Markdown file")
    fill_page(Path(page))


COMMANDS = {command.__name__: command for command in (data, results, notebook, report, fill)}
