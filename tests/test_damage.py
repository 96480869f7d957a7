"""Each file of a run, a feature set and an index emptied, cut, missing, or of another program.

What reads the folder says so in a sentence.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

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


def open_all(kind: str, folder: Path, tiny: Callable[..., TrainConfig]) -> None:
    """Read all that a folder of a kind holds."""
    if kind == "run":
        load_run(folder)
    elif kind == "history":
        read_history(folder)
    elif kind == "checkpoint":
        train(tiny(folder, steps=50))
    elif kind == "features":
        assert [open_features(folder, split).split for split in SPLITS] == [*SPLITS]
    else:
        opened = open_gallery(folder)
        assert len(opened.search(video=str(opened.ids[5]), k=20)) == 20


@pytest.mark.parametrize("kind", FILES)
def test_a_whole_folder_is_read(kind: str, folders, tiny, tmp_path: Path) -> None:
    open_all(kind, Path(shutil.copytree(folders[kind], tmp_path / "copy")), tiny)


@pytest.mark.parametrize(("kind", "name", "harm"), EACH, ids=lambda x: getattr(x, "__name__", x))
def test_damage_is_told(kind: str, name: str, harm, folders, tiny, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folders[kind], tmp_path / "copy"))
    harm(copy / name)
    with pytest.raises(InputError, match="copy"):
        open_all(kind, copy, tiny)
