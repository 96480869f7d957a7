"""Cross-modal embeddings for video and audio retrieval (Surís et al., 2018)."""

import os
from contextlib import suppress

# What the libraries that we load should know of a container, and do not find out themselves.
with suppress(OSError, ValueError), open("/sys/fs/cgroup/cpu.max") as _file:  # or it is "max"
    _quota, _period = map(int, _file.read().split())
    _share = min(max(1, _quota // _period), len(os.sched_getaffinity(0)))
    os.environ.setdefault("OMP_NUM_THREADS", str(_share))
_home = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~"))
if "NUMBA_CACHE_DIR" not in os.environ and not os.access(_home, os.W_OK):
    from tempfile import TemporaryDirectory

    with suppress(OSError):  # where nothing at all can be written
        _code = TemporaryDirectory(prefix="xmodal-", ignore_cleanup_errors=True)  # until the end
        os.environ["NUMBA_CACHE_DIR"] = _code.name


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version  # takes longer than all else that help needs

    return version("xmodal")
