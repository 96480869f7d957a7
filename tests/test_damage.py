"""Each file of a run, a feature set and an index emptied, cut, missing, or of another program.

What reads the folder says so in a sentence.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from xmodal.checkpoint import load_run, read_history
from xmodal.config import InputError, TrainConfig
from xmodal.data.features import ARRAYS, SPLITS, open_features
from xmodal.index import build_index
from xmodal.search import open_gallery
from xmodal.search_options import IndexConfig
from xmodal.train import train

OTHERS = {
    ".json": b'{"model_type": "of another program", "files": 3}',
    ".jsonl": b'{"epoch": 1}\n',
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


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def of_another_network(path: Path) -> None:
    content = json.loads(path.read_text())
    content["config"]["visual_hidden"] = [1]
    path.write_text(json.dumps(content))


HARMS = [emptied, cut, missing, of_another_program]
PENALTIES = ["visual_penalty", "audio_penalty"]
CHECKPOINT = ["state.json", "model.safetensors", "optimizer.bin", "random_states_0.pkl"]
RUN = ["config.json", "model.safetensors", "history.jsonl"]
#: What each folder holds that cannot be missed.
FILES = {
    "run": [*RUN[:2], "result.json"],
    "history": ["history.jsonl"],
    "checkpoint": [*RUN[:3], *(f"checkpoint/{name}" for name in CHECKPOINT)],
    "features": ["manifest.json", "label_names.json", *(f"validation/{x}.npy" for x in ARRAYS)],
    "index": ["index.json", *(f"{name}.npy" for name in (*ARRAYS, *PENALTIES))],
}
EACH = [(kind, name, harm) for kind, names in FILES.items() for name in names for harm in HARMS]
EACH += [(kind, "model.safetensors", flipped) for kind in ("run", "checkpoint")]
EACH += [("run", "config.json", of_another_network)]


@pytest.fixture(scope="module")
def folders(
    tiny: Callable[..., TrainConfig],
    related_features: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """Return a whole folder of each kind."""
    run, index = (tmp_path_factory.mktemp("whole") / name for name in ("run", "index"))
    train(tiny(run))
    build_index(IndexConfig(run=str(run), features=related_features, out=index))
    held = sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())
    assert held == sorted({*FILES["run"], *FILES["history"], *FILES["checkpoint"]})
    banks = {"visual_bank.npy", "audio_bank.npy"}  # are read when clips are added
    assert {path.name for path in index.iterdir()} == {*FILES["index"], *banks}
    whole = dict.fromkeys(("run", "history", "checkpoint"), run)
    return whole | {"features": related_features, "index": index}


@pytest.fixture(scope="module")
def read(tiny: Callable[..., TrainConfig]) -> dict[str, Callable[[Path], Any]]:
    """Return how a folder of each kind is read, into what can be compared."""

    def weights(run: Path) -> dict[str, list]:
        return {name: value.tolist() for name, value in load_run(run)[0].state_dict().items()}

    def go_on(run: Path) -> bytes:
        train(tiny(run, steps=50))
        return (run / "checkpoint/model.safetensors").read_bytes()

    def features(folder: Path) -> list:
        sets = [open_features(folder, split) for split in SPLITS]
        rows = [[s.visual.tolist(), s.audio.tolist(), s.ids.tolist(), s.fingerprint] for s in sets]
        return rows + [[s.labels.toarray().tolist(), s.label_names] for s in sets]

    def index(folder: Path) -> list:
        opened = open_gallery(folder)
        some = opened.search(video=str(opened.ids[5]), k=20)
        return [some.values.tolist(), opened.ids.tolist(), list(opened.labels.indices)]

    read_lines = {"history": read_history, "checkpoint": go_on, "features": features}
    return {"run": weights, **read_lines, "index": index}


@pytest.fixture(scope="module")
def expected(folders, read, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    copies = {kind: tmp_path_factory.mktemp("read") / kind for kind in folders}
    return {k: read[k](shutil.copytree(folders[k], copies[k])) for k in folders}


@pytest.mark.parametrize(("kind", "name", "harm"), EACH, ids=lambda x: getattr(x, "__name__", x))
def test_damage_is_told_or_harmless(
    kind: str, name: str, harm, folders, read, expected, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(folders[kind], tmp_path / "copy"))
    harm(copy / name)
    with pytest.raises(InputError, match="copy"):
        read[kind](copy)
