"""YouTube ids: asked once, politely, and noted at once."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from string import ascii_letters
from typing import Any

import numpy as np
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from server import Fault, Server, serving

from xmodal.config import InputError
from xmodal.data.framing import write_records
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.data.schema import Clip, encode_example
from xmodal.data.vocabulary import write_vocabulary
from xmodal.youtube8m import resolve as module
from xmodal.youtube8m.resolve import (
    SUSPICIOUS,
    ResolveConfig,
    Resolved,
    read_youtube_ids,
    resolve,
)

FOUND = {"nXSc": "abcdefghijk", "AB12": "-_-_-_-_-_0", "ab12": "ABCDEFGHIJK"}
GONE, FORBIDDEN = "gone", "priv"


def path_of(clip: str) -> str:
    return f"/2/j/i/{clip[:2]}/{clip}.js"


@pytest.fixture
def site() -> Iterator[tuple[Server, str]]:
    """Serve three ids, one that is deleted (404) and one that is private (403)."""
    with serving() as (server, address):
        for clip, youtube_id in FOUND.items():
            server.files[path_of(clip)] = f'i("{clip}","{youtube_id}");'.encode()
        server.fail(path_of(FORBIDDEN), always=Fault(status=403))
        yield server, address


@pytest.fixture
def config(site: tuple[Server, str], tmp_path: Path) -> ResolveConfig:
    return ResolveConfig(
        ids=(*FOUND, GONE, FORBIDDEN),
        cache=tmp_path / "new" / "ids.csv",
        server=site[1],
        rate=1e6,
        wait=0.01,
    )


def changed(config: ResolveConfig, **changes: Any) -> ResolveConfig:
    return ResolveConfig(**{**config.model_dump(), **changes})


def test_ids_are_found_noted_and_never_asked_for_again(site, config):
    server, _ = site
    assert resolve(config) == Resolved(3, 2, 0, config.cache)
    assert read_youtube_ids(config.cache) == {**FOUND, GONE: None, FORBIDDEN: None}
    assert config.cache.read_text().splitlines()[:2] == ["id,youtube_id", "nXSc,abcdefghijk"]
    assert server.asked == [path_of(clip) for clip in config.ids]
    server.asked.clear()
    assert resolve(config) == Resolved(0, 0, 5, config.cache)
    server.files[path_of("more")] = b'i("more","00000000000");\n'
    assert resolve(changed(config, ids=("more", "nXSc", "more"))) == Resolved(1, 0, 1, config.cache)
    assert server.asked == [path_of("more")]


# --- patience ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [*(Fault(status=status) for status in (408, 429, 500, 502, 503, 504)), Fault(cut=5)],
    ids=["408", "429", "500", "502", "503", "504", "cut"],
)
def test_a_busy_server_is_asked_again(site, config, fault):
    server, _ = site
    server.fail(path_of("nXSc"), fault, fault)
    assert resolve(config).found == 3
    assert server.asked.count(path_of("nXSc")) == 3


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the seconds of sleep asked for, which then are not slept; no pace is that slow."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", lambda s: seconds.append(s) if s > 1e-3 else None)
    return seconds


@pytest.mark.parametrize(
    "after, least",
    [("7", 7), ("Fri, 31 Dec 9999 23:59:59 GMT", 3600), ("soon", 0), ("", 0)],
    ids=["seconds", "date", "no time", "empty"],
)
def test_the_wait_a_server_asks_for_is_kept(site, config, slept, after, least):
    site[0].fail(path_of("nXSc"), Fault(status=429, headers={"Retry-After": after}))
    assert resolve(config).found == 3
    assert [wait >= least for wait in slept] == ([True] if least else [])


@pytest.mark.parametrize(
    "fault, said",
    [
        (Fault(status=503), "the server answers 503"),
        (Fault(cut=5), "the connection broke off"),
        (None, "no connection to the server"),  # after an answer, so the address is right
    ],
    ids=["503", "cut", "gone"],
)
def test_waits_grow_until_the_last_error_is_raised(site, config, slept, monkeypatch, fault, said):
    site[0].fail(path_of("AB12"), always=fault)
    if not fault:
        get = requests.Session.get
        with serving() as (_, gone):
            pass
        monkeypatch.setattr(
            requests.Session,
            "get",
            lambda self, url, **how: get(self, url if "nXSc" in url else gone, **how),
        )
    with pytest.raises(InputError, match=rf"AB12\.js: {said}"):
        resolve(changed(config, wait=2, tries=4))
    (second, third) = slept  # there is none before the first try again
    assert 4 <= second <= 6 and 8 <= third <= 10
    assert read_youtube_ids(config.cache) == {"nXSc": FOUND["nXSc"]}


def test_requests_keep_to_the_rate_with_retries_counted(site, config, monkeypatch):
    """On a clock that only sleeping moves, no second sees more than the rate."""
    now = [100.0]
    at: list[float] = []

    class Noted(list):
        def append(self, path: str) -> None:
            at.append(now[0])

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    site[0].asked = Noted()
    site[0].fail(path_of("AB12"), Fault(status=503))
    site[0].fail(path_of("ab12"), Fault(cut=5))
    resolve(changed(config, rate=4))
    assert np.diff(at).tolist() == [0.25] * 6


# --- what is not believed ------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_given_up_at_once(site, config):
    with serving() as (_, gone):
        pass
    with pytest.raises(InputError, match=r"no connection to the server .*the same command goes on"):
        resolve(changed(config, server=gone, wait=60))
    assert read_youtube_ids(config.cache) == {}


@pytest.mark.parametrize(
    "body",
    [
        b'i("AB13","abcdefghijk");',
        b'i("AB12","abcdefghij");',
        b'i("AB12","abcdefghij!");',
        b'x;i("AB12","abcdefghijk");',
        b"<html>log in</html>",
        b"",
        b"\xff",
    ],
)
def test_an_answer_of_another_form_is_refused(site, config, body):
    site[0].fail(path_of("AB12"), Fault(body=body))
    with pytest.raises(InputError, match=r"/2/j/i/AB/AB12\.js: the answer is not that of the look"):
        resolve(config)
    assert read_youtube_ids(config.cache) == {"nXSc": FOUND["nXSc"]}


def test_another_status_is_no_deleted_video(site, config):
    site[0].fail(path_of("AB12"), Fault(status=401))
    with pytest.raises(InputError, match=r"answers 401 \(Unauthorized\); check .*address"):
        resolve(config)
    assert read_youtube_ids(config.cache) == {"nXSc": FOUND["nXSc"]}


@pytest.mark.parametrize("found_first", [True, False])
def test_a_server_that_knows_no_id_at_all_is_not_believed(site, config, found_first):
    unknown = ["".join(word) for word in product("xyz", repeat=4)][: SUSPICIOUS + 5]
    ids = (["nXSc"] if found_first else []) + unknown
    with pytest.raises(InputError, match="50 ids in a row .* check the address of the server"):
        resolve(changed(config, ids=ids))
    assert read_youtube_ids(config.cache) == ({"nXSc": FOUND["nXSc"]} if found_first else {})
    assert resolve(changed(config, ids=unknown[: SUSPICIOUS - 1])).deleted == SUSPICIOUS - 1


def test_one_video_found_makes_the_deleted_ones_credible(config):
    unknown = ["".join(word) for word in product("xyz", repeat=4)][: SUSPICIOUS - 1]
    others = [clip.upper() for clip in unknown]
    done = resolve(changed(config, ids=(*unknown, "nXSc", *others)))
    assert (done.found, done.deleted) == (1, 2 * (SUSPICIOUS - 1))


# --- the cache -----------------------------------------------------------------------------------

IDS = st.dictionaries(
    st.text("abAB01", min_size=4, max_size=4),
    st.none() | st.text("abAB01-_", min_size=11, max_size=11),
    max_size=5,
)


@given(IDS, st.data())
def test_a_cache_cut_anywhere_gives_the_whole_lines(tmp_path_factory, ids, data):
    path = tmp_path_factory.getbasetemp() / "cut.csv"
    lines = ["id,youtube_id\n", *(f"{clip},{name or ''}\n" for clip, name in ids.items())]
    text = "".join(lines)
    cut = data.draw(st.integers(0, len(text)))
    path.write_text(text[:cut])
    whole = text[:cut].count("\n") - 1
    assert list(read_youtube_ids(path).items()) == list(ids.items())[: max(0, whole)]


def test_a_torn_last_line_is_dropped_and_asked_for_again(site, config):
    config.cache.parent.mkdir()
    config.cache.write_text("id,youtube_id\nnXSc,abcdefghijk\nAB12,-_-_")
    assert resolve(config) == Resolved(2, 2, 1, config.cache)
    assert read_youtube_ids(config.cache) == {**FOUND, GONE: None, FORBIDDEN: None}


def test_ids_of_release_1_are_youtubes_own(config):
    """They are noted like others, for links, and no server is asked."""
    config = config.model_copy(update={"ids": ("abcdefghij_", "-bcdefghijk")})
    assert resolve(config) == Resolved(2, 0, 0, config.cache)
    assert read_youtube_ids(config.cache) == {clip: clip for clip in config.ids}
    assert resolve(config) == Resolved(0, 0, 2, config.cache)


def test_a_killed_call_loses_nothing(site, config):
    server, address = site
    server.fail(path_of("ab12"), Fault(mute=True))
    words = [sys.executable, "-m", "xmodal", "resolve", "--server", address, "--rate", "1e6"]
    ids = [word for clip in FOUND for word in ("--id", clip)]
    killed = subprocess.Popen([*words, "--cache", str(config.cache), *ids], env=dict(os.environ))
    assert server.silent.wait(120)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert read_youtube_ids(config.cache) == {clip: FOUND[clip] for clip in ("nXSc", "AB12")}
    assert resolve(config) == Resolved(1, 2, 2, config.cache)


@pytest.mark.parametrize(
    "text, said",
    [
        (b"id,name\n", "is no CSV file of id,youtube_id"),
        (b"something else", "is no CSV file of id,youtube_id"),
        (b"\xff\xfe", "is no CSV file of id,youtube_id"),
        (b"id,youtube_id\nabcd,abcdefghijk\nabcd;abcdefghijk\n", "line 3 is not id,youtube_id"),
        (b"id,youtube_id\nabcd,short\n", "line 2 is not id,youtube_id"),
    ],
)
def test_another_file_is_no_cache_and_stays_as_it_is(site, config, text, said):
    config.cache.parent.mkdir()
    config.cache.write_bytes(text)
    with pytest.raises(InputError, match=f"{re.escape(str(config.cache))}: {said}"):
        resolve(config)
    assert config.cache.read_bytes() == text


def test_no_file_is_an_empty_cache_and_a_folder_is_none(tmp_path):
    assert read_youtube_ids(tmp_path / "none.csv") == {}
    with pytest.raises(InputError, match="cannot be read"):
        read_youtube_ids(tmp_path)


def test_a_cache_that_cannot_be_reached_is_named(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"ids.csv: cannot be read \(Not a directory"):
        resolve(changed(config, cache=tmp_path / "file" / "ids.csv"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_cache_on_a_full_disk_is_named(config, monkeypatch):
    monkeypatch.setattr(module, "_open_cache", lambda path: open("/dev/full", "ab"))  # noqa: SIM115
    with pytest.raises(InputError, match=r"ids.csv: cannot be written \(No space left on device\)"):
        resolve(config)


def test_the_ids_that_were_found_for_real_shards_are_read(real_shards):
    known = read_youtube_ids(real_shards / "youtube_ids.csv")
    assert len(known) > 1000
    assert 0 < sum(name is None for name in known.values()) < len(known) / 2


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture
def features(tmp_path: Path, make_clips: Callable[..., list[Clip]]) -> Path:
    """Prepare three shards of three clips; the ids are of YouTube-8M's form."""
    names = ["".join(word) for word in product(ascii_letters[:9], repeat=4)]
    for shard in range(3):
        clips = [
            clip._replace(id=names[3 * shard + row])
            for row, clip in enumerate(make_clips(3, shard))
        ]
        write_records(tmp_path / f"{shard}.tfrecord", map(encode_example, clips))
    write_vocabulary(tmp_path / "vocabulary.csv", list("abcdefg"), [1] * 7)
    out = tmp_path / "features"
    vocabulary = tmp_path / "vocabulary.csv"
    prepare(
        PrepareConfig(
            shards=tmp_path, out=out, vocabulary=vocabulary, evaluation_clips=3, validation_clips=2
        )
    )
    return out


@pytest.mark.parametrize("split, clips", [("evaluation", 3), ("validation", 2)])
def test_the_command_resolves_a_split_and_given_ids(site, config, call, features, split, clips):
    server, address = site
    ids = np.load(features / split / "ids.npy").tolist()
    for clip in ids:
        server.files[path_of(clip)] = f'i("{clip}","{clip}0123456");'.encode()
    words = ["--cache", config.cache, "--server", address + "/", "--rate", "1e6", features]
    words += ["--id", "nXSc", "--id", GONE, *(["--split", split] if split == "validation" else [])]
    status, out, err = call("resolve", *words)
    assert (status, err) == (0, "")
    assert out == f"{config.cache}: {clips + 1} found, 1 deleted videos, 0 already known\n"
    assert server.asked == [path_of(clip) for clip in ("nXSc", GONE, *ids)]
    assert set(read_youtube_ids(config.cache)) == {"nXSc", GONE, *ids}


@pytest.mark.parametrize(
    "words, said",
    [
        ([], "there are no ids to resolve; name a feature set, or ids"),
        (["--id", "s00001"], "'s00001' is no id of YouTube-8M"),
        (["--id", "abcdefghij/"], "'abcdefghij/' is no id of YouTube-8M"),
        (["--id", "../x"], "'../x' is no id of YouTube-8M"),
        (["nowhere"], "nowhere: holds no feature set"),
        (["--split", "test", "--id", "abcd"], "parameter split: "),
        (["--rate", "0", "--id", "abcd"], "parameter rate: "),
        (["--server", "data.yt8m.org", "--id", "abcd"], "parameter server: "),
    ],
)
def test_a_wrong_option_is_refused_in_one_sentence(tmp_path, monkeypatch, call, words, said):
    monkeypatch.chdir(tmp_path)
    status, out, err = call("resolve", *words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err and not list(tmp_path.iterdir())


def test_the_command_has_the_defaults_of_the_configuration(tmp_path, call, monkeypatch):
    taken = []
    monkeypatch.setattr("xmodal.youtube8m.resolve.resolve", lambda config: taken.append(config))
    assert call("resolve", "--id", "abcd")[0] == 0
    assert taken == [ResolveConfig(ids=("abcd",))]
