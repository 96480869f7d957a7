"""Progress bars as lines, for logs."""

import re
import time
from typing import TextIO


class Ticker:
    """Pass on a notebook's progress bar as a line every few seconds, so that bars do not mix."""

    def __init__(self, name: str, stream: TextIO, seconds: float = 10) -> None:
        self.name, self.stream, self.seconds = name, stream, seconds
        self.last = 0.0

    def write(self, text: str) -> None:
        """Show the newest state of the bar if the last one is old enough."""
        states = [part.strip() for part in re.split(r"[\r\n]", text) if "%|" in part]
        if states and time.monotonic() - self.last > self.seconds:
            self.last = time.monotonic()
            print(f"{self.name}: {states[-1]}", file=self.stream, flush=True)

    def flush(self) -> None:
        """Nothing is held back."""
