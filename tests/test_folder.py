"""Folders that are written whole or not at all, by one process at a time."""

import fcntl
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from xmodal import folder
from xmodal.config import InputError
from xmodal.folder import (
    beside,
    locked,
    replace,
    require_empty,
    require_room,
    settle,
    tidy,
    whole,
)


def content(path: Path) -> dict[str, str]:
    return {
        str(p.relative_to(path)): os.readlink(p) if p.is_symlink() else p.read_text()
        for p in sorted(path.rglob("*"))
        if p.is_symlink() or p.is_file()
    }


def write(path: Path, **files: str) -> Path:
    path.mkdir(parents=True)
    for name, text in files.items():
        (path / name).write_text(text)
    return path


# --- one process at a time -----------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from xmodal.folder import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path):
    """Another process that holds the folder ``out``, as long as nobody kills it."""
    words = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_is_told_of_the_first_and_may_when_that_is_killed(
    tmp_path: Path, other: subprocess.Popen
) -> None:
    said = (
        rf"out: process {other.pid} on \S+, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d \(.*python.* -c "
    )
    with pytest.raises(InputError, match=said), locked(tmp_path / "out"):
        pass
    (tmp_path / "link").symlink_to(tmp_path / "out")  # another name of the same folder
    with pytest.raises(InputError, match=f"link: process {other.pid}"), locked(tmp_path / "link"):
        pass
    with locked(tmp_path / "out2"):  # any other folder is free
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert (tmp_path / ".out.lock").exists()  # what a killed process leaves locks nothing
    with locked(tmp_path / "out"):
        text = (tmp_path / ".out.lock").read_text()
        assert text.startswith(f"process {os.getpid()} on ") and str(other.pid) not in text
    assert not list(tmp_path.glob(".*"))


def test_a_lock_that_is_given_back_meanwhile_is_not_held_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One opens the file, the other ends and removes it: a lock on it would keep nobody out."""
    lock, flock = tmp_path / ".out.lock", fcntl.flock

    def late(held: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        lock.unlink()
        flock(held, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked(tmp_path / "out"):
        assert lock.exists()
        with pytest.raises(InputError, match="is writing there"), locked(tmp_path / "out"):
            pass


def test_without_locks_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", none)
    with locked(tmp_path / "out"), locked(tmp_path / "out"):
        pass
    assert not list(tmp_path.iterdir())


def test_where_no_lock_can_be_made_what_needs_none_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(folder.os, "open", refused)
    with locked(tmp_path / "out"):
        pass
    said = r"out: cannot be written \(Permission denied\); choose"
    with pytest.raises(InputError, match=said), locked(tmp_path / "out"):
        raise PermissionError(13, "Permission denied")


def test_a_full_disk_is_told_with_what_to_do(tmp_path: Path) -> None:
    said = "No space left on device.*; free some space or choose another place: what is there"
    with pytest.raises(InputError, match=said), locked(tmp_path / "out"):
        raise OSError(28, "No space left on device")
    with pytest.raises(
        InputError, match=r"needs 1,000,000,000,000.00 MB and the disk has .* MB left; free"
    ):
        require_room(tmp_path / "not" / "there", 10**18)
    require_room(tmp_path, 1)


# --- whole or not at all -------------------------------------------------------------------------


def test_what_fails_leaves_the_earlier_one(tmp_path: Path) -> None:
    path = write(tmp_path / "out", a="old")
    with pytest.raises(KeyboardInterrupt), whole(path) as fresh:
        write(fresh, a="new")
        assert content(path) == {"a": "old"}
        raise KeyboardInterrupt
    assert content(tmp_path) == {"out/a": "old"}
    with whole(path, ["a", "gone"]) as fresh:
        write(fresh, b="new")
    assert content(tmp_path) == {"out/b": "new"}
    with whole(tmp_path / "deep" / "file") as fresh:
        fresh.write_text("one")
    assert content(tmp_path / "deep") == {"file": "one"}


def test_what_is_not_ours_is_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "out", a="old", notes="mine")
    write(path / "sub", a="mine, too")
    (path / "sub" / "link").symlink_to("nowhere")
    (path / "sub" / "up").symlink_to(tmp_path)
    with whole(path, ["a", "b"]) as fresh:
        write(fresh, b="new")
    kept = {"notes": "mine", "sub/a": "mine, too", "sub/link": "nowhere", "sub/up": str(tmp_path)}
    assert content(path) == {"b": "new", **kept}


def test_a_link_is_written_through(tmp_path: Path) -> None:
    """A folder on another disk, to which a link points, stays where it is."""
    write(tmp_path / "disk" / "out", a="old")
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "out")
    with whole(tmp_path / "out", ["a"]) as fresh:
        write(fresh, a="new")
    assert (tmp_path / "out").is_symlink() and content(tmp_path / "disk") == {"out/a": "new"}


KILLED = """
import os, sys
from pathlib import Path
from xmodal.folder import whole

seen = 0
def watch(event, details):
    global seen
    writes = event == "open" and details[2] & (os.O_WRONLY | os.O_RDWR)
    if writes or event in {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}:
        seen += 1
        if seen == int(sys.argv[2]):
            os.kill(os.getpid(), 9)

sys.addaudithook(watch)
with whole(Path(sys.argv[1]), ["a", "b"]) as fresh:
    fresh.mkdir()
    for name in "ab":
        (fresh / name).write_text("new")
"""


def test_killed_before_any_change_one_of_the_two_is_there_whole(tmp_path: Path) -> None:
    """And what the user put there; the next one cleans up."""
    old, new = ({"a": s, "b": s, "mine": "mine"} for s in ("old", "new"))
    seen = set()
    for change in range(1, 40):
        path = write(tmp_path / f"{change}" / "out", **old)
        words = [sys.executable, "-c", KILLED, str(path), str(change)]
        status = subprocess.run(words).returncode
        settle(path)
        assert content(path) in (old, new)
        seen.add(content(path)["a"])
        with whole(path, ["a", "b"]) as fresh:
            write(fresh, a="new", b="new")
        assert content(tmp_path / f"{change}") == {
            f"out/{name}": text for name, text in new.items()
        }
        if not status:
            break
    assert status == 0 and change > 8 and seen == {"old", "new"}


def test_a_folder_that_cannot_take_its_place_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fresh = write(tmp_path / "out", a="old"), write(tmp_path / "fresh", a="new")

    def broken(*_: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(OSError, match="Input/output error"):
        replace(path, fresh, ["a"])
    assert content(path) == {"a": "old"} and not beside(path, "earlier").exists()


def test_leftovers_of_the_killed_are_removed_and_of_the_living_are_not(tmp_path: Path) -> None:
    path = write(tmp_path / "out", a="new")
    for what in ("earlier", "partial"):
        write(beside(path, what), a="old")
    with locked(path):
        tidy(path)
        assert beside(path, "partial").exists() and beside(path, "earlier").exists()
    tidy(path)
    assert content(tmp_path) == {"out/a": "new"}


def test_what_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    require_empty(tmp_path / "none", "a run")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", ".nfs0001"):
        (tmp_path / name).write_text("")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    require_empty(tmp_path, "a run")
    said = re.escape(f"{tmp_path}: holds something else than a run, which is not replaced; choose")
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=said):
        require_empty(tmp_path, "a run")
    with pytest.raises(InputError, match="thesis.txt: holds something else"):
        require_empty(tmp_path / "thesis.txt", "a run")
