"""The same tests, with atheris looking for bytes that reach code not yet reached; ten minutes."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import test_fuzz
from hypothesis import HealthCheck, settings

SECONDS = 40
TESTS = [name for name, test in vars(test_fuzz).items() if hasattr(test, "hypothesis")]
GUIDED = """
import sys
import atheris
with atheris.instrument_imports(include=["xmodal"]):
    import test_fuzz
test = getattr(test_fuzz, sys.argv.pop(1))
atheris.Setup(sys.argv, test.hypothesis.fuzz_one_input)
atheris.Fuzz()
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", TESTS)
def test_many_more_bytes(name: str, tmp_path: Path) -> None:
    """Without atheris, which has no wheel for some systems, Hypothesis draws many more."""
    try:
        import atheris  # noqa: F401
    except ImportError:
        budget = settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
        budget(getattr(test_fuzz, name))()
        return
    (tmp_path / "corpus").mkdir()
    for size in range(200, 4000, 200):
        (tmp_path / f"corpus/{size}").write_bytes(random.Random(size).randbytes(size))
    limits = [f"-max_total_time={SECONDS}", "-timeout=600", "-rss_limit_mb=4096", "-max_len=8192"]
    limits += ["-len_control=0", "-use_value_profile=1", str(tmp_path / "corpus")]
    done = subprocess.run(
        [sys.executable, "-c", GUIDED, name, *limits, f"-artifact_prefix={tmp_path}/"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert done.returncode == 0, done.stderr[-8000:] + done.stdout[-2000:]
