"""What the machine allows: precision, processes that train together, reproducible arithmetic."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.distributed.nn import functional as distributed

from xmodal.config import TrainConfig


def all_gather(rows: Tensor) -> Tensor:
    """Join the rows of all processes, in their order; gradients find their way back."""
    return torch.cat(distributed.all_gather(rows))


def start_accelerator(config: TrainConfig) -> Accelerator:
    """Return what knows of the device, the precision and the other processes."""
    AcceleratorState._reset_state()  # a notebook may train again with another precision
    bf16 = config.precision == "bf16" or (config.precision == "auto" and bf16_is_fast())
    return Accelerator(
        mixed_precision="bf16" if bf16 else "no",
        # without λ the classifier takes no part in the loss
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


def bf16_is_fast() -> bool:
    """Tell whether this machine multiplies bfloat16 matrices faster than float32 ones.

    Known by name, not timed, so that one machine always answers the same: matrix units do, and the
    vector instructions of AMD; with those of Intel the products took nearly twice as long.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = Path("/proc/cpuinfo")
    about = known.read_text() if known.exists() else ""
    return "amx_bf16" in about or ("avx512_bf16" in about and "AuthenticAMD" in about)


@contextmanager
def reproducible() -> Iterator[None]:
    """Compute so that the same steps give the same bytes, and denormals cost no time."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or CUDA refuses what follows
    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.set_flush_denormal(True)
    try:
        yield
    finally:  # the process is the caller's, who may go on with something else
        torch.set_deterministic_debug_mode("default")
        torch.set_flush_denormal(False)
