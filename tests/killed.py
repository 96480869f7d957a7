"""A training that is killed, in a process of its own (imported there, so it imports little)."""

import multiprocessing
import os
import signal
import sys

import torch

from xmodal.train import TrainConfig, train

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["xmodal.train", "torch._inductor.config"])  # slow to import
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}


def train_killed(config: TrainConfig, change: int = 0) -> tuple[int | None, int]:
    """Train; with ``change`` > 0 be killed just before that change to the file system.

    A change is a file opened for writing, renamed or removed, a folder made or removed.

    Returns
    -------
    exit status (−9 if killed) and number of changes begun
    """
    changes = SERVER.Value("i", 0)
    process = SERVER.Process(target=_train, args=(config, change, changes))
    process.start()
    process.join()
    return process.exitcode, changes.value


def _train(config: TrainConfig, change: int, changes) -> None:
    torch.set_num_threads(1)

    def watch(event: str, args: tuple) -> None:
        writes = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in CHANGES:
            changes.value += 1
            if changes.value == change:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    train(config)
