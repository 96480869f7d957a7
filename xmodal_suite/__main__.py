"""The commands of the suite, which Snakefile and Makefile call."""

import json
import signal
import sys
from pathlib import Path

from xmodal.config import InputError

USAGE = """usage: python -m xmodal_suite COMMAND

notebook NOTEBOOK OUT PARAMETERS   run a notebook with parameters, given as JSON
report FIGURES                     write README.md beside tables and pictures; print a summary
toys FOLDER                        draw toy clips, and beside them one that has no sound
fill PAGE...                       put numbers and tables that Markdown pages name into them"""


def main(words: list[str]) -> None:
    """Run one command."""
    match words:
        case ["notebook", notebook, out, parameters]:
            from xmodal_suite.batch import run_notebook

            run_notebook(Path(notebook), Path(out), json.loads(parameters))
        case ["report", figures]:
            from xmodal_suite.page import write_report

            print(write_report(Path(figures)))
        case ["toys", folder]:
            from xmodal_suite.toys import write_toys

            write_toys(Path(folder))
        case ["fill", *pages] if pages:
            from xmodal_suite.page import fill_page

            for page in pages:
                fill_page(Path(page))
        case _:
            raise InputError(USAGE)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as a kernel must end too
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(f"xmodal: {error}")
