"""Fetching shards: whole, verified, only what is missing, and plain about what went wrong."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from server import Fault, Server, serving

from xmodal.config import InputError
from xmodal.data.vocabulary import write_vocabulary
from xmodal.files import locked
from xmodal.youtube8m import download as module
from xmodal.youtube8m.download import DownloadConfig, download, in_part, safe_name

TRAIN = ["trainaA.tfrecord", "trainAa.tfrecord", "train_0.tfrecord"]
VALIDATE = ["validate00.tfrecord"]
VOCABULARY = "/csv/2/vocabulary.csv"
PLAN = "/2/download_plans/video_train.json"
FIRST = "/2/video/train/trainaA.tfrecord"
"""Path of the shard that the tests harm; it is ``traina_a.tfrecord`` on disk."""


def content(name: str) -> bytes:
    return np.random.default_rng(list(name.encode())).bytes(100_000)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serve three training shards, one of validation, and a vocabulary, as YouTube-8M does."""
    monkeypatch.setattr(time, "sleep", lambda _: None)  # nothing waits to try again
    with serving() as site:
        write_vocabulary(tmp_path / "v.csv", ["Game", "Vehicle"], [2, 1])
        site.files[VOCABULARY] = (tmp_path / "v.csv").read_bytes()
        for split, names in {"train": TRAIN, "validate": VALIDATE}.items():
            site.files |= {f"/2/video/{split}/{name}": content(name) for name in names}
            plan = {"files": {name: md5(content(name)).hexdigest() for name in names}}
            site.files[f"/2/download_plans/video_{split}.json"] = json.dumps(plan).encode()
        yield site


@pytest.fixture
def config(site: Server, tmp_path: Path) -> DownloadConfig:
    return DownloadConfig(folder=tmp_path / "yt8m", mirror=site.address, jobs=2)


def test_missing_certificates_are_told(config: DownloadConfig, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    with pytest.raises(InputError, match="/nowhere/ca.pem"):
        download(config.model_copy(update={"mirror": "https://localhost:1"}))


def there(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def expected(site: Server) -> dict[str, bytes]:
    return {
        "vocabulary.csv": site.files[VOCABULARY],
        "train/traina_a.tfrecord": content("trainaA.tfrecord"),
        "train/train_aa.tfrecord": content("trainAa.tfrecord"),
        "train/train__0.tfrecord": content("train_0.tfrecord"),
        "validate/validate00.tfrecord": content("validate00.tfrecord"),
    }


def counts(done: dict[str, str]) -> tuple[int, int, list[str]]:
    failed = [path for path in done if done[path] not in ("fetched", "present")]
    return *map([*done.values()].count, ("fetched", "present")), failed


def test_only_what_is_missing_or_damaged_is_asked_for(site, config, tmp_path):
    assert counts(download(config)) == (5, 0, [])
    assert there(config.folder) == expected(site)
    assert len(site.asked) == len(set(site.asked)) == 2 + 1 + 4
    (tmp_path / "own").touch()
    modes = {path.stat().st_mode for path in config.folder.glob("train/*")}
    assert modes == {(tmp_path / "own").stat().st_mode}
    site.asked.clear()
    assert counts(download(config)) == (0, 5, [])
    assert sorted(site.asked) == [PLAN, PLAN.replace("train", "validate")]
    damaged = config.folder / "train" / "train_aa.tfrecord"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    (config.folder / "vocabulary.csv").unlink()
    assert counts(download(config)) == (2, 3, [])
    assert there(config.folder) == expected(site)


def test_parts_are_those_of_the_data_sets_own_script(site, config):
    # MD5 of "a" is 0cc1…2661 (RFC 1321): odd, and its last two digits are 0x61 = 97 of 256
    assert in_part("a", 2, 2) and not in_part("a", 1, 2)
    assert in_part("a", 98, 256)
    download(config.model_copy(update={"shards": (2, 2)}))
    names = {safe_name(name) for name in TRAIN if in_part(name, 2, 2)}
    assert {path.name for path in config.folder.glob("train/*")} == names
    with pytest.raises(InputError, match="part"):
        download(config.model_copy(update={"shards": (1, 10_000)}))


EUROPE = {
    "http://data.yt8m.org/2/download_plans/video_train.json": PLAN,
    "http://eu.data.yt8m.org/2/video/train/trainaA.tfrecord": FIRST,
    "http://eu.data.yt8m.org/2/video/train/trainAa.tfrecord": FIRST.replace("aA", "Aa"),
    "http://eu.data.yt8m.org/2/video/train/train_0.tfrecord": FIRST.replace("aA", "_0"),
    "https://research.google.com/youtube8m/csv/2/vocabulary.csv": VOCABULARY,
}


def test_a_mirror_is_asked_at_its_addresses(site, config, monkeypatch):
    get = requests.Session.get
    monkeypatch.setattr(
        requests.Session, "get", lambda own, url, **how: get(own, site.address + EUROPE[url], **how)
    )
    done = download(config.model_copy(update={"mirror": "eu", "splits": ("train",)}))
    assert counts(done) == (4, 0, []) and len(site.asked) == 5


NAMES = st.text("abcABC019_-.", max_size=8)


@given(NAMES, NAMES)
def test_different_shards_never_share_a_safe_name(one, other):
    assert safe_name(one) == safe_name(one).lower()
    assert (safe_name(one) == safe_name(other)) == (one == other)


@pytest.mark.parametrize(
    "faults",
    [[Fault(503), Fault(500)], [Fault(cut=40)], [Fault(mute=True)], [Fault(body=b"y" * 100_000)]],
)
def test_what_went_wrong_is_asked_for_again(site, config, faults, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.5)
    site.faults[FIRST] = list(faults)
    assert counts(download(config)) == (5, 0, [])
    assert there(config.folder) == expected(site)
    assert site.asked.count(FIRST) == 1 + len(faults)


@pytest.mark.parametrize(
    ("path", "fault"), [(FIRST, Fault(cut=10)), (FIRST, Fault(503)), (VOCABULARY, Fault(404))]
)
def test_one_failed_file_is_listed_and_the_others_come(site, config, path, fault):
    site.always[path] = fault
    name = "vocabulary.csv" if path == VOCABULARY else "train/traina_a.tfrecord"
    assert counts(download(config)) == (4, 0, [name])
    assert there(config.folder) == {k: v for k, v in expected(site).items() if k != name}
    site.always.clear()
    assert counts(download(config)) == (1, 4, [])


def test_ctrl_c_stops_at_once_and_says_how_to_go_on(site, config):
    site.faults[FIRST] = [Fault(mute=True)]
    words = [sys.executable, "-m", "xmodal", "download", "--mirror", site.address]
    stopped = subprocess.Popen(
        [*words, str(config.folder)],
        **{"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # nohup ignores it
    )
    assert site.silent.wait(120)
    stopped.send_signal(signal.SIGINT)
    out, err = stopped.communicate(timeout=20)  # the server would be given 30 s
    assert (stopped.returncode, out, err.count("\n")) == (130, "", 1)


OUTSIDE = b'{"files": {"../../x": "%s"}}' % (b"0" * 32)


@pytest.mark.parametrize("body", [None, b"<html>", OUTSIDE, b'{"files": {"x.tfrecord": "00"}}'])
def test_without_a_plan_nothing_is_begun(site, config, body):
    site.always[PLAN] = Fault(200 if body else 404, body)
    with pytest.raises(InputError, match=PLAN):
        download(config)
    assert not config.folder.exists()


def test_a_disk_that_runs_full_stops_all_and_keeps_what_came(site, config, monkeypatch):
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if content == site.files[FIRST]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="space"):
        download(config)
    left = {name: body for name, body in there(config.folder).items() if "." in name}
    assert left.items() <= expected(site).items()  # "tmp" may be of another thread
    monkeypatch.undo()
    assert not counts(download(config))[2] and there(config.folder) == expected(site)


def test_two_processes_do_not_fetch_to_one_folder(config):
    with locked(config.folder), pytest.raises(InputError, match="another process"):
        download(config)


def test_the_command(site: Server, config: DownloadConfig, call: Callable):
    words = ["--mirror", site.address, "--split", "train", "--split", "validate", config.folder]
    site.always[VOCABULARY] = Fault(404)
    status, out, err = call("download", "--shards", "1,1", *words)
    assert status == 2 and "vocabulary.csv" in out and err.count("\n") == 1
    site.always.clear()
    status, out, err = call("download", "--jobs", 1, *words)
    assert (status, err, out.count("\n")) == (0, "", 1)
    assert there(config.folder) == expected(site)
