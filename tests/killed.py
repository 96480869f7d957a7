"""Work that is killed, in a process group of its own (imported there, so it imports little)."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import torch

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["xmodal.train", "torch._inductor.config", "xmodal.index"])
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}


def killed(
    function: Callable[..., Any], *arguments: Any, change: int = 0, seconds: float = 0
) -> tuple[int | None, int]:
    """Call a function; be killed just before a change to the file system, or after some time.

    A change is a file opened for writing, renamed or removed, a folder made or removed. All
    processes that the function started are killed with it.

    Returns
    -------
    exit status (−9 if killed) and number of changes begun
    """
    changes = SERVER.Value("i", 0)
    given = (function, arguments, change, seconds, changes)
    process = SERVER.Process(target=_call, args=given)
    process.start()
    process.join()
    return process.exitcode, changes.value


def _call(function: Callable, arguments: tuple, change: int, seconds: float, changes) -> None:
    os.setsid()
    torch.set_num_threads(1)

    def kill(*_: Any) -> None:
        os.killpg(0, signal.SIGKILL)

    def watch(event: str, args: tuple) -> None:
        writes = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in CHANGES:
            changes.value += 1
            if changes.value == change:
                kill()

    sys.addaudithook(watch)
    if seconds:
        signal.signal(signal.SIGALRM, kill)
        signal.setitimer(signal.ITIMER_REAL, seconds)
    function(*arguments)
