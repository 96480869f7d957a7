"""Fetching shards: whole, verified, only what is missing, and plain about what went wrong."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from server import Fault, Server, serving

from xmodal.config import InputError
from xmodal.data.vocabulary import read_vocabulary, write_vocabulary
from xmodal.files import locked
from xmodal.youtube8m import download as module
from xmodal.youtube8m.download import (
    DownloadConfig,
    Downloaded,
    download,
    in_part,
    safe_name,
)

SIZE = 100_000
TRAIN = ["trainaA.tfrecord", "trainAa.tfrecord", "train_0.tfrecord"]
VALIDATE = ["validate00.tfrecord"]
VOCABULARY = "/csv/2/vocabulary.csv"
PLAN = "/2/download_plans/video_train.json"
FIRST = "/2/video/train/trainaA.tfrecord"
"""Path of the shard that the tests harm; it is ``traina_a.tfrecord`` on disk."""


def content(name: str) -> bytes:
    return np.random.default_rng(list(name.encode())).bytes(SIZE)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Server, str]]:
    """Serve three training shards, one of validation, and a vocabulary, as YouTube-8M does."""
    write_vocabulary(tmp_path / "v.csv", ["Game", "Vehicle"], [2, 1])
    with serving() as (server, address):
        server.files[VOCABULARY] = (tmp_path / "v.csv").read_bytes()
        for split, names in {"train": TRAIN, "validate": VALIDATE}.items():
            server.files |= {f"/2/video/{split}/{name}": content(name) for name in names}
            plan = {"files": {name: md5(content(name)).hexdigest() for name in names}}
            server.files[f"/2/download_plans/video_{split}.json"] = json.dumps(plan).encode()
        (tmp_path / "v.csv").unlink()
        yield server, address


@pytest.fixture
def config(site: tuple[Server, str], tmp_path: Path) -> DownloadConfig:
    return DownloadConfig(folder=tmp_path / "yt8m", mirror=site[1], jobs=2, wait=0.01, timeout=5)


def changed(config: DownloadConfig, **changes: Any) -> DownloadConfig:
    return DownloadConfig(**{**config.model_dump(), **changes})


def there(folder: Path) -> dict[str, bytes]:
    """Return the visible files of a folder by name, and make sure that no partial is left."""
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    assert files.pop(".release").read_text() == "2\n"
    assert not [name for name in files if Path(name).name.startswith(".")]
    return {name: path.read_bytes() for name, path in files.items()}


def expected(server: Server) -> dict[str, bytes]:
    return {
        "vocabulary.csv": server.files[VOCABULARY],
        "train/traina_a.tfrecord": content("trainaA.tfrecord"),
        "train/train_aa.tfrecord": content("trainAa.tfrecord"),
        "train/train__0.tfrecord": content("train_0.tfrecord"),
        "validate/validate00.tfrecord": content("validate00.tfrecord"),
    }


def counts(done: Downloaded) -> tuple[int, int, int]:
    return done.fetched, done.present, len(done.failed)


# --- all is well ---------------------------------------------------------------------------------


def test_everything_comes_once_and_is_not_asked_for_again(site, config):
    server, _ = site
    done = download(config)
    assert there(config.folder) == expected(server)
    assert counts(done) == (5, 0, 0)
    assert done.received == 4 * SIZE + len(server.files[VOCABULARY])
    assert len(server.asked) == len(set(server.asked)) == 2 + 1 + 4
    server.asked.clear()
    assert counts(download(changed(config, splits=("train", "validate", "train")))) == (0, 5, 0)
    assert sorted(server.asked) == [PLAN, PLAN.replace("train", "validate")]


def test_the_parts_share_the_shards_out(site, config):
    seen = []
    for part in (1, 2, 3):
        one = changed(config, folder=config.folder / str(part), shards=(part, 3))
        try:
            download(changed(one, splits=("train",)))
        except InputError as error:
            assert "parts of the shards is empty" in str(error)
        seen.append({path.name for path in one.folder.glob("train/*")})
    assert seen == [
        {safe_name(name) for name in TRAIN if int(md5(name.encode()).hexdigest(), 16) % 3 == part}
        for part in range(3)
    ]


def test_parts_are_those_of_the_data_sets_own_script():
    # MD5 of "a" is 0cc1…2661 (RFC 1321): odd, and its last two digits are 0x61 = 97 of 256
    assert in_part("a", 2, 2) and not in_part("a", 1, 2)
    assert in_part("a", 98, 256)


EUROPE = """http://data.yt8m.org/2/download_plans/video_train.json
http://eu.data.yt8m.org/2/video/train/trainaA.tfrecord
https://research.google.com/youtube8m/csv/2/vocabulary.csv"""
OWN = """https://my.own/copy/1/download_plans/video_level_train.json
https://my.own/copy/1/video_level/train/trainaA.tfrecord
https://my.own/copy/csv/1/vocabulary.csv"""


@pytest.mark.parametrize(
    "mirror, release, addresses", [("eu", 2, EUROPE), ("https://my.own/copy/", 1, OWN)]
)
def test_a_mirror_is_asked_at_its_addresses(site, config, monkeypatch, mirror, release, addresses):
    asked = []
    plan = json.dumps({"files": {TRAIN[0]: md5(content(TRAIN[0])).hexdigest()}}).encode()
    bodies = {".json": plan, ".csv": site[0].files[VOCABULARY], ".tfrecord": content(TRAIN[0])}

    def read(session: requests.Session, url: str, timeout: float) -> bytes:
        asked.append(url)
        return bodies[Path(url).suffix]

    monkeypatch.setattr(module, "read", read)
    done = download(changed(config, release=release, mirror=mirror, splits=("train",)))
    assert counts(done) == (2, 0, 0) and set(asked) == set(addresses.split())


# --- names ---------------------------------------------------------------------------------------

NAMES = st.text("abcABC019_-.", max_size=8)


@given(NAMES)
def test_a_safe_name_is_lower_case(name):
    assert safe_name(name) == safe_name(name).lower()


@given(NAMES, NAMES)
def test_different_shards_never_share_a_safe_name(one, other):
    assert (safe_name(one).lower() == safe_name(other).lower()) == (one == other)


# --- interruptions and damage --------------------------------------------------------------------


@pytest.mark.parametrize(
    "faults",
    [
        [Fault(cut=40), Fault(cut=0)],
        [Fault(mute=True), Fault(stall=40)],
        [Fault(status=500), Fault(status=503, headers={"Retry-After": "0"})],
        [Fault(body=b"y" * SIZE)],
    ],
    ids=["cut", "silent", "busy", "wrong MD5"],
)
@pytest.mark.parametrize("path", [FIRST, VOCABULARY, PLAN])
def test_what_went_wrong_is_asked_for_again(site, config, faults, path):
    if path == PLAN and faults[0].body:
        return  # no MD5 tells what a plan should be: see below
    server, _ = site
    server.fail(path, *faults)
    assert counts(download(changed(config, timeout=0.2, tries=3))) == (5, 0, 0)
    assert there(config.folder) == expected(server)
    assert server.asked.count(path) == 1 + len(faults)


@pytest.mark.parametrize(
    "always, reason, times",
    [
        (Fault(body=b"y" * SIZE), "what the server sends has not the MD5 of the plan", 2),
        (Fault(cut=10), "the connection broke off", 3),
        (Fault(mute=True), "the server was silent for 0.1 s", 3),
        (Fault(status=404), "the server answers 404 (Not Found)", 1),
        (Fault(status=503), "the server answers 503 (Service Unavailable)", 3),
        (Fault(status=999), "the server answers 999 (no reason given)", 1),
    ],
    ids=["MD5", "cut", "mute", "404", "503", "999"],
)
def test_one_failed_file_is_listed_and_the_others_come(site, config, always, reason, times):
    server, address = site
    server.fail(FIRST, always=always)
    done = download(changed(config, tries=3, timeout=0.1))
    assert counts(done) == (4, 0, 1)
    assert done.failed == {"train/traina_a.tfrecord": f"{address}{FIRST}: {reason}"}
    assert server.asked.count(FIRST) == times
    whole = expected(server)
    del whole["train/traina_a.tfrecord"]
    assert there(config.folder) == whole
    server.fail(FIRST)
    assert counts(download(config)) == (1, 4, 0)


@pytest.mark.parametrize("fault", [Fault(status=404), Fault(body=b"<html>no</html>")])
def test_a_vocabulary_that_cannot_be_had_does_not_keep_the_shards_back(site, config, fault):
    site[0].fail(VOCABULARY, always=fault)
    done = download(config)
    assert counts(done) == (4, 0, 1) and list(done.failed) == ["vocabulary.csv"]
    assert "vocabulary.csv" not in there(config.folder)


def test_verify_finds_what_was_damaged_on_the_disk(site, config):
    download(config)
    damaged = config.folder / "train" / "train_aa.tfrecord"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    (config.folder / "vocabulary.csv").write_text("Index,Name\n0,Game\n0,Game\n")
    assert counts(download(config)) == (0, 5, 0)
    assert counts(download(changed(config, verify=True))) == (2, 3, 0)
    assert there(config.folder) == expected(site[0])
    assert read_vocabulary(config.folder / "vocabulary.csv") == ["Game", "Vehicle"]


KILLED = """
import os, sys
from xmodal.cli import main

def kill(event, details):
    if event == "os.rename" and str(details[0]).endswith("traina_a.tfrecord.partial"):
        os.kill(os.getpid(), 9)

sys.addaudithook(kill)
main()
"""


def test_a_download_killed_before_a_shard_has_its_name_fetches_that_shard_again(site, config):
    server, address = site
    words = ["download", "--jobs", "1", "--mirror", address, str(config.folder)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], stdout=subprocess.PIPE)
    assert killed.returncode == -signal.SIGKILL
    assert (config.folder / "train" / ".traina_a.tfrecord.partial").exists()
    present = set(config.folder.rglob("*.tfrecord")) | set(config.folder.rglob("*.csv"))
    assert config.folder / "train" / "train_aa.tfrecord" in present  # sorted before the other
    server.asked.clear()
    assert counts(download(config)) == (5 - len(present), len(present), 0)
    assert len(server.asked) == 2 + 5 - len(present)
    assert there(config.folder) == expected(server)


def test_ctrl_c_stops_at_once_and_says_how_to_go_on(site, config):
    server, address = site
    server.fail(FIRST, Fault(mute=True))
    words = [sys.executable, "-m", "xmodal", "download", "--split", "train", "--mirror", address]
    stopped = subprocess.Popen(
        [*words, str(config.folder)],
        **{"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # nohup ignores it
    )
    assert server.silent.wait(120)
    stopped.send_signal(signal.SIGINT)
    out, err = stopped.communicate(timeout=20)  # the server would be given 30 s
    assert (stopped.returncode, out) == (130, "")
    assert err == "xmodal: stopped; the same command goes on where it was.\n"
    assert there(config.folder).items() <= expected(server).items()


# --- nothing goes --------------------------------------------------------------------------------


def closed_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_a_server_that_is_not_there_is_given_up_at_once(config):
    with pytest.raises(InputError, match=r"no connection to the server \(Connection refused\).*mi"):
        download(changed(config, mirror=closed_port(), wait=60))
    assert not config.folder.exists()


def test_an_unknown_host_is_named(config, monkeypatch):
    def unknown(*args, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(InputError, match=r"http://no\.such/2/.*: the host is unknown"):
        download(changed(config, mirror="http://no.such"))


@pytest.mark.parametrize("mirror", ["http://", "http://[bad"])
def test_an_address_that_is_none_is_refused(config, mirror):
    with pytest.raises(InputError, match=r"/video_train\.json: cannot be asked for"):
        download(changed(config, mirror=mirror))


def test_something_that_speaks_no_tls_is_not_asked_twice(site, config):
    mirror = site[1].replace("http:", "https:")
    with pytest.raises(InputError, match=r"no secure connection to the server \(.*SSL"):
        download(changed(config, mirror=mirror, wait=60))


@pytest.mark.parametrize(
    "fault, reason",
    [
        (Fault(status=404), "answers 404 .*release .2., the split .train. and the mirror"),
        (Fault(status=403), "answers 403 .*release .2., the split .train. and the mirror"),
        (Fault(status=503), "answers 503 "),
        (Fault(body=b"<html>"), "is no YouTube-8M download plan"),
        (Fault(body=b'{"files": {"../../x": "%s"}}' % (b"0" * 32)), "is no YouTube-8M download"),
        (Fault(body=b'{"files": {"x.tfrecord": "00"}}'), "is no YouTube-8M download plan"),
    ],
    ids=["404", "403", "503", "no JSON", "a path", "no MD5"],
)
def test_without_a_plan_nothing_is_begun(site, config, fault, reason):
    site[0].fail(PLAN, always=fault)
    with pytest.raises(InputError, match=f"{PLAN}.*{reason}"):
        download(changed(config, tries=2))
    assert not config.folder.exists()


def send_elsewhere(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """Make a server unreachable for addresses that contain a word."""
    get = requests.Session.get
    gone = closed_port()
    monkeypatch.setattr(
        requests.Session,
        "get",
        lambda self, url, **options: get(self, gone if word in url else url, **options),
    )


def test_a_server_that_goes_away_stops_all(site, config, monkeypatch):
    send_elsewhere(monkeypatch, "/2/video/train/")
    with pytest.raises(InputError, match="the same command goes on when it is back"):
        download(changed(config, tries=2, splits=("train",), jobs=1))
    assert there(config.folder) == {"vocabulary.csv": site[0].files[VOCABULARY]}


def test_the_shards_come_without_the_vocabularys_server(site, config, monkeypatch):
    send_elsewhere(monkeypatch, VOCABULARY)
    done = download(changed(config, tries=2))
    assert counts(done) == (4, 0, 1) and "no connection" in done.failed["vocabulary.csv"]


def test_a_disk_that_runs_full_stops_all_and_keeps_what_came(site, config, monkeypatch):
    """What is under way then neither goes on nor comes to the disk."""
    server, _ = site
    server.fail(FIRST, Fault(mute=True))
    sync = os.fsync
    synced = []

    def full(descriptor: int) -> None:
        assert server.silent.wait(120)
        synced.append(descriptor)
        if len(synced) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left.* is kept"):
        download(changed(config, jobs=5))
    kept = there(config.folder)
    assert len(kept) == 2 and kept.items() <= expected(server).items()
    server.over.set()  # the connection breaks, which would else be worth another try
    until(lambda: not [thread for thread in threading.enumerate() if "worker" in thread.name])
    assert server.asked.count(FIRST) == 1 and there(config.folder) == kept
    monkeypatch.undo()
    assert counts(download(config)) == (3, 2, 0)
    assert there(config.folder) == expected(server)


def until(holds) -> None:
    for _ in range(2000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it never came about")


def test_a_folder_that_cannot_be_made_is_named(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/below: cannot be written"):
        download(changed(config, folder=tmp_path / "file" / "below"))


def test_two_processes_do_not_fetch_to_one_folder(config):
    with (
        locked(config.folder),
        pytest.raises(InputError, match=f"process {os.getpid()} on .* is writing there"),
    ):
        download(config)
    assert not download(config).failed


def test_releases_do_not_mix_in_one_folder(site, config):
    server, _ = site
    download(config)
    server.files |= {
        path.replace("/2/", "/1/").replace("video_", "video_level_"): text
        for path, text in server.files.items()
    }
    with pytest.raises(InputError, match="holds release 2 of YouTube-8M; choose another folder"):
        download(changed(config, release=1))
    assert there(config.folder) == expected(server)


# --- the command ---------------------------------------------------------------------------------


def test_the_command_sums_up_what_it_did_and_what_comes_next(site, config, call):
    words = ["--mirror", site[1], "--split", "train", "--split", "validate", "--shards", "1,1"]
    status, out, err = call("download", *words, "--jobs", 1, config.folder)
    assert (status, err) == (0, "")
    assert there(config.folder) == expected(site[0])
    first, *rest = out.splitlines()
    assert first.startswith(f"{config.folder}: 5 files fetched, 0 already there, 0 failed; 0.4 MB ")
    shards = f"{config.folder} VOCABULARY={config.folder}/vocabulary.csv"
    assert rest[0] == f"next: make yt8m SHARDS={shards}"
    assert rest[1].startswith("or:   xmodal prepare shards=")


def test_the_command_fails_when_a_file_does(site, config, call):
    site[0].fail(FIRST, always=Fault(status=404))
    status, out, err = call("download", "--mirror", site[1], config.folder)
    assert status == 2
    assert out.splitlines()[1].startswith("failed: train/traina_a.tfrecord: http://127.0.0.1:")
    assert err.startswith("xmodal: 1 of 5 files could not be fetched; the same command tries")


@pytest.mark.parametrize(
    "words, said",
    [
        (["--shards", "0,5"], "m,n needs an m from 1 to n"),
        (["--shards", "6,5"], "m,n needs an m from 1 to n"),
        (["--shards", "five"], "parameter shards"),
        (["--split", "test"], "parameter splits.0: Input should be 'train' or 'validate'"),
        (["--release", "3"], "parameter release: Input should be 1 or 2"),
        (["--mirror", "africa"], "a mirror is us, eu, asia or an address"),
        (["--jobs", "0"], "parameter jobs"),
    ],
)
def test_a_wrong_option_is_refused_in_one_sentence(tmp_path, call, words, said):
    status, out, err = call("download", *words, tmp_path / "new")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err and not (tmp_path / "new").exists()


def test_the_command_has_the_defaults_of_the_configuration(tmp_path, call, monkeypatch):
    taken = []
    done = Downloaded(tmp_path, 0, 0, {}, 0, 1)
    monkeypatch.setattr("xmodal.youtube8m.download.download", lambda c: taken.append(c) or done)
    assert call("download", tmp_path)[0] == 0
    assert taken == [DownloadConfig(folder=tmp_path)]
