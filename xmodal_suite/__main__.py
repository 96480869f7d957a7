"""Usage: `python -m xmodal_suite COMMAND`, as Snakefile and Makefile do.

notebook NOTEBOOK OUT PARAMETERS   run a notebook with parameters, given as JSON
report FIGURES                     write README.md beside tables and pictures; print a summary
toys FOLDER                        draw toy clips, and beside them one that has no sound
fill PAGE...                       put numbers and tables that Markdown pages name into them
"""

import json
import sys
from pathlib import Path

from xmodal.config import InputError


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
            raise InputError(str(__doc__))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(f"xmodal: {error}")
