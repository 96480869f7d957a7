"""Files from anywhere: whatever is done to one, it is read right or refused in a sentence.

A test damages files that the package wrote itself and reads them. What may come of it is a right
result or one of the package's own errors: no other exception, no hang, no memory beyond a bound.
Hypothesis draws the damage; in the long tests, atheris looks for bytes that reach further code.
"""

import io
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xmodal.checkpoint import load_run, read_history
from xmodal.config import InputError, TrainConfig
from xmodal.data.features import SPLITS, open_features, read_chunks
from xmodal.data.pairs import read_pairs
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.data.schema import Clip, encode_example, read_columns, read_shard
from xmodal.data.tfrecord import write_records
from xmodal.index import build_index
from xmodal.search import open_gallery
from xmodal.search_options import IndexConfig
from xmodal.train import train
from xmodal.youtube8m.inspect import InspectConfig, inspect, summary

MEMORY = 1 << 30  # bytes that reading may take; some files here claim to hold far more
SECONDS = 60  # after so many the reader hangs; a read takes a few milliseconds


@contextmanager
def bounded() -> Iterator[None]:
    """Bound memory and time, and let the package's own errors pass."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"not done after {SECONDS} s"))
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, hard))
    signal.alarm(SECONDS)
    try:
        yield
    except InputError as error:
        assert str(error).strip()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before or signal.SIG_DFL)  # None: it is atheris's
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def apart(use: Callable[[Path], None], path: Path) -> None:
    """Read in a process of its own, as what reads it is C++."""
    fork = multiprocessing.get_context("fork")
    process = fork.Process(target=bounded()(use), args=(path,))
    process.start()
    process.join(SECONDS)
    process.kill()
    assert process.exitcode == 0, path


# --- what is damaged, and how --------------------------------------------------------------------

INTEGERS = [0, 1, 127, 128, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1]
Change = Callable[[bytes], bytes]


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """Draw a change of some bytes: overwritten, put in, cut off, repeated, or a number instead."""
    kind = draw(st.sampled_from(["set", "put", "cut", "twice", "digit"]))
    place, number = draw(st.floats(0, 1)), draw(st.sampled_from(INTEGERS))
    size = draw(st.sampled_from([1, 2, 4, 8]))
    new = draw(st.sampled_from([b"x", (number % (1 << 8 * size)).to_bytes(size, "little")]))

    def change(data: bytes) -> bytes:
        at, number_at = round(place * len(data)), re.compile(rb"[0-9]")
        if kind == "digit" and (found := number_at.search(data, at)):
            return data[: found.start()] + str(number).encode() + data[found.end() :]
        tails = {"set": new + data[at + len(new) :], "put": new + data[at:], "cut": b""}
        return data[:at] + tails.get(kind, data[at : at + 40] + data[at:])

    return change


DAMAGE = st.lists(changes(), min_size=1, max_size=3)


def damage_file(path: Path, damage: list[Change]) -> None:
    path.write_bytes(reduce(lambda some, change: change(some), damage, path.read_bytes()))


@contextmanager
def folder(source: Path | None = None) -> Iterator[Path]:
    """Give a folder of its own to an example, empty or a copy."""
    with tempfile.TemporaryDirectory(prefix="xmodal-fuzz-") as name:
        place = Path(name, "it")
        shutil.copytree(source, place) if source else place.mkdir()
        yield place


def few(examples: int) -> settings:
    return settings(max_examples=examples, suppress_health_check=list(HealthCheck), deadline=None)


HOME = tempfile.TemporaryDirectory(prefix="xmodal-fuzz-")
SMALL = {"embedding_dim": 4, "visual_hidden": (5,), "audio_hidden": (5,), "batch_size": 8}
SMALL |= {"progress": False, "precision": "fp32", "validate_every": 2, "validation_gallery": 8}
SIZES = {"evaluation_clips": 8, "validation_clips": 8}


def paired() -> dict[str, Any]:
    visual, audio = np.split(np.random.default_rng(0).normal(size=(40, 10)), [6], axis=1)
    return {
        "visual": visual.astype(np.float32),
        "audio": audio.astype(np.float32),
        "ids": np.array([f"clip{row}" for row in range(40)]),
        "labels": np.array(["dog", "cat|dog", "", "dog"] * 10),
        "group": np.arange(40) // 2,
    }


@cache
def features() -> Path:
    """Make a feature set of 40 clips."""
    np.savez(Path(HOME.name, "pairs.npz"), **paired())
    out = Path(HOME.name, "features")
    prepare(PrepareConfig(shards=out.with_name("pairs.npz"), out=out, **SIZES))
    return out


@cache
def run() -> Path:
    """Train a model of a few weights, and index clips by an inverted file."""
    out = Path(HOME.name, "run")
    train(TrainConfig(features=features(), out=out, steps=4, **SMALL))
    parts = {"out": Path(HOME.name, "parts"), "exact": 0, "correct_hubs": False}
    build_index(IndexConfig(run=str(out), features=features(), **parts))
    return out


# --- shards --------------------------------------------------------------------------------------


@cache
def payloads() -> list[bytes]:
    both = np.random.default_rng(0).uniform(-1, 1, (3, 1152)).astype(np.float32)
    labels = [np.array([1, 5, 300][:row], np.int32) for row in range(3)]
    clips = [Clip(f"id{n}", labels[n], x[:1024], x[1024:]) for n, x in enumerate(both)]
    return [*map(encode_example, clips)]


def read_all(path: Path) -> None:
    """Read a shard in every way; they agree."""
    found = inspect(InspectConfig(shards=[path]))
    assert summary(found)
    columns, clips = read_columns(path, 400), list(read_shard(path, 400))
    assert columns.ids == [clip.id for clip in clips]
    for name in ("labels", "visual", "audio"):
        values = getattr(columns, name)
        assert np.isfinite(values).all()
        assert values.tobytes() == b"".join(getattr(clip, name).tobytes() for clip in clips)
    assert found["problem"].notna().sum() == (len(set(columns.ids)) < len(clips))


@few(25)
@given(damage=DAMAGE, inner=st.booleans())
def test_a_damaged_shard(damage: list[Change], inner: bool) -> None:
    """Damaged itself or, with its framing right, in an example, so that bytes get to the parser."""
    with folder() as place, bounded():
        path, clip = place / "a.tfrecord", place / "clip"
        clip.write_bytes(payloads()[0])
        damage_file(clip, damage)
        write_records(path, [*payloads(), *([clip.read_bytes()] if inner else [])])
        if not inner:
            damage_file(path, damage)
        read_all(path)


# --- feature sets and arrays ---------------------------------------------------------------------


def use_features(place: Path) -> None:
    clips = open_features(place, "train")
    assert len(clips) == len(clips.visual) == len(clips.audio) == len(clips.silent)
    assert all(isinstance(name, str) for row in range(len(clips)) for name in clips.labels_of(row))
    for part in read_chunks(clips.visual, clips.audio):
        assert {values.dtype for values in part} == {np.dtype(np.float32)}
    assert clips.ids.dtype.kind == "U" and isinstance(clips.source + clips.fingerprint, str)


def claiming(shape: Any, descr: Any) -> bytes:
    """Return an .npy file of 64 bytes of numbers whose header claims any shape and type."""
    content = io.BytesIO()
    told = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(content, told)
    return content.getvalue() + bytes(64)


SHAPES = [(10**12, 6), (4 * 10**9, 6), (2, -1), (True, 6), (2**40,), (), (0,), (0, 6), (1, 0)]
SHAPES += [(10**20, 6), (1,) * 40, "x", (1.5, 2)]
TYPES = ["<f4", "|O", "<U9", "|S3", "<M8[s]", [("a", "<f4")], "|V8", "<c8", "|b1"]
KEYS = st.sampled_from(list(paired()))


def use_pairs(path: Path) -> None:
    pairs, out = read_pairs(path), path.with_name("features")
    assert len(pairs.visual) == len(pairs.audio) == len(pairs.labels) == len(pairs.ids)
    prepare(PrepareConfig(shards=path, out=out, **SIZES))
    use_features(out)
    assert sum(len(open_features(out, split)) for split in SPLITS) <= len(pairs.ids)


def as_files(place: Path) -> Path:
    place.mkdir()
    for key, array in paired().items():
        np.save(place / f"{key}.npy", array)
    return place


@few(15)
@given(damage=DAMAGE, name=KEYS)
def test_damaged_arrays(damage: list[Change], name: str) -> None:
    """A ZIP of arrays and a Parquet file, and a folder of which one array is damaged."""
    columns = pd.DataFrame({key: list(array) for key, array in paired().items()})
    writers = {"a.npz": lambda path: np.savez(path, **paired()), "a.parquet": columns.to_parquet}
    for file, write in {**writers, "a": as_files}.items():
        with folder() as place, bounded():
            write(place / file)
            damage_file(place / file / f"{name}.npy" if file == "a" else place / file, damage)
            use_pairs(place / file)


@pytest.mark.slow
@few(150)
@given(name=KEYS, shape=st.sampled_from(SHAPES), descr=st.sampled_from(TYPES))
def test_arrays_that_claim_more_than_they_hold(name: str, shape: Any, descr: Any) -> None:
    with folder() as place, bounded():
        (as_files(place / "a") / f"{name}.npy").write_bytes(claiming(shape, descr))
        use_pairs(place / "a")
    with folder(features()) as place, bounded():
        name = {"labels": "label_indices", "group": "label_indptr"}.get(name, name)
        (place / "train" / f"{name}.npy").write_bytes(claiming(shape, descr))
        use_features(place)


# --- feature sets, runs and indexes ---------------------------------------------------------------


def use_index(place: Path) -> None:
    index = open_gallery(place)
    for find in ({"video": "clip1"}, {"audio": "clip1"}):
        found = index.search(**find, k=3)
        assert len(found) == 3 and np.isfinite(found["cosine"]).all()


FOLDERS = {"features": [use_features], "run": [load_run, read_history], "parts": [use_index]}


@few(60)
@given(kind=st.sampled_from([*FOLDERS]), chance=st.floats(0, 0.999), damage=DAMAGE)
def test_a_damaged_folder(kind: str, chance: float, damage: list[Change]) -> None:
    with folder(run().with_name(kind)) as place:
        files = sorted(path for path in place.rglob("*") if path.is_file())
        damage_file(files[int(chance * len(files))], damage)
        for use in FOLDERS[kind]:
            apart(use, place) if kind == "parts" else bounded()(use)(place)


# --- guided --------------------------------------------------------------------------------------

GUIDED = """
import sys
import atheris
with atheris.instrument_imports(include=["xmodal"]):
    import test_fuzz
test = getattr(test_fuzz, sys.argv.pop(1))
atheris.Setup(sys.argv, test.hypothesis.fuzz_one_input)
atheris.Fuzz()
"""


TARGETS = [name for name, test in vars().items() if hasattr(test, "hypothesis")]


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_many_more_bytes(name: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="the extra fuzz is not installed")
    limits = ["-max_total_time=40", "-timeout=600", "-rss_limit_mb=4096", "-max_len=8192"]
    limits += ["-len_control=0", "-use_value_profile=1"]
    words = [sys.executable, "-c", GUIDED, name, *limits]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, errors="replace")
    assert done.returncode == 0, done.stderr[-8000:]
