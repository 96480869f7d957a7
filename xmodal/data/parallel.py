"""The same work for many files, on all cores."""

import signal
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.resource_tracker import ensure_running
from pathlib import Path
from typing import TypeVar

from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from xmodal.config import InputError

Task = TypeVar("Task")
Result = TypeVar("Result")

WORTH_A_PROCESS = 100_000_000
"""Bytes of shards that are read in about the time that a process takes to start (our choice)."""


def processes(files: Iterable[Path], jobs: int | None = None) -> int:
    """Return how many processes to use: ``jobs``, or as many as there are cores and work for."""
    total = sum(path.stat().st_size for path in files if path.exists())
    return jobs or min(cpu_count(), 1 + total // WORTH_A_PROCESS)


def each(function: Callable[[Task], Result], tasks: Iterable[Task], jobs: int) -> Iterator[Result]:
    """Yield the result of each task, in order, computed by ``jobs`` processes."""
    run = Parallel(n_jobs=jobs, return_as="generator", pre_dispatch="4*n_jobs", batch_size=1)
    try:
        # Ctrl-C is for this process alone: those that start now inherit that it is held back
        ensure_running()  # which would let it through again
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            results = run(delayed(function)(task) for task in tasks)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        yield from results
    except TerminatedWorkerError:
        raise InputError(
            "a working process died, perhaps for want of memory: run the same again to go on"
        ) from None
