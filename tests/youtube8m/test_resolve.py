"""YouTube ids: asked for once, at a rate, and noted at once."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from server import Fault, Server, serving

from xmodal.config import InputError
from xmodal.youtube8m.resolve import ResolveConfig, read_youtube_ids, resolve

FOUND = {"nXSc": "abcdefghijk", "AB12": "-_-_-_-_-_0", "ab12": "ABCDEFGHIJK"}
GONE, FORBIDDEN = "gone", "priv"


def path_of(clip: str) -> str:
    return f"/2/j/i/{clip[:2]}/{clip}.js"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serve three ids, one that is deleted (404) and one that is private (403)."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with serving() as site:
        for clip, youtube_id in FOUND.items():
            site.files[path_of(clip)] = f'i("{clip}","{youtube_id}");'.encode()
        site.always[path_of(FORBIDDEN)] = Fault(403)
        yield site


@pytest.fixture
def config(site: Server, tmp_path: Path) -> ResolveConfig:
    cache = tmp_path / "new" / "ids.csv"
    return ResolveConfig(ids=(*FOUND, GONE, FORBIDDEN), cache=cache, server=site.address, rate=1e6)


def counts(found: int, deleted: int, known: int) -> dict[str, int]:
    return {"found": found, "deleted": deleted, "known": known}


def test_ids_are_found_noted_and_never_asked_for_again(site, config):
    assert resolve(config) == counts(3, 2, 0)
    assert read_youtube_ids(config.cache) == {**FOUND, GONE: None, FORBIDDEN: None}
    assert config.cache.read_text().splitlines()[:2] == ["id,youtube_id", "nXSc,abcdefghijk"]
    assert site.asked == [path_of(clip) for clip in config.ids]
    site.asked.clear()
    site.files[path_of("more")] = b'i("more","00000000000");\n'
    assert resolve(config.model_copy(update={"ids": ("more", "nXSc", "more")})) == counts(1, 0, 1)
    assert site.asked == [path_of("more")]


def test_a_busy_server_is_asked_again(site, config):
    site.faults[path_of("nXSc")] = [Fault(429), Fault(503)]
    assert resolve(config)["found"] == 3
    assert site.asked.count(path_of("nXSc")) == 3


def test_requests_keep_to_the_rate(config, monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    resolve(config.model_copy(update={"rate": 4}))
    assert slept == [0.25] * 5


BODIES = (b'i("AB13","abcdefghijk");', b"<html>log in</html>")
FAULTS = [Fault(503), Fault(401), Fault(cut=5), *(Fault(body=body) for body in BODIES)]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_another_answer_is_no_deleted_video(site, config, fault):
    site.always[path_of("AB12")] = fault
    with pytest.raises(InputError, match=r"AB/AB12\.js"):
        resolve(config)
    assert read_youtube_ids(config.cache) == {"nXSc": FOUND["nXSc"]}


def test_a_killed_call_loses_nothing(site, config):
    site.faults[path_of("ab12")] = [Fault(mute=True)]
    words = [sys.executable, "-m", "xmodal", "resolve", "--server", site.address, "--rate", "1e6"]
    ids = [word for clip in FOUND for word in ("--id", clip)]
    killed = subprocess.Popen([*words, "--cache", str(config.cache), *ids], env=dict(os.environ))
    assert site.silent.wait(120)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert read_youtube_ids(config.cache) == {clip: FOUND[clip] for clip in ("nXSc", "AB12")}
    assert resolve(config) == counts(1, 2, 2)


CUT = b"id,youtube_id\nabcd,"  # not to be taken for a deleted video


@pytest.mark.parametrize("text", [b"id,name\n", CUT + b"short\n", CUT, b"\xff"])
def test_another_file_is_no_cache_and_stays_as_it_is(config, text):
    config.cache.parent.mkdir()
    config.cache.write_bytes(text)
    with pytest.raises(InputError, match=re.escape(str(config.cache))):
        resolve(config)
    assert config.cache.read_bytes() == text


def test_the_command(site: Server, config: ResolveConfig, call: Callable):
    words = ["--cache", config.cache, "--server", site.address + "/", "--rate", "1e6"]
    status, out, err = call("resolve", *words, "--id", "nXSc", "--id", GONE)
    assert (status, err, out.count("\n")) == (0, "", 1)
    assert site.asked == [path_of("nXSc"), path_of(GONE)]


@pytest.mark.parametrize("words", [[], ["--id", "../x"], ["nowhere"]], ids=" ".join)
def test_what_names_no_clips_is_refused_in_one_sentence(tmp_path, monkeypatch, call, words):
    monkeypatch.chdir(tmp_path)
    status, out, err = call("resolve", *words)
    assert (status, out, err.count("\n")) == (2, "", 1) and not list(tmp_path.iterdir())
