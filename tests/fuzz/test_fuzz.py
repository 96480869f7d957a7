"""Files from anywhere: whatever is done to one, it is read right or refused in a sentence.

A test damages files that the package wrote itself, or makes some up, and reads them. What may come
of it is a right result or one of the package's own errors: no other exception, no hang, no memory
beyond a bound. Hypothesis draws the damage; in `test_guided.py`, atheris does for the same tests.
"""

import csv
import io
import json
import multiprocessing
import re
import resource
import shutil
import signal
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from xmodal.checkpoint import RunFolder, load_run, read_history
from xmodal.config import InputError, StageConfig, TrainConfig, validated
from xmodal.data.features import SPLITS, open_features, read_chunks
from xmodal.data.framing import first_payload, masked_crc, read_records, scan_records, write_records
from xmodal.data.pairs import read_pairs
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.data.schema import (
    AUDIO_DIM,
    VISUAL_DIM,
    Clip,
    encode_example,
    labelled_release,
    parse_example,
    read_columns,
    read_ordinary,
)
from xmodal.data.vocabulary import read_vocabulary, write_vocabulary
from xmodal.media.decode import pictures, sound
from xmodal.options import CommandLine, InspectConfig, SearchConfig
from xmodal.retrieval.export import ExportConfig, export
from xmodal.retrieval.index import Index, IndexConfig, build_index, read_query
from xmodal.train import train
from xmodal.youtube8m.download import DownloadConfig
from xmodal.youtube8m.inspect import inspect_shards
from xmodal.youtube8m.resolve import ResolveConfig, read_youtube_ids
from xmodal.youtube8m.salvage import salvage_records
from xmodal_suite.dataset import DataConfig
from xmodal_suite.measurements import read_measured, write_measured
from xmodal_suite.methods import MethodsConfig
from xmodal_suite.profile import Profile
from xmodal_suite.provenance import Provenance, read_provenance
from xmodal_suite.published import RecallConfig
from xmodal_suite.study import AblationConfig, read_ablations

MEMORY = 1 << 30
"""Bytes that reading a small file may take; what some files here claim to hold is far more."""
SECONDS = 60
"""After so many the reader hangs; a read takes a few milliseconds."""
FORK = multiprocessing.get_context("fork")


@contextmanager
def bounded() -> Iterator[None]:
    """Bound memory and time, and let the package's own errors pass."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)

    def hang(*_: object) -> None:
        raise AssertionError(f"not done after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, hang)
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


# --- what is damaged, and how --------------------------------------------------------------------

INTEGERS = [0, 1, 127, 128, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1]
Change = Callable[[bytes], bytes]


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """Draw a change of some bytes: overwritten, put in, taken out, cut off or repeated."""
    kind = draw(st.sampled_from(["set", "put", "out", "cut", "twice", "number", "digit"]))
    place, length = draw(st.floats(0, 1)), draw(st.integers(1, 40))
    new = draw(st.binary(min_size=1, max_size=12))
    number = draw(st.sampled_from(INTEGERS)), draw(st.sampled_from([1, 2, 4, 8]))

    def change(data: bytes) -> bytes:
        at = round(place * len(data))
        head, tail = data[:at], data[at:]
        match kind:
            case "set":
                return head + new + tail[len(new) :]
            case "put":
                return head + new + tail
            case "out":
                return head + tail[length:]
            case "cut":
                return head
            case "twice":
                return head + tail[:length] * 2 + tail[length:]
            case "number":
                value = (number[0] % (1 << 8 * number[1])).to_bytes(number[1], "little")
                return head + value + tail[len(value) :]
        digits = [found.start() for found in re.finditer(rb"[0-9]", data)]
        if not digits:
            return data
        at = digits[min(round(place * len(digits)), len(digits) - 1)]
        return data[:at] + str(number[0]).encode() + data[at + 1 :]

    return change


DAMAGE = st.lists(changes(), min_size=1, max_size=3)
ANYTHING = st.one_of(
    st.sampled_from(
        [None, True, -1, 0, 0.5, 1e308, 2**70, "", "x", "..", "../x", "\0", [], {}, [1], {"a": 1}]
    ),
    st.recursive(
        st.none() | st.integers(-3, 9) | st.floats() | st.text(max_size=5),
        lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=5), some),
        max_leaves=4,
    ),
)


@st.composite
def replacements(draw: st.DrawFn) -> Callable[[Any], Any]:
    """Draw a change of a JSON value: some value in it is another one, or taken out."""
    steps, new = draw(st.lists(st.integers(0, 30), max_size=4)), draw(ANYTHING)
    remove = draw(st.booleans())

    def change(value: Any, steps: tuple[int, ...] = tuple(steps)) -> Any:
        if not steps or not isinstance(value, dict | list) or not value:
            return new
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = keys[steps[0] % len(keys)]
        fresh = value.copy()
        if remove and len(steps) == 1:
            del fresh[key]
        else:
            fresh[key] = change(value[key], steps[1:])
        return fresh

    return change


OTHER = st.lists(replacements(), min_size=1, max_size=2)


def damaged(data: bytes, damage: list[Change]) -> bytes:
    for change in damage:
        data = change(data)
    return data


def with_others(text: str, others: list[Callable[[Any], Any]]) -> str:
    value = json.loads(text)
    for change in others:
        value = change(value)
    return json.dumps(value)


@contextmanager
def folder(source: Path | None = None) -> Iterator[Path]:
    """Give a folder of its own to an example, empty or a copy."""
    with tempfile.TemporaryDirectory(prefix="xmodal-fuzz-") as name:
        place = Path(name, "it")
        if source:
            shutil.copytree(source, place)
        else:
            place.mkdir()
        yield place


HOME = tempfile.TemporaryDirectory(prefix="xmodal-fuzz-")


def paired(clips: int = 40) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "visual": rng.normal(size=(clips, 6)).astype(np.float32),
        "audio": rng.normal(size=(clips, 4)).astype(np.float32),
        "ids": np.array([f"clip{row}" for row in range(clips)]),
        "labels": np.array([["dog", "cat|dog", ""][row % 3] for row in range(clips)]),
        "group": np.arange(clips) // 2,
    }


@cache
def features() -> Path:
    """Make a feature set of 40 clips."""
    out = Path(HOME.name, "features")
    np.savez(Path(HOME.name, "pairs.npz"), **paired())
    sizes = {"evaluation_clips": 8, "validation_clips": 8}
    prepare(PrepareConfig(shards=Path(HOME.name, "pairs.npz"), out=out, **sizes))
    return out


def tiny(out: Path, steps: int = 4) -> TrainConfig:
    sizes = {"embedding_dim": 4, "visual_hidden": (5,), "audio_hidden": (5,), "batch_size": 8}
    rest = {"progress": False, "precision": "fp32", "validate_every": 2, "validation_gallery": 8}
    return TrainConfig(features=features(), out=out, steps=steps, **sizes, **rest)


@cache
def run() -> Path:
    """Train a model of a few weights, and make its index, exact and in parts."""
    out = Path(HOME.name, "run")
    train(tiny(out))
    build_index(IndexConfig(run=str(out), features=features(), correct_hubs=False))
    parts = {"out": Path(HOME.name, "parts"), "correct_hubs": False, "exact": 0}
    build_index(IndexConfig(run=str(out), features=features(), **parts))
    return out


@st.composite
def damaged_files(draw: st.DrawFn, names: list[str]) -> tuple[str, Callable[[Path], None]]:
    """Draw a file of a folder and its damage: by bytes, or of a JSON file also by values."""
    name = draw(st.sampled_from(names))
    kind = draw(st.integers(0, 2 if name.endswith((".json", ".jsonl")) else 0))
    damage, others = (draw(DAMAGE), []) if kind == 0 else ([], draw(OTHER))

    def apply(folder: Path) -> None:
        path = folder / name
        if damage:
            path.write_bytes(damaged(path.read_bytes(), damage))
        elif name.endswith(".jsonl"):
            first, *rest = path.read_text().splitlines()
            path.write_text("\n".join([with_others(first, others), *rest]) + "\n")
        else:
            path.write_text(with_others(path.read_text(), others))

    return name, apply


def few(examples: int) -> settings:
    return settings(max_examples=examples, suppress_health_check=list(HealthCheck), deadline=None)


# --- shards --------------------------------------------------------------------------------------


@cache
def payloads() -> list[bytes]:
    rng = np.random.default_rng(0)
    some = [
        Clip(
            f"id{row}",
            np.array([1, 5, 300][:row], np.int32),
            rng.uniform(-1, 1, VISUAL_DIM).astype(np.float32),
            rng.uniform(-1, 1, AUDIO_DIM).astype(np.float32),
        )
        for row in range(3)
    ]
    return [encode_example(clip) for clip in some]


@cache
def shard() -> bytes:
    with folder() as place:
        write_records(place / "a", payloads())
        return (place / "a").read_bytes()


def read_all(path: Path) -> None:
    """Read a shard in every way; they agree, and no byte is left out."""
    data, stretches = path.read_bytes(), list(salvage_records(path))
    assert b"".join(data[s.offset : s.offset + s.size] for s in stretches) == data
    whole = [s.payload for s in stretches if not s.kind]
    for part in stretches:
        if not part.kind:
            assert part.size == 16 + len(part.payload)
            assert masked_crc(part.payload) == int.from_bytes(
                data[part.offset + part.size - 4 :][:4], "little"
            )
    labelled_release(first_payload(path))
    shards = inspect_shards({path: "a"}, 400, 1)
    shards.as_text(), json.dumps(shards.to_dict(), allow_nan=True)
    try:
        records = [record.payload for record in read_records(path)]
    except InputError:
        assert any(s.kind for s in stretches)
        assert read_ordinary(path) is None
        raise
    assert whole == records and scan_records(path)[0] == len(records)
    columns, clips = read_columns(path, 400), [parse_example(p) for p in records]
    assert shards.totals["problems"] == len(clips) - len({clip.id for clip in clips})
    assert columns.ids == [clip.id for clip in clips]
    assert np.isfinite(columns.visual).all() and np.isfinite(columns.audio).all()
    for name in ("labels", "visual", "audio"):
        parts = [getattr(clip, name) for clip in clips]
        assert np.concatenate(parts).tobytes() == getattr(columns, name).tobytes()
    assert columns.counts.tolist() == [len(clip.labels) for clip in clips]


@few(60)
@given(damage=DAMAGE)
def test_a_damaged_shard(damage: list[Change]) -> None:
    with folder() as place, bounded():
        (place / "a.tfrecord").write_bytes(damaged(shard(), damage))
        read_all(place / "a.tfrecord")


@few(60)
@given(damage=st.lists(DAMAGE | st.just([]), min_size=3, max_size=3))
def test_a_shard_of_damaged_examples(damage: list[list[Change]]) -> None:
    """The framing is right, so the bytes get to the parsers."""
    with folder() as place, bounded():
        some = [damaged(one, change) for one, change in zip(payloads(), damage, strict=True)]
        write_records(place / "a.tfrecord", some)
        read_all(place / "a.tfrecord")


@few(40)
@given(data=st.binary(max_size=200), length=st.sampled_from(INTEGERS))
def test_a_shard_of_any_bytes(data: bytes, length: int) -> None:
    """With and without a header that is right and claims any length."""
    header = length.to_bytes(8, "little")
    for content in (data, header + masked_crc(header).to_bytes(4, "little") + data):
        with folder() as place, bounded():
            (place / "a.tfrecord").write_bytes(content)
            read_all(place / "a.tfrecord")


# --- feature sets and arrays ---------------------------------------------------------------------

SET = ["manifest.json", "label_names.json"]
SET += [f"train/{name}.npy" for name in ("visual", "audio", "ids", "label_indptr", "label_indices")]


def use_features(place: Path) -> None:
    clips = open_features(place, "train")
    assert len(clips) == len(clips.visual) == len(clips.audio) == clips.labels.shape[0]
    for row in range(len(clips)):
        assert all(isinstance(name, str) for name in clips.labels_of(row))
    for visual, audio in read_chunks(clips.visual, clips.audio):
        assert visual.dtype == audio.dtype == np.float32
    assert all(isinstance(str(clip), str) for clip in clips.ids)
    assert clips.ids.dtype.kind == "U" and isinstance(clips.source, str)
    assert isinstance(clips.fingerprint, str)
    assert clips.silent.shape == (len(clips),)


@few(80)
@given(file=damaged_files(SET))
def test_a_damaged_feature_set(file: tuple[str, Callable[[Path], None]]) -> None:
    with folder(features()) as place, bounded():
        file[1](place)
        use_features(place)


def npz(values: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, some in values.items():
            archive.writestr(f"{name}.npy", some)
    return content.getvalue()


def npy(array: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def claiming(shape: str, descr: str = "'<f4'") -> bytes:
    """Return an .npy file of 64 bytes of numbers whose header claims any shape and type."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64)


CLAIMS = ["(1000000000000, 6)", "(4000000000, 6)", "(2, -1)", "(True, 6)", "(2**40,)", "()", "(0,)"]
CLAIMS += ["(0, 6)", "(1, 0)", "(99999999999999999999, 6)", "(1,) * 40", "'x'", "(1.5, 2)"]
TYPES = ["'<f4'", "'|O'", "'<U9'", "'|S3'", "'<M8[s]'", "[('a', '<f4')]", "'|V8'", "'<c8'", "'|b1'"]


def use_pairs(path: Path) -> None:
    pairs = read_pairs(path)
    clips = len(pairs.ids)
    assert len(pairs.visual) == len(pairs.audio) == len(pairs.labels) == len(pairs.group) == clips
    assert pairs.whole.shape == (clips,)
    both = pairs.whole
    assert np.isfinite(np.asarray(pairs.visual[both], float)).all()
    sizes = {"evaluation_clips": 8, "validation_clips": 8}
    out = path.with_name("features")
    prepare(PrepareConfig(shards=path, out=out, **sizes))
    use_features(out)
    counted = sum(len(open_features(out, split)) for split in SPLITS)
    assert counted == both.sum()


@few(60)
@given(damage=DAMAGE, name=st.sampled_from(list(paired())), inner=st.booleans())
def test_damaged_arrays(damage: list[Change], name: str, inner: bool) -> None:
    """A ZIP of arrays, damaged itself or in one of its arrays, and a folder of arrays."""
    values = {key: npy(array) for key, array in paired().items()}
    if inner:
        values[name] = damaged(values[name], damage)
    with folder() as place, bounded():
        (place / "a.npz").write_bytes(npz(values) if inner else damaged(npz(values), damage))
        use_pairs(place / "a.npz")
    with folder() as place, bounded():
        (place / "a").mkdir()
        for key, content in values.items():
            (place / "a" / f"{key}.npy").write_bytes(content)
        use_pairs(place / "a")


@few(60)
@given(
    name=st.sampled_from(list(paired())),
    shape=st.sampled_from(CLAIMS),
    descr=st.sampled_from(TYPES),
)
def test_arrays_that_claim_more_than_they_hold(name: str, shape: str, descr: str) -> None:
    values = {key: npy(array) for key, array in paired().items()}
    values[name] = claiming(shape, descr)
    with folder() as place, bounded():
        (place / "a.npz").write_bytes(npz(values))
        use_pairs(place / "a.npz")
    with folder() as place, bounded():
        (place / "a").mkdir()
        for key, content in values.items():
            (place / "a" / f"{key}.npy").write_bytes(content)
        use_pairs(place / "a")
    with folder() as place, bounded():
        (place / "query.npy").write_bytes(values[name])
        read_query(place / "query.npy")
    with folder(features()) as place, bounded():
        (place / "train" / f"{'label_indices' if name == 'labels' else name}.npy").write_bytes(
            values[name]
        )
        use_features(place)


@few(60)
@given(
    name=st.sampled_from(list(paired())),
    array=arrays.arrays(
        arrays.scalar_dtypes() | st.sampled_from([np.dtype("U3"), np.dtype("S3")]),
        st.sampled_from([(), (40,), (40, 6), (39,), (40, 1), (0,), (40, 0), (40, 2, 2)]),
    ),
)
def test_arrays_of_any_kind(name: str, array: np.ndarray) -> None:
    with folder() as place, bounded():
        np.savez(place / "a.npz", **{**paired(), name: array})
        use_pairs(place / "a.npz")


CELLS = st.sampled_from(
    [None, 1, 1.5, "x", "a|b", b"x", [1.0], [1.0, 2.0], [], ["a"], [None], True, [[1.0]], {"a": 1}]
)


@few(40)
@given(damage=DAMAGE, name=st.sampled_from(list(paired())), cells=st.lists(CELLS, max_size=3))
def test_damaged_parquet(damage: list[Change], name: str, cells: list[Any]) -> None:
    columns: dict[str, list] = {key: list(array) for key, array in paired().items()}
    content = io.BytesIO()
    pd.DataFrame(columns).to_parquet(content)
    with folder() as place, bounded():
        (place / "a.parquet").write_bytes(damaged(content.getvalue(), damage))
        use_pairs(place / "a.parquet")
    columns[name] = (cells * 40)[:40] if cells else [None] * 40
    try:
        pd.DataFrame(columns).to_parquet(content := io.BytesIO())
    except Exception:  # what Arrow cannot hold is no file
        return
    with folder() as place, bounded():
        (place / "a.parquet").write_bytes(content.getvalue())
        use_pairs(place / "a.parquet")


# --- runs and indexes ----------------------------------------------------------------------------

RUN = ["config.json", "result.json", "history.jsonl", "model.safetensors"]


@cache
def checkpoint() -> list[str]:
    return [f"checkpoint/{path.name}" for path in sorted((run() / "checkpoint").iterdir())]


@few(60)
@given(file=damaged_files(RUN))
def test_a_damaged_run(file: tuple[str, Callable[[Path], None]]) -> None:
    with folder(run()) as place, bounded():
        file[1](place)
        load_run(place)
    with folder(run()) as place, bounded():
        file[1](place)
        for line in read_history(place):
            assert isinstance(line, dict)


@few(40)
@given(file=st.deferred(lambda: damaged_files(["config.json", *checkpoint()])))
def test_a_damaged_checkpoint(file: tuple[str, Callable[[Path], None]]) -> None:
    """The training goes on from it, or says what is wrong with which file."""
    with folder(run()) as place, bounded():
        shutil.rmtree(place / "index")
        (place / "result.json").unlink()
        file[1](place)
        train(tiny(place, 6))
        assert RunFolder(place).state()["step"] == 6


ONCE_FAILED = [
    ("config.json", "sizes", {"visual_dim": -1, "audio_dim": 4, "classes": 2}),
    ("config.json", "sizes", None),
    ("result.json", "step", None),
    ("checkpoint/state.json", "step", -1),
    ("checkpoint/state.json", "step", None),
    ("checkpoint/state.json", "history_bytes", "x"),
]


@pytest.mark.parametrize(("name", "key", "value"), ONCE_FAILED)
def test_a_run_that_once_failed(name: str, key: str, value: Any) -> None:
    with folder(run()) as place:
        content = json.loads((place / name).read_text())
        (place / name).write_text(json.dumps(content | {key: value}))
        with pytest.raises(InputError, match=f"{name} is missing, damaged or of another program"):
            if "checkpoint" in name:
                RunFolder(place).state()
            else:
                load_run(place)


@cache
def index_files() -> list[str]:
    return [path.name for path in sorted((run() / "index").iterdir())]


@cache
def part_files() -> list[str]:
    run()
    return [path.name for path in sorted(Path(HOME.name, "parts").iterdir())]


def use_index(place: Path) -> None:
    index = Index.open(place)
    assert index.described()
    for find in ("audio", "video"):
        found = index.search(**{"video" if find == "audio" else "audio": "clip1"}, k=3)
        assert len(found) == 3 and np.isfinite(found["cosine"]).all()


@few(80)
@given(file=st.deferred(lambda: damaged_files(index_files())))
def test_a_damaged_index(file: tuple[str, Callable[[Path], None]]) -> None:
    with folder(run()) as place, bounded():
        file[1](place / "index")
        use_index(place)


@few(20)
@given(file=st.deferred(lambda: damaged_files(part_files())))
def test_a_damaged_index_in_parts(file: tuple[str, Callable[[Path], None]]) -> None:
    """Read in a process of its own, as what reads it is C++."""
    run()
    with folder(Path(HOME.name, "parts")) as place:
        file[1](place)
        process = FORK.Process(target=use_parts, args=(place,))
        process.start()
        process.join(SECONDS)
        process.kill()
        assert process.exitcode == 0, file[0]


def use_parts(place: Path) -> None:
    with bounded():
        use_index(place)


# --- media ---------------------------------------------------------------------------------------


@cache
def media() -> dict[str, bytes]:
    from media_files import sine, steady, write_media, write_picture

    with folder() as place:
        pixels = np.full((8, 8, 4), 200, np.uint8)
        files = [
            write_picture(place / "a.png", pixels),
            write_media(place / "a.wav", tone=sine(0.1)),
            write_media(place / "a.ogg", tone=sine(0.1)),
            write_media(place / "a.mp4", steady(0.2), tone=sine(0.2)),
        ]
        return {path.name: path.read_bytes() for path in files}


@few(20)
@given(damage=DAMAGE, which=st.integers(0, 3))
def test_damaged_media(damage: list[Change], which: int) -> None:
    """Decoded in a process of its own, as what decodes it is C."""
    pytest.importorskip("av", reason="the extra media is not installed")
    name, content = list(media().items())[which]
    with folder() as place:
        (place / name).write_bytes(damaged(content, damage))
        process = FORK.Process(target=use_media, args=(place / name,))
        process.start()
        process.join(SECONDS)
        process.kill()
        assert process.exitcode == 0


def use_media(path: Path) -> None:
    with bounded():
        for rgb in pictures(path):
            assert rgb.dtype == np.uint8 and rgb.shape[2] == 3
    with bounded():
        for block in sound(path, 16_000):
            assert block.ndim == 1 and len(block)


# --- measurements, notes, tables -----------------------------------------------------------------


@cache
def measurements() -> Path:
    """Measure a short and a long frame."""
    frames = {
        "short": pd.DataFrame({"clip": ["0012", "7"], "value": [1 / 3, np.nan]}),
        "long": pd.DataFrame({"model": ["a", "b"] * 10_000, "rank": np.arange(20_000)}),
    }
    clips = open_features(features(), "evaluation")
    about: dict[str, Any] = {"parameters": {"seed": 0}, "seeds": {"seed": 0}, "command": "made it"}
    note = Provenance(source="x", fingerprint=clips.fingerprint, commit="0", **about)
    out = Path(HOME.name, "measured")
    write_measured(out, frames, note, {"features": "0", "weights": {}})
    return out


@few(80)
@given(file=damaged_files(["manifest.json", "short.csv", "long.parquet"]))
def test_damaged_measurements(file: tuple[str, Callable[[Path], None]]) -> None:
    whole = read_measured(measurements()).frames
    with folder(measurements()) as place, bounded():
        before = (place / file[0]).read_bytes()
        file[1](place)
        found = read_measured(place).frames
        assert file[0] == "manifest.json" or before == (place / file[0]).read_bytes()
        for name, frame in found.items():
            pd.testing.assert_frame_equal(frame, whole[name])


@few(60)
@given(damage=DAMAGE, others=OTHER, inner=st.booleans())
def test_a_damaged_note(damage: list[Change], others: list, inner: bool) -> None:
    text = json.dumps(json.loads((measurements() / "manifest.json").read_text())["origin"])
    with folder() as place, bounded():
        content = with_others(text, others).encode() if inner else damaged(text.encode(), damage)
        (place / "note.json").write_bytes(content)
        assert isinstance(read_provenance(place / "note.json").source, str)


# --- profiles and words --------------------------------------------------------------------------

ROOT = Path(__file__).parents[2]
STAGES: list[type[StageConfig]] = [
    *(TrainConfig, DataConfig, RecallConfig, MethodsConfig, AblationConfig, PrepareConfig),
    *(InspectConfig, SearchConfig, DownloadConfig, ResolveConfig, IndexConfig),
]
PROFILES = [path.read_bytes() for path in sorted((ROOT / "profiles").glob("*.yaml"))]


def use_profile(content: Any) -> None:
    profile = validated(Profile, content)
    assert re.fullmatch("[a-z0-9_]+", profile.name)
    assert profile.model_runs()
    assert all("/" in run for run in (*profile.study_runs(), *profile.recipe_runs()))


@few(60)
@given(damage=DAMAGE, others=OTHER, which=st.integers(0, 9))
def test_a_damaged_profile(damage: list[Change], others: list, which: int) -> None:
    content = PROFILES[which % len(PROFILES)]
    with bounded():
        value = with_others(json.dumps(yaml.safe_load(content)), others)
        value = json.loads(value)
        assume(isinstance(value, dict) and all(isinstance(key, str) for key in value))
        use_profile(value)
    with folder() as place, bounded():
        (place / "a.yaml").write_bytes(damaged(content, damage))
        for study in read_ablations(place / "a.yaml").values():
            assert study.runs()


def test_words_that_once_failed() -> None:
    given = CommandLine("any", "about", ["shards=" + "[" * 3000]).read(InspectConfig)
    assert given.shards == [Path("[" * 3000)]  # a name, though no list


VALUES = st.one_of(
    st.sampled_from(
        ["", "0", "1", "-1", "1e400", "nan", "null", "[", "{a: b", "!!python/name:os", "*a"]
    ),
    st.sampled_from(
        ["&a [*a]", "1,2", "x" * 5000, "[" * 3000, "0200", "\0", "é", "2020-01-01", "? a"]
    ),
    st.text(max_size=10),
)


@few(80)
@given(
    stage=st.sampled_from(STAGES),
    given_words=st.lists(
        st.tuples(
            st.integers(0, 60), VALUES, st.sampled_from(["{}={}", "--{}={}", "--{} {}", "{1}"])
        ),
        max_size=4,
    ),
)
def test_any_words(stage: type[StageConfig], given_words: list[tuple[int, str, str]]) -> None:
    """As parameters of a stage: on the command line and, by value, from a notebook or a profile."""
    names = list(stage.model_fields)
    words, values = [], {}
    for number, value, form in given_words:
        name = names[number % len(names)]
        words += [part.format(name, value) for part in form.split(" ")]
        values[name] = value
    with bounded():
        assert isinstance(CommandLine("any", "about", words).read(stage), stage)
    with bounded():
        assert isinstance(validated(stage, values), stage)


@few(100)
@given(stage=st.sampled_from(STAGES), number=st.integers(0, 60), value=ANYTHING)
def test_any_parameter(stage: type[StageConfig], number: int, value: Any) -> None:
    names = list(stage.model_fields)
    with bounded():
        assert isinstance(validated(stage, {names[number % len(names)]: value}), stage)


# --- texts ---------------------------------------------------------------------------------------


@cache
def vocabulary() -> bytes:
    with folder() as place:
        write_vocabulary(place / "a.csv", ["cat", 'a "dog", loud', "", "möwe\nx"], [3, 2, 1, 0])
        return (place / "a.csv").read_bytes()


CSV = st.text(st.sampled_from('019,"\n\r\0\ufeffaé²٣- '), max_size=40)


@few(100)
@given(damage=DAMAGE, text=CSV, header=st.booleans())
@example(damage=[], text="²,,,x,,,,,", header=True)
@example(damage=[], text="1" * 5000 + ",,,x,,,,,", header=True)
def test_a_damaged_vocabulary(damage: list[Change], text: str, header: bool) -> None:
    head = vocabulary().split(b"\n")[0] + b"\n"
    for content in (damaged(vocabulary(), damage), head * header + text.encode()):
        with folder() as place, bounded():
            (place / "a.csv").write_bytes(content)
            names = read_vocabulary(place / "a.csv")
            rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
            assert len(names) == len(rows) and all(names)
            for row in rows:
                assert names[int(row["Index"])] == (row["Name"] or names[int(row["Index"])])


@few(100)
@given(damage=DAMAGE, text=st.text(st.sampled_from("09Az_-,\n\r\0é"), max_size=60))
def test_a_damaged_cache_of_ids(damage: list[Change], text: str) -> None:
    whole = b"id,youtube_id\nABCD,abcdefghij_\n0aZ9,\n"
    for content in (damaged(whole, damage), b"id,youtube_id\n" + text.encode(), text.encode()):
        with folder() as place, bounded():
            (place / "a.csv").write_bytes(content)
            for clip, video in read_youtube_ids(place / "a.csv").items():
                assert re.fullmatch("[A-Za-z0-9]{4}", clip, re.ASCII)
                assert video is None or re.fullmatch("[A-Za-z0-9_-]{11}", video)
                assert f"{clip},{video or ''}\n".encode() in content


# --- names ---------------------------------------------------------------------------------------

NAMES = [
    "../../up",
    "/etc/passwd",
    "..",
    "a/b",
    "C:\\x",
    "é\u202e\u2028",
    "<script>",
    "-rf",
    "~",
    "x" * 300,
]


def test_no_id_and_no_label_is_the_name_of_a_file(tmp_path: Path) -> None:
    values = paired() | {"labels": np.array((NAMES * 4)[:40])}
    values["ids"] = np.array([f"{NAMES[row % 10]}{row}" for row in range(40)])
    np.savez(tmp_path / "a.npz", **values)
    sizes = {"evaluation_clips": 8, "validation_clips": 8}
    prepare(PrepareConfig(shards=tmp_path / "a.npz", out=tmp_path / "features", **sizes))
    shape = {"embedding_dim": 4, "visual_hidden": (5,), "audio_hidden": (5,), "batch_size": 8}
    rest = {"progress": False, "precision": "fp32", "steps": 2, "validation_gallery": 8}
    train(TrainConfig(features=tmp_path / "features", out=tmp_path / "run", **shape, **rest))
    common = {"run": str(tmp_path / "run")}
    build_index(IndexConfig(features=tmp_path / "features", correct_hubs=False, **common))
    for form in ("npz", "parquet", "projector"):
        export(ExportConfig(out=tmp_path / f"out-{form}", form=form, **common))
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert all(re.fullmatch(r"[a-z0-9_./-]+", name) for name in found), found
    assert {path.split("/")[0] for path in found} == {
        *("a.npz", "features", "run", "out-npz", "out-parquet", "out-projector")
    }
    index = Index.open(tmp_path / "run")
    assert sorted(index.ids) == sorted(values["ids"])


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", "a b", "x\n", "/x", "~", "\0"])
def test_no_name_in_a_profile_is_a_path(name: str) -> None:
    whole = yaml.safe_load((ROOT / "profiles/smoke.yaml").read_text())
    row = {"about": "a row"}
    for change in (
        {"name": name},
        {"studies": {name: {"base": {}, "rows": {"a": row}}}},
        {"studies": {"paper": {"base": {}, "rows": {name: row}}}},
    ):
        with pytest.raises(InputError):
            validated(Profile, whole | change)
