"""A file or folder appears whole or not at all, and one process at a time writes it."""

import csv
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from xmodal.config import InputError
from xmodal.files import atomic, hidden, locked, recover, replace, require_empty, spreadsheet

HOLD = """
import pathlib, sys, time, xmodal.files
with xmodal.files.locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def test_a_second_process_is_refused_until_the_first_ends(tmp_path: Path):
    out = tmp_path / "out"
    (tmp_path / "link").symlink_to(out)  # another name of the same folder
    words = [sys.executable, "-c", HOLD, str(out)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        for name in ("out", "link"):
            with pytest.raises(InputError, match=name), locked(tmp_path / name):
                pass
        with locked(tmp_path / "other"):
            process.send_signal(signal.SIGKILL)
    with locked(out):  # what a killed process leaves locks nothing
        pass
    assert not list(tmp_path.glob(".*"))


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path):
    folder = write(tmp_path / "out", "a", "old")
    with pytest.raises(KeyError), atomic(folder) as fresh:
        write(fresh, "a", "new")
        raise KeyError
    assert content(folder) == {"a": "old"} and not list(tmp_path.glob(".*"))
    with atomic(folder) as fresh:
        write(fresh, "b", "new")
        assert content(folder) == {"a": "old"}
    assert content(folder) == {"b": "new"} and not list(tmp_path.glob(".*"))


def test_a_link_is_kept_and_what_it_points_to_replaced(tmp_path: Path):
    folder, link = write(tmp_path / "disk" / "out", "a", "old"), tmp_path / "link"
    link.symlink_to(folder)
    with atomic(link) as fresh:
        write(fresh, "a", "new")
    assert link.is_symlink() and content(folder) == {"a": "new"}


@pytest.mark.parametrize(
    "killed_at", ["pathlib.Path.rename", "pathlib.Path.replace", "shutil.rmtree"]
)
def test_killed_while_replacing_one_of_the_two_is_there(
    tmp_path: Path, killed_at: str, monkeypatch: pytest.MonkeyPatch
):
    folder, fresh = write(tmp_path / "out", "a", "old"), write(tmp_path / "fresh", "a", "new")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(killed_at, killed)
        with pytest.raises(KeyboardInterrupt):
            replace(folder, fresh)
    recover(folder)
    assert content(folder) in ({"a": "old"}, {"a": "new"})
    assert not hidden(folder, "earlier").exists()


def test_a_folder_of_somebody_elses_is_refused(tmp_path: Path):
    require_empty(tmp_path / "none", "a run")
    require_empty(write(tmp_path / "hidden", ".DS_Store", ""), "a run")
    with pytest.raises(InputError, match="letters"):
        require_empty(write(tmp_path / "letters", "dear.txt", ""), "a run")


def test_a_spreadsheet_runs_no_text_and_keeps_numbers():
    texts = ["=1+1", "+a", "-dQw4w9WgXc", "@b", "\tc", "d=e", ""]
    table = pd.DataFrame({"text": texts, "number": np.arange(-3.0, 4), "whole": range(-3, 4)})
    rows = [*csv.reader(spreadsheet(table).splitlines())][1:]
    assert [text for text, *_ in rows] == [*(f"'{text}" for text in texts[:5]), *texts[5:]]
    assert [numbers for _, *numbers in rows] == [[f"{n}.0", str(n)] for n in range(-3, 4)]
