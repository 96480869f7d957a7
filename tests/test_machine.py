"""Other machines than a developer's; `tests/elsewhere` tries more, and takes minutes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

XMODAL = f"{sys.executable} -m xmodal"
THREADS, CACHE = "OMP_NUM_THREADS", "NUMBA_CACHE_DIR"


def shell(line: str) -> tuple[int, str, str]:
    done = subprocess.run(line, shell=True, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("closed", ["0", "1", "2", "012"])
def test_an_output_may_be_closed(closed: str):
    """What is said is said where somebody listens, and nowhere else; the status is the same."""
    close = "".join(f" {number}>&-" for number in closed)
    status, out, err = shell(f"{XMODAL} --help {close}")
    assert (status, bool(out), err) == (0, "1" not in closed, "")
    status, out, err = shell(f"{XMODAL} trian {close}")
    assert (status, out, "trian" in err) == (2, "", "2" not in closed)


def test_what_the_machine_refuses_is_told_without_a_traceback(tmp_path: Path):
    code = "import xmodal.cli as c, errno, sys\nsys.argv[1:] = ['train']\n"
    code += "def train(_): raise OSError(errno.ESTALE, 'Stale file handle')\n"
    code += "c.train = train\nc.main()"
    (tmp_path / "a.py").write_text(code)
    status, out, err = shell(f"{sys.executable} {tmp_path}/a.py")
    assert (status, out, err.count("\n")) == (1, "", 1) and "Stale file handle" in err


@pytest.mark.parametrize("words", ["-m xmodal --help", "-m xmodal info --help", "-m xmodal_suite"])
def test_texts_are_there_without_docstrings(words: str):
    assert shell(f"{sys.executable} -OO {words}") == shell(f"{sys.executable} {words}")


def told(code: str, **settings: object) -> list[str]:
    """Return what Python prints with these variables set, or, if None, not set."""
    code += f"; import xmodal, os; print(os.environ.get('{THREADS}'), os.environ.get('{CACHE}'))"
    asked = {**os.environ, THREADS: None, CACHE: None, "XDG_CACHE_HOME": None, **settings}
    env = {name: str(value) for name, value in asked.items() if value is not None}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("share", "given", "threads"),
    [("150000 100000", None, "1"), ("20000 100000", None, "1"), ("max 100000", None, "None"),
     ("150000 100000", 7, "7")],
)  # fmt: skip
def test_a_container_computes_with_its_share(share: str, given: int | None, threads: str):
    code = "import builtins as b, io; real = b.open; b.open = lambda place, *a, **k: "
    code += f"io.StringIO('{share}') if 'cpu.max' in str(place) else real(place, *a, **k)"
    assert told(code, **{THREADS: given})[0] == threads


def test_machine_code_is_kept_until_the_end_where_there_is_no_home(tmp_path: Path):
    _, place = told("pass", HOME="/proc/none", TMPDIR=tmp_path)
    assert Path(place).parent == tmp_path and not Path(place).exists()
    assert told("pass", HOME=tmp_path)[1] == "None"
    assert told("pass", HOME="/proc/none", NUMBA_CACHE_DIR="mine")[1] == "mine"
    assert told("pass", HOME="/proc/none", XDG_CACHE_HOME=tmp_path)[1] == "None"
