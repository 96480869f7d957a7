"""What a machine is good at is known from what it says of itself."""

from pathlib import Path

import pytest
import torch

from xmodal import devices


@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU decides")
@pytest.mark.parametrize(
    ("vendor", "flags", "fast"),
    [
        ("AuthenticAMD", "avx2 avx512f avx512_bf16", True),
        ("GenuineIntel", "avx2 avx512f avx512_bf16", False),
        ("GenuineIntel", "avx512f avx512_bf16 amx_bf16 amx_tile", True),
        ("AuthenticAMD", "avx2", False),
        ("", "", False),
    ],
)
def test_bf16_is_taken_where_it_is_known_to_be_fast(
    vendor: str, flags: str, fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = tmp_path / "cpuinfo"
    if vendor:
        known.write_text(f"vendor_id\t: {vendor}\nflags\t\t: fpu {flags}\n")
    monkeypatch.setattr(devices, "Path", lambda _: known)
    assert devices.bf16_is_fast() == fast
