"""Each file of each folder emptied, cut, missing, or of another program: told, or harmless."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save
from xmodal.retrieval.index import FILES, Index, IndexConfig, build_index
from xmodal_suite.figure_config import FigureConfig
from xmodal_suite.measurements import LONG, measured, read_measured

from xmodal.checkpoint import load_run, read_history
from xmodal.config import InputError, TrainConfig
from xmodal.data.features import SPLITS, open_features
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.data.sample import SampleConfig, write_sample
from xmodal.train import train

OTHERS = {
    ".json": b'{"model_type": "of another program", "files": 3}',
    ".jsonl": b'{"epoch": 1}\n',
    ".csv": b"epoch\n1\n",
    ".safetensors": save({"other": np.ones(3, np.float32)}),
}


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def missing(path: Path) -> None:
    path.unlink()


def of_another_program(path: Path) -> None:
    if path.suffix == ".npy":
        np.save(path, np.arange(3))
    else:
        path.write_bytes(OTHERS.get(path.suffix, b"\x89PNG\r\n\x1a\n of another program"))


HARMS = [emptied, cut, missing, of_another_program]
each_harm = pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)


def told_or_same(read: Callable[[], Any], expected: Any, name: str) -> bool:
    """Call what reads a damaged folder: it returns the same, or says what is damaged."""
    try:
        assert read() == expected
        return False
    except InputError as error:
        assert Path(name).name in str(error) or str(error).count("damaged"), error
        return True


# --- a run ---------------------------------------------------------------------------------------

RUN = ["config.json", "result.json", "history.jsonl", "model.safetensors"]
RUN += [f"checkpoint/{name}" for name in ("state.json", "model.safetensors", "optimizer.bin")]
RUN += ["checkpoint/random_states_0.pkl"]


@pytest.fixture(scope="module")
def run(tiny: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    train(tiny(out))
    files = [str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()]
    assert sorted(files) == sorted(RUN)
    return out


@pytest.fixture(scope="module")
def longer(run: Path, tiny: Callable[..., TrainConfig]) -> Path:
    out = run.parent / "longer"
    train(tiny(shutil.copytree(run, out), steps=50))
    return out


def weights(out: Path) -> dict[str, list]:
    return {name: values.tolist() for name, values in load_run(out)[0].state_dict().items()}


@each_harm
@pytest.mark.parametrize("name", RUN)
def test_a_run(
    run: Path, longer: Path, tmp_path: Path, tiny: Callable[..., TrainConfig], name: str, harm
) -> None:
    """Weights, curves, and going on are each told or as if nothing had happened."""
    copy = shutil.copytree(run, tmp_path / "run")
    harm(copy / name)
    if name == "result.json" and harm is missing:  # then it is one that was not finished
        with pytest.raises(InputError, match="holds no finished training run"):
            load_run(copy)
    else:
        told = told_or_same(lambda: weights(copy), weights(run), name)
        assert told == (name in ("config.json", "result.json", "model.safetensors"))
        told = told_or_same(lambda: read_history(copy), read_history(run), name)
        assert told == (name in ("result.json", "history.jsonl"))

    def go_on() -> bytes:
        train(tiny(copy, steps=50))
        return (copy / "checkpoint/model.safetensors").read_bytes()

    if name == "config.json" and harm is missing:  # whose run it is cannot be known
        with pytest.raises(InputError, match="holds something else than a training run"):
            go_on()
    else:
        expected = (longer / "checkpoint/model.safetensors").read_bytes()
        assert told_or_same(go_on, expected, name) == (name != "result.json")


def test_one_bit_of_the_weights_of_a_finished_run(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"model.safetensors is missing, damaged"):
        load_run(copy)


# --- features ------------------------------------------------------------------------------------

ARRAYS = ("visual", "audio", "ids", "label_indptr", "label_indices")
SET = ["manifest.json", "label_names.json", *(f"validation/{name}.npy" for name in ARRAYS)]


def everything(features: Path) -> list:
    sets = [open_features(features, split) for split in SPLITS]
    rows = [[s.visual.tolist(), s.audio.tolist(), s.ids.tolist(), s.fingerprint] for s in sets]
    return rows + [[s.labels.toarray().tolist(), s.label_names] for s in sets]


@each_harm
@pytest.mark.parametrize("name", SET)
def test_a_feature_set(related_features: Path, tmp_path: Path, name: str, harm) -> None:
    copy = shutil.copytree(related_features, tmp_path / "features")
    harm(copy / name)
    with pytest.raises(InputError, match=r"is damaged; prepare it again|holds no feature set; run"):
        everything(copy)


@each_harm
@pytest.mark.parametrize("name", ["vocabulary.csv", "shards/sample0001.tfrecord", "sample.json"])
def test_a_sample(tmp_path: Path, name: str, harm) -> None:
    """It is written again, or cannot be prepared."""
    sample = SampleConfig(out=tmp_path / "sample", clips=60, clips_per_shard=20)

    def make() -> dict[str, Any]:
        write_sample(sample, progress=False)
        given = {"shards": sample.out / "shards", "vocabulary": sample.out / "vocabulary.csv"}
        sizes = {"evaluation_clips": 20, "validation_clips": 20}
        return prepare(PrepareConfig(out=tmp_path / "features", **given, **sizes))

    expected = make()
    harm(sample.out / name)
    if name == "sample.json" and harm is missing:
        with pytest.raises(InputError, match="are not a sample of ours"):
            make()
    else:
        told_or_same(make, expected, name)


# --- an index, and measurements ------------------------------------------------------------------


@pytest.fixture(scope="module")
def index(run: Path, related_features: Path) -> Path:
    out = run.parent / "index"
    build_index(IndexConfig(run=str(run), features=related_features, out=out, exact=100))
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    return out


def found(index: Path) -> list:
    """Search for one clip, and read all that an index holds."""
    opened = Index.open(index)
    some = opened.search(video=str(opened.ids[5]), k=20)
    rows = [side.tolist() for side in (*opened.sides, *opened.penalty)]
    return [some.values.tolist(), rows, opened.ids.tolist(), list(opened.labels)]


@each_harm
@pytest.mark.parametrize("name", FILES)
def test_an_index(index: Path, tmp_path: Path, name: str, harm) -> None:
    copy = shutil.copytree(index, tmp_path / "index")
    harm(copy / name)
    if name == "index.json" and harm is missing:
        with pytest.raises(InputError, match="holds no finished training run"):
            found(copy)
    else:
        assert told_or_same(lambda: found(copy), found(index), "")


@each_harm
def test_an_index_of_a_damaged_run(run: Path, related_features: Path, tmp_path: Path, harm) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    build_index(IndexConfig(run=str(copy), features=related_features))
    harm(copy / "model.safetensors")
    with pytest.raises(InputError, match=r"other weights|model.safetensors is missing"):
        found(copy)


@each_harm
@pytest.mark.parametrize("name", ["manifest.json", "short.csv", "long.parquet"])
def test_measurements(related_features: Path, tmp_path: Path, name: str, harm) -> None:
    frames = {"short": pd.DataFrame({"a": [1, 2]}), "long": pd.DataFrame({"n": range(LONG)})}
    config = FigureConfig(features=related_features, results=tmp_path)
    measured("01_data", config, lambda _: frames)
    harm(tmp_path / "01_data" / name)
    with pytest.raises(InputError, match=f"{name} is |holds no measurements"):
        read_measured(tmp_path / "01_data")


def test_a_checkpoint_of_an_earlier_version_is_resumed(
    run: Path, longer: Path, tmp_path: Path, tiny: Callable[..., TrainConfig]
) -> None:
    """Its files were not noted."""
    copy = shutil.copytree(run, tmp_path / "run")
    state = copy / "checkpoint" / "state.json"
    noted = json.loads(state.read_text())
    assert set(noted.pop("files")) == {Path(n).name for n in RUN[5:]}
    state.write_text(json.dumps(noted))
    train(tiny(copy, steps=50))
    assert weights(copy) == weights(longer)
