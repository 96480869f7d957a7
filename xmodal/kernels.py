"""How PyTorch computes: two operations made fast, bfloat16 where it pays, the same bytes again.

Each operation stands beside its plain form; `tests/core/test_kernels.py` compares bit for bit.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def count_ranks(query: Tensor, gallery: Tensor, chunk: int, tolerance: float) -> list[Tensor]:
    """Count, by row and by column of ``query @ gallery.T``, what beats and what ties the diagonal.

    The product is made in blocks of ``chunk`` rows and columns, and each is counted while it is in
    the processor's cache. Better and tied are returned for each row, then for each column: int64,
    (clips,). Products closer than the tolerance are ties, so a match ties with itself.
    """
    pairs = zip(query.split(64), gallery.split(64), strict=True)
    own = torch.cat([(q @ g.T).diagonal() for q, g in pairs])  # every block is compared with these
    counts = torch.zeros(4, len(query), dtype=torch.int32, device=query.device)
    single = query.device.type == "cpu" and query.dtype == torch.float32
    compiled = compiled_count() if single else None
    blocks = [slice(start, start + chunk) for start in range(0, len(query), chunk)]
    for rows, columns in product(blocks, blocks):
        similarity = query[rows] @ gallery[columns].T
        if rows == columns:
            similarity.diagonal().copy_(own[rows])
        block = [similarity, own[rows], own[columns], *counts[:2, rows], *counts[2:, columns]]
        if compiled:
            compiled(np.float32(tolerance), *(part.numpy() for part in block))
        else:
            plain_count(tolerance, *block)
    return list(counts.long())


def plain_count(
    tolerance: float, similarity: Tensor, own: Tensor, own_back: Tensor,
    better: Tensor, tied: Tensor, better_back: Tensor, tied_back: Tensor,
) -> None:  # fmt: skip
    """Add to the counts of `count_ranks` those of one block."""
    lead, lead_back = similarity - own[:, None], similarity - own_back
    better += (lead > tolerance).sum(dim=1)
    tied += (lead.abs() <= tolerance).sum(dim=1)
    better_back += (lead_back > tolerance).sum(dim=0)
    tied_back += (lead_back.abs() <= tolerance).sum(dim=0)


def _count(tolerance, similarity, own, own_back, better, tied, better_back, tied_back):  # type: ignore
    """Do what `plain_count` does, in one walk through the block, once it is compiled."""
    for i in range(similarity.shape[0]):
        ahead = level = np.int32(0)  # the loop is as fast as its widest numbers
        for j in range(similarity.shape[1]):
            lead = similarity[i, j] - own[i]
            ahead += np.int32(lead > tolerance)
            level += np.int32(abs(lead) <= tolerance)
            lead = similarity[i, j] - own_back[j]
            better_back[j] += np.int32(lead > tolerance)
            tied_back[j] += np.int32(abs(lead) <= tolerance)
        better[i] += ahead
        tied[i] += level


@cache
def compiled_count() -> Callable[..., Any] | None:
    """Return `_count` compiled; None without numba, or where it cannot keep machine code."""
    try:
        from numba import njit  # slow to import: only where there is much to count

        types = f"void(f4, f4[:, ::1]{2 * ', f4[::1]'}{4 * ', i4[::1]'})"
        return njit(types, cache=True)(_count)  # type: ignore[call-arg]
    except (ImportError, RuntimeError, OSError):
        return None


class Dropout(nn.Dropout):
    """PyTorch's dropout with the very same masks, which on a CPU take less than half the time.

    There it draws 64 random bits for each value in a slow loop and keeps the value if the number
    that the last 53 make, divided by 2⁵³, is less than 1 − p.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Set a share p of the values to 0 and scale the others up, in training alone."""
        if not self.training or values.device.type != "cpu":
            return super().forward(values)  # the plain form
        bits = torch.empty(values.shape, dtype=torch.int64).random_().bitwise_and_(2**53 - 1)
        kept = bits < math.ceil((1 - self.p) * 2**53)
        return values * kept.to(values.dtype).div_(1 - self.p)


def bf16_is_fast() -> bool:
    """Tell whether bfloat16 products are fast: in matrix units, and in AMD's vector units."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    about = Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
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
