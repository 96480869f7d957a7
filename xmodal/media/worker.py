"""Decoding in another process, which a file may crash without taking anything else with it."""

import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from logging.handlers import BufferingHandler
from pathlib import Path
from subprocess import PIPE, Popen
from threading import local

import numpy as np

from xmodal.config import InputError
from xmodal.media.decode import LOG

COMMAND = [sys.executable, "-c", "from xmodal.media.worker import serve; serve()"]
IDLE = local()
"""Each thread keeps a ``worker`` of its own, which ends with it."""


def elsewhere(
    decode: Callable[..., Iterator[np.ndarray]], path: Path, *settings: int
) -> Iterator[np.ndarray]:
    """Yield what a function of `xmodal.media.decode` does, called in another process.

    NoTrackError as there; InputError whatever else it raises, and if it crashes.
    """
    worker = IDLE.__dict__.pop("worker", None)
    if worker is None or worker.poll() is not None:
        places = {"PYTHONPATH": os.pathsep.join(sys.path)}
        worker = Popen(COMMAND, env=os.environ | places, stdin=PIPE, stdout=PIPE)
    try:
        pickle.dump((decode, path, *settings), worker.stdin)
        worker.stdin.flush()
        while isinstance(answer := pickle.load(worker.stdout), np.ndarray):
            yield answer
    except BaseException as error:  # also if nobody reads on
        with worker:
            worker.kill()
        if isinstance(error, EOFError | OSError | pickle.UnpicklingError):
            raise InputError(f"{path}: crashes the decoder; the file is damaged.") from None
        raise
    IDLE.worker = worker
    if isinstance(answer, InputError):
        raise answer
    for told in answer:
        LOG.warning("%s: %s", *told)


def serve() -> None:
    """Answer each call that comes on standard input, until it closes."""
    for number in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)  # in silence

    def answer(what: object) -> None:
        pickle.dump(what, sys.stdout.buffer)
        sys.stdout.buffer.flush()

    LOG.addHandler(told := BufferingHandler(sys.maxsize))
    with suppress(EOFError):
        while True:
            decode, path, *settings = pickle.load(sys.stdin.buffer)
            try:
                for block in decode(path, *settings):
                    answer(block)
                answer([*dict.fromkeys(record.args for record in told.buffer)])
            except InputError as error:
                answer(error)
            except Exception as error:  # the libraries raise some ten kinds for a damaged file
                reason = getattr(error, "strerror", None) or str(error)
                answer(InputError(f"{path}: is no media file that can be read ({reason})."))
            told.flush()
