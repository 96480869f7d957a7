"""Inspection: counts against hand-made shards, each fault found in the file where it was put."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from xmodal.config import InputError
from xmodal.data.schema import AUDIO_DIM, VISUAL_DIM, Clip, encode_example
from xmodal.data.tfrecord import write_records
from xmodal.youtube8m.inspect import InspectConfig, inspect, summary

Make = Callable[..., list[Clip]]


def clip(name: str, labels: Sequence[int] = (3,), visual: float = 0.5, audio: float = 0.5) -> Clip:
    values = np.full(VISUAL_DIM, visual, np.float32), np.full(AUDIO_DIM, audio, np.float32)
    return Clip(name, np.array(labels, np.int32), *values)


def write(path: Path, *clips: Clip) -> Path:
    write_records(path, map(encode_example, clips))
    return path


def inspected(*paths: Path, **options: object) -> pd.DataFrame:
    return inspect(InspectConfig(shards=list(paths), **options))


def test_contents_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "a.tfrecord", clip("a", (1, 5), audio=0), clip("b", (), visual=-1.5))
    write(tmp_path / "b.tfrecord", clip("c", (5, 6, 90), audio=0), clip("d", audio=2.5))
    (tmp_path / "c.tfrecord").write_bytes(b"")
    found = inspected(tmp_path)
    a, b, c = json.loads(found.to_json(orient="records"))
    assert a == {
        **{"file": str(tmp_path / "a.tfrecord"), "problem": None, "clips": 2, "labels": 2},
        **{"unlabelled": 1, "labels_max": 2, "visual_min": -1.5, "visual_max": 0.5},
        **{"audio_min": 0, "audio_max": 0.5},
    }
    assert (b["clips"], b["labels_max"], b["audio_max"]) == (2, 3, 2.5)
    assert c.pop("problem") and set(c.values()) == {str(tmp_path / "c.tfrecord"), None}
    files, clips, labels, visual, audio = summary(found).splitlines()[:5]
    assert re.findall(r"\d+", files + clips + labels) == ["3", "1", "4", "1", "6", "3"]
    assert visual.endswith("-1.5 to 0.5") and audio.endswith("0 to 2.5")


@pytest.fixture
def damaged(tmp_path: Path, make_clips: Make) -> Path:
    """Write files that have one fault each, but ``a``."""
    folder = tmp_path / "damaged"
    folder.mkdir()
    clips = make_clips(9, seed=3)
    for k, name in enumerate("abc"):
        write(folder / f"{name}.tfrecord", *clips[3 * k : 3 * k + 3])
    content = bytearray((folder / "b.tfrecord").read_bytes())
    content[len(encode_example(clips[3])) + 16 + 20] ^= 8  # in the second payload
    (folder / "b.tfrecord").write_bytes(content)
    (folder / "c.tfrecord").write_bytes((folder / "c.tfrecord").read_bytes()[:-5])
    write(folder / "d.tfrecord", clip("d", (7,)), clip("e", (9,)))
    write_records(folder / "e.tfrecord", [encode_example(clip("f")), b"hello, world"])
    write(folder / "f.tfrecord", clip("g"), clips[1], clips[2])
    write(folder / "g.tfrecord", clip("h"), clip("h"))
    (folder / "h.tfrecord").write_bytes(b"<!DOCTYPE html><title>404</title>")
    return folder


def test_the_first_fault_of_each_file_is_found(damaged: Path, shard_folder: Path) -> None:
    found = inspected(damaged, vocabulary=shard_folder / "vocabulary.csv")
    told = found["problem"].dropna().tolist()
    for problem, file in zip(told, ["b 1", "c 2", "d 0", "e 1", "f 1", "g 1", "h 0"], strict=True):
        name, record = file.split()
        assert re.match(rf"{damaged / name}\.tfrecord: record {record}\b", problem)
    assert "vocabulary" in told[2] and "a.tfrecord" in told[4]
    # a has 3 clips, f and g are read to their end; nothing of the others counts
    assert found["clips"].sum() == 3 + 3 + 2
    assert inspected(damaged / "d.tfrecord")["problem"].isna().all()  # no vocabulary, none outside


def test_the_command(call: Callable, damaged: Path, shard_folder: Path) -> None:
    words = ("--vocabulary", shard_folder / "vocabulary.csv")
    status, out, err = call("inspect", shard_folder, *words)
    assert (status, err) == (0, "") and "clips    60," in out and ".tfrecord" not in out
    status, out, _ = call("inspect", damaged, *words)
    assert status == 1 and out.count("\nproblem") == 7
    status, out, _ = call("inspect", damaged / "h.tfrecord", "--json")
    assert status == 1 and json.loads(out)[0]["visual_min"] is None


def test_what_cannot_be_inspected_is_refused(tmp_path: Path, shard_folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="tfrecord"):
        inspected(tmp_path / "empty")
    with pytest.raises(InputError, match="nowhere"):
        inspected(shard_folder, vocabulary=tmp_path / "nowhere")
