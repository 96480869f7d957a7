"""Fetching shards: whole, verified, resumed, and plain about what went wrong."""

import errno
import fcntl
import json
import os
import shutil
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
from xmodal.youtube8m import transfer
from xmodal.youtube8m.download import DownloadConfig, Downloaded, download
from xmodal.youtube8m.plan import Source, in_part, original_name, safe_name
from xmodal.youtube8m.transfer import CHUNK, Progress

SIZE = 300_000
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
    assert counts(download(config)) == (0, 5, 0)
    assert {path for path, _ in server.asked} == {PLAN, PLAN.replace("train", "validate")}


@pytest.mark.parametrize("parts", [2, 3])
def test_the_parts_share_the_shards_out(site, config, parts):
    server, _ = site
    seen = []
    for part in range(1, parts + 1):
        server.asked.clear()
        wanted = [
            name for name in TRAIN if int(md5(name.encode()).hexdigest(), 16) % parts == part - 1
        ]
        one = changed(config, folder=config.folder / str(part), shards=(part, parts))
        try:
            download(changed(one, splits=("train",)))
        except InputError as error:
            assert not wanted and "is empty" in str(error)
        got = [path.split("/")[-1] for path, _ in server.asked if path.startswith("/2/video/")]
        assert sorted(got) == sorted(wanted)
        seen += got
    assert sorted(seen) == sorted(TRAIN)


def test_parts_are_those_of_the_data_sets_own_script():
    # MD5 of "a" is 0cc1…2661 (RFC 1321): odd, and its last two digits are 0x61 = 97 of 256
    assert in_part("a", 2, 2) and not in_part("a", 1, 2)
    assert in_part("a", 98, 256)


def test_google_is_asked_at_its_addresses():
    assert Source("eu", 2).plan("train") == "http://data.yt8m.org/2/download_plans/video_train.json"
    assert Source("eu", 2).shard("train", "trainaA.tfrecord") == (
        "http://eu.data.yt8m.org/2/video/train/trainaA.tfrecord"
    )
    assert Source("us", 1).shard("validate", "x") == (
        "http://us.data.yt8m.org/1/video_level/validate/x"
    )
    assert Source("us", 1).plan("train").endswith("/1/download_plans/video_level_train.json")
    assert Source("asia", 2).vocabulary() == (
        "https://research.google.com/youtube8m/csv/2/vocabulary.csv"
    )


def test_the_bar_expects_the_mean_size_of_the_files_seen_for_all():
    progress = Progress(4)
    progress.size(Path("a"), 100)
    assert progress.bar.total == 400
    progress.size(Path("b"), 300)
    progress.size(Path("b"), 300)  # asked for again after an interruption
    assert progress.bar.total == 800


@pytest.mark.parametrize("ignored", [False, True])
def test_the_size_of_a_resumed_file_is_its_whole_size(site, config, monkeypatch, ignored):
    sizes = []
    monkeypatch.setattr(Progress, "size", lambda self, path, size: sizes.append(size))
    partial_of(config, content("trainaA.tfrecord")[:1000])
    site[0].fail(FIRST, Fault(ignores_range=ignored))
    download(config)
    assert sizes == [SIZE] * 4


# --- names ---------------------------------------------------------------------------------------

NAMES = st.text("abcABC019_-.", max_size=8)


@given(NAMES)
def test_a_safe_name_is_lower_case_and_can_be_undone(name):
    assert safe_name(name) == safe_name(name).lower()
    assert original_name(safe_name(name)) == name


@given(NAMES, NAMES)
def test_different_shards_never_share_a_safe_name(one, other):
    assert (safe_name(one).lower() == safe_name(other).lower()) == (one == other)


# --- interruptions -------------------------------------------------------------------------------


def test_a_body_cut_short_goes_on_where_it_broke(site, config):
    server, _ = site
    server.fail(FIRST, Fault(cut=100_000), Fault(cut=150_000))
    done = download(config)
    assert there(config.folder) == expected(server)
    assert counts(done) == (5, 0, 0)
    first, second, third = server.first_bytes(FIRST)
    assert first == 0 and 100_000 - CHUNK <= second <= 100_000 < third <= second + 150_000
    assert SIZE <= server.sent[FIRST] <= SIZE + 2 * CHUNK


def test_a_silent_server_is_asked_again(site, config):
    server, _ = site
    server.fail(FIRST, Fault(mute=True), Fault(stall=200_000))
    download(changed(config, timeout=0.2))
    assert there(config.folder) == expected(server)
    assert server.first_bytes(FIRST)[:2] == [0, 0]
    assert server.first_bytes(FIRST)[2] >= 200_000 - CHUNK


def test_a_busy_server_is_asked_again(site, config):
    server, _ = site
    server.fail(FIRST, Fault(status=500), Fault(status=503, headers={"Retry-After": "0"}))
    server.fail(PLAN, Fault(status=502))
    server.fail(VOCABULARY, Fault(status=503))
    assert counts(download(config)) == (5, 0, 0)


def test_a_killed_download_goes_on_in_the_middle_of_a_file(site, config):
    server, address = site
    server.fail(FIRST, Fault(stall=200_000))
    words = [sys.executable, "-m", "xmodal", "download", "--split", "train", "--mirror", address]
    killed = subprocess.Popen([*words, str(config.folder)], stdout=subprocess.PIPE)
    partial = config.folder / "train" / ".traina_a.tfrecord.partial"
    others = [config.folder / "train" / safe_name(name) for name in TRAIN[1:]]
    until(lambda: size(partial) >= CHUNK and all(map(size, others)))
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    left = size(partial)
    server.asked.clear()
    assert counts(download(changed(config, splits=("train",)))) == (1, 3, 0)
    assert server.asked == [(PLAN, 0), (FIRST, left)]
    assert there(config.folder)["train/traina_a.tfrecord"] == content("trainaA.tfrecord")


def test_ctrl_c_stops_at_once_and_says_how_to_go_on(site, config):
    server, address = site
    server.fail(FIRST, Fault(mute=True))
    words = [sys.executable, "-m", "xmodal", "download", "--split", "train", "--mirror", address]
    stopped = subprocess.Popen(
        [*words, str(config.folder)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.silent.wait(20)
    stopped.send_signal(signal.SIGINT)
    out, err = stopped.communicate(timeout=20)  # the server would be given 30 s
    assert (stopped.returncode, out) == (130, "")
    assert err == "xmodal: stopped; the same command goes on where it was.\n"


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def until(holds) -> None:
    for _ in range(2000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it never came about")


def partial_of(config: DownloadConfig, text: bytes) -> Path:
    """Leave the beginning of a shard, as an earlier call would have."""
    (config.folder / "train").mkdir(parents=True)
    partial = config.folder / "train" / ".traina_a.tfrecord.partial"
    partial.write_bytes(text)
    return partial


@pytest.mark.parametrize(
    "left, asked",
    [
        (content("trainaA.tfrecord")[:1000], [1000]),
        (content("trainaA.tfrecord"), []),  # whole, only not yet renamed
        (content("trainaA.tfrecord") + b"more", [SIZE + 4, 0]),  # 416
        (b"x" * SIZE, [SIZE, 0]),  # 416, as long as the file but another
        (b"x" * 1000, [1000, 0]),  # found by the MD5 of the whole
    ],
    ids=["begun", "whole", "longer", "as long", "other bytes"],
)
def test_what_an_earlier_call_left_is_used_if_it_is_good(site, config, left, asked):
    server, _ = site
    partial_of(config, left)
    assert counts(download(config)) == (5, 0, 0)
    assert there(config.folder) == expected(server)
    assert server.first_bytes(FIRST) == asked


@pytest.mark.parametrize(
    "fault, asked",
    [
        (Fault(ignores_range=True), [1000]),
        (Fault(headers={"Content-Range": "bytes 0-299999/300000"}), [1000, 0]),
        (Fault(headers={"Content-Range": "nonsense"}), [1000, 0]),
    ],
    ids=["status 200", "another range", "no range"],
)
def test_a_server_that_does_not_resume_sends_the_file_again(site, config, fault, asked):
    server, _ = site
    partial_of(config, content("trainaA.tfrecord")[:1000])
    server.fail(FIRST, fault)
    assert counts(download(config)) == (5, 0, 0)
    assert there(config.folder) == expected(server)
    assert server.first_bytes(FIRST) == asked


def test_a_file_that_changed_size_meanwhile_is_fetched_from_zero(site, config):
    server, _ = site
    partial_of(config, b"old" * 1000)
    server.files[FIRST] = new = b"another file" * 1000
    server.files[PLAN] = json.dumps({"files": {TRAIN[0]: md5(new).hexdigest()}}).encode()
    assert counts(download(changed(config, splits=("train",)))) == (2, 0, 0)
    assert there(config.folder)["train/traina_a.tfrecord"] == new
    assert server.first_bytes(FIRST) == [3000, 0]


# --- damage --------------------------------------------------------------------------------------


def test_a_wrong_md5_is_fetched_once_more_from_zero(site, config):
    server, _ = site
    server.fail(FIRST, Fault(body=b"y" * SIZE))
    assert counts(download(config)) == (5, 0, 0)
    assert there(config.folder) == expected(server)
    assert server.first_bytes(FIRST) == [0, 0]


@pytest.mark.parametrize(
    "always, said, times",
    [
        (Fault(body=b"y" * SIZE), "has not the MD5 of the plan", 2),
        (Fault(status=404), "the server answers 404 (Not Found)", 1),
        (Fault(status=503), "the server answers 503 (Service Unavailable)", 3),
        (Fault(status=999), "the server answers 999 (no standard status)", 1),
    ],
    ids=["MD5", "404", "503", "999"],
)
def test_one_failed_file_is_told_and_the_others_come(site, config, always, said, times):
    server, address = site
    server.fail(FIRST, always=always)
    done = download(changed(config, tries=3))
    assert counts(done) == (4, 0, 1)
    assert said in done.failed["train/traina_a.tfrecord"]
    assert f"{address}{FIRST}" in done.failed["train/traina_a.tfrecord"]
    assert len(server.first_bytes(FIRST)) == times
    whole = expected(server)
    del whole["train/traina_a.tfrecord"]
    assert there(config.folder) == whole
    server.fail(FIRST)
    assert counts(download(config)) == (1, 4, 0)


@pytest.mark.parametrize("fault", [Fault(status=404), Fault(body=b"<html>no</html>")])
def test_a_vocabulary_that_cannot_be_had_does_not_keep_the_shards_back(site, config, fault):
    server, _ = site
    server.fail(VOCABULARY, always=fault)
    done = download(config)
    assert counts(done) == (4, 0, 1) and list(done.failed) == ["vocabulary.csv"]
    assert "vocabulary.csv" not in there(config.folder)


def test_verify_finds_what_was_damaged_on_the_disk(site, config):
    server, _ = site
    download(config)
    damaged = config.folder / "train" / "train_aa.tfrecord"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    (config.folder / "vocabulary.csv").write_text("Index,Name\n0,Game\n0,Game\n")
    assert counts(download(config)) == (0, 5, 0)
    assert counts(download(changed(config, verify=True))) == (2, 3, 0)
    assert there(config.folder) == expected(server)
    assert read_vocabulary(config.folder / "vocabulary.csv") == ["Game", "Vehicle"]


# --- nothing goes --------------------------------------------------------------------------------


def closed_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_a_server_that_is_not_there_is_told_at_once(config):
    with pytest.raises(InputError, match=r"no connection to the server \(Connection refused\).*mi"):
        download(changed(config, mirror=closed_port(), wait=60))
    assert not config.folder.exists()


def test_an_unknown_host_is_told(config, monkeypatch):
    def unknown(*args, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(InputError, match=r"http://no\.such/2/.*: the host is unknown"):
        download(changed(config, mirror="http://no.such"))


@pytest.mark.parametrize(
    "fault, said",
    [
        (Fault(status=404), "answers 404 .*release .2., the split .train. and the mirror"),
        (Fault(status=503), "answers 503 "),
        (Fault(body=b"<html>"), "is no YouTube-8M download plan"),
        (Fault(body=b'{"files": {"../../x": "%s"}}' % (b"0" * 32)), "is no YouTube-8M download"),
        (Fault(body=b'{"files": {"x.tfrecord": "00"}}'), "is no YouTube-8M download plan"),
    ],
    ids=["404", "503", "no JSON", "a path", "no MD5"],
)
def test_without_a_plan_nothing_is_begun(site, config, fault, said):
    site[0].fail(PLAN, always=fault)
    with pytest.raises(InputError, match=f"{PLAN}.*{said}"):
        download(changed(config, tries=2))
    assert not config.folder.exists()


def test_a_server_that_goes_away_stops_all(site, config, monkeypatch):
    server, _ = site
    asks = requests.Session.get
    monkeypatch.setattr(
        requests.Session,
        "get",
        lambda session, url, **options: asks(
            session, url if "/train/" not in url else closed_port(), **options
        ),
    )
    with pytest.raises(InputError, match="the same command goes on when it is back"):
        download(changed(config, tries=2, splits=("train",), jobs=1))
    assert not [path for path, _ in server.asked if path.startswith("/2/video/")]


@pytest.mark.parametrize("free", [SIZE - 1001, SIZE - 1000], ids=["one byte short", "just enough"])
def test_a_full_disk_is_told_before_writing(site, config, monkeypatch, free):
    server, _ = site
    digest = md5(server.files[FIRST]).hexdigest()
    server.files[PLAN] = json.dumps({"files": {TRAIN[0]: digest}}).encode()
    partial = partial_of(config, content("trainaA.tfrecord")[:1000])
    disk = shutil._ntuple_diskusage(10**9, 10**9 - free, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: disk)
    if free == SIZE - 1000:
        assert counts(download(changed(config, splits=("train",)))) == (2, 0, 0)
        return
    with pytest.raises(InputError, match=r"needs 0\.3 MB and the disk has 0\.3 MB left; make room"):
        download(changed(config, splits=("train",)))
    assert size(partial) == 1000


def test_a_disk_that_runs_full_stops_all_and_keeps_what_came(site, config, monkeypatch):
    server, _ = site
    opened = Path.open

    def open_full(path: Path, mode: str = "r", **options):
        file = opened(path, mode, **options)
        if mode != "ab" or "traina_a" not in path.name:
            return file
        return FullFile(file)

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left.*what was fetched is"):
        download(changed(config, jobs=1))
    monkeypatch.undo()
    left = size(config.folder / "train" / ".traina_a.tfrecord.partial")
    assert left == CHUNK
    server.asked.clear()
    assert not download(config).failed
    assert there(config.folder) == expected(server)
    assert server.first_bytes(FIRST) == [left]


def test_when_all_is_stopped_no_other_file_goes_on(site, config, monkeypatch):
    """A shard comes slowly while the disk refuses another: it stays where it is."""
    server, _ = site
    server.fail(FIRST, Fault(stall=200_000))
    partial = config.folder / "train" / ".traina_a.tfrecord.partial"
    opened = Path.open

    def refuse(path: Path, mode: str = "r", **options):
        if mode == "ab" and "train_aa" in path.name:
            until(lambda: size(partial) >= CHUNK)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return opened(path, mode, **options)

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(transfer, "STOPPING", 0)
    with pytest.raises(InputError, match="No space left"):
        download(changed(config, jobs=3))
    server.over.set()  # the connection breaks, which would else be worth another try
    until(lambda: not [t for t in threading.enumerate() if t.name.startswith("ThreadPool")])
    assert server.first_bytes(FIRST) == [0]
    assert CHUNK <= size(partial) <= 200_000


class FullFile:
    """A file on a disk that has room for one chunk."""

    def __init__(self, file):
        self.file, self.room = file, CHUNK

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def write(self, data: bytes) -> None:
        if len(data) > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= len(data)
        self.file.write(data)


def test_a_folder_that_cannot_be_made_is_told(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        download(changed(config, folder=tmp_path / "file" / "below"))


def test_two_processes_do_not_fetch_to_one_folder(config):
    config.folder.mkdir()
    with (config.folder / ".release").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is fetching to this folder"):
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


def test_the_command_tells_what_it_did_and_what_comes_next(site, config, call):
    words = ["--mirror", site[1], "--split", "train", "--split", "validate", "--shards", "1,1"]
    status, out, err = call("download", *words, "--jobs", 1, config.folder)
    assert (status, err) == (0, "")
    assert there(config.folder) == expected(site[0])
    first, *rest = out.splitlines()
    assert first.startswith(f"{config.folder}: 5 files fetched, 0 already there, 0 failed; 1.2 MB ")
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
def test_a_wrong_option_is_told_in_one_sentence(tmp_path, call, words, said):
    status, out, err = call("download", *words, tmp_path / "new")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err and not (tmp_path / "new").exists()


def test_the_command_has_the_defaults_of_the_configuration(tmp_path, call, monkeypatch):
    taken = []
    done = Downloaded(tmp_path, 0, 0, {}, 0, 1)
    monkeypatch.setattr("xmodal.youtube8m.download.download", lambda c: taken.append(c) or done)
    assert call("download", tmp_path)[0] == 0
    assert taken == [DownloadConfig(folder=tmp_path)]
