"""python -m xmodal_suite COMMAND."""

import os

from xmodal import cli
from xmodal_suite.cli import COMMANDS

if __name__ == "__main__":
    os.environ["MPLBACKEND"] = "agg"  # nothing opens a window, whatever is set for other programs
    cli.COMMANDS.update(COMMANDS)
    cli.main()
