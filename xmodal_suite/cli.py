"""The commands of a batch: `python -m xmodal_suite COMMAND`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xmodal.options import CommandLine


def evaluate(line: CommandLine) -> None:
    """Print the recall of trained runs on the evaluation clips."""
    from xmodal_suite.published import RecallConfig, both_readings, measure_readings
    from xmodal_suite.tables import RECALL_COLUMNS, flat, recall_layout

    config = line.read(RecallConfig)
    dimensions, galleries, _ = both_readings(measure_readings(config)["ranks"], config)
    for frame, rows in ((dimensions, ["embedding_dim", "gallery"]), (galleries, ["gallery"])):
        print(flat(recall_layout(frame[rows + RECALL_COLUMNS])).to_string(index=False))


def ship(line: CommandLine) -> None:
    """Write the best of some runs in float16, with a card and embedded clips to search among."""
    from xmodal_suite.release import ShipConfig, ship

    print(ship(line.read(ShipConfig)))


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


def compare(line: CommandLine) -> int:
    """Compare the numbers of tables made again with the committed ones.

    The exit status is 0 if every number lies within its table's tolerance, 1 if anything differs,
    and 2 if a folder cannot be used or holds nothing to compare.
    """
    committed, fresh = line.arguments(committed="folder of tables", fresh="folder of new ones")
    from xmodal_suite.comparison import DifferenceError, check_results

    try:
        print(check_results(Path(committed), Path(fresh)))
    except DifferenceError as differences:
        print(differences)
        return 1
    return 0


def fill(line: CommandLine) -> None:
    """Put the tables that a Markdown page names into it (the numbers of README.md)."""
    from xmodal_suite.page import fill_page

    (page,) = line.arguments(page="the Markdown file")
    fill_page(Path(page))


COMMANDS = {
    command.__name__: command
    for command in (evaluate, data, results, notebook, report, compare, fill, ship)
}
