"""Train every run of a batch again in one process, with nothing else done: seconds.

    python benchmarks/bare.py RUNS

In the folder that the batch ran in; RUNS holds its runs. `benchmarks/fast.py` compares a whole
batch with this.
"""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from xmodal.checkpoint import load_run
from xmodal.train import train


def train_again(runs: Path) -> int:
    """Train all runs below a folder again, elsewhere; return how many there are."""
    configs = [load_run(path.parent)[1] for path in sorted(runs.rglob("result.json"))]
    with TemporaryDirectory() as work:
        for number, config in enumerate(configs):
            train(config.model_copy(update={"out": Path(work, str(number)), "progress": False}))
    return len(configs)


if __name__ == "__main__":
    begun = time.perf_counter()
    trained = train_again(Path(sys.argv[1]))
    print(f"{trained} trainings: {time.perf_counter() - begun:.0f} s")
