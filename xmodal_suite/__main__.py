"""python -m xmodal_suite COMMAND."""

from xmodal import cli
from xmodal_suite.cli import COMMANDS

if __name__ == "__main__":
    cli.COMMANDS.update(COMMANDS)
    cli.main()
