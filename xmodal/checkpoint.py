"""The folder of one training run: whose it is, what is complete in it, and how it is loaded."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from xmodal.config import InputError, TrainConfig
from xmodal.files import atomic, recover, remove, replace, require_empty
from xmodal.model import JointEmbedding

TRAINING_VERSION = 1
"""Of what a training computes. Raise it when its numbers move: every run is then another one."""

WEIGHTS = "model.safetensors"
"""The weights with the best validation recall, in the folder of a run."""

SHIPPED = Path(__file__).parent / "weights"
"""Weights that come with the package, a folder a run."""

BYSTANDERS = {"features", "out", "steps", "passes", "patience", "overwrite", "progress"}
"""Settings that change how far a training goes, or where it is, but not its course."""

BEST: dict[str, Any] = {"step": int, "best_step": int, "best_recall": int | float}
STATE = BEST | {"logged_step": int, "history_bytes": int, "files": dict | None}
HOLDS: dict[str, dict[str, Any]] = {
    "config.json": {"config": dict, "sizes": dict},
    "checkpoint/state.json": STATE,
    "result.json": BEST,
}
"""What each JSON file of a run says, among other things, and as what."""

OWN = ("result.json", "recall.csv", "checkpoint", "history.jsonl", WEIGHTS)
"""What a training replaces, beside config.json; all else in its folder is its user's."""


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def intact(path: Path, sha256: str) -> bool:
    """Tell whether a file is there and has the SHA-256 that was noted when it was written."""
    return path.is_file() and digest(path) == sha256


def verify(folder: Path) -> Path:
    """Return a folder of weights that are handed on; InputError if its manifest says otherwise."""
    for name, sha256 in json.loads((folder / "manifest.json").read_text()).items():
        if not intact(folder / name, sha256):
            raise InputError(f"{folder / name} is missing or damaged: install the package again")
    return folder


class RunFolder:
    """Files of a run: config.json, history.jsonl, model.safetensors, checkpoint/, result.json."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def claim(self, content: dict[str, Any], config: TrainConfig) -> None:
        """Make the folder this run's; ``content`` decides its course, beside its settings.

        InputError if it holds another run, or this one with more steps, and ``overwrite`` is not
        set; if it holds something else than a run, which is never removed; or if the disk is too
        small.
        """
        content = {"config": json.loads(config.model_dump_json()), **content}
        made, differing = 0, list[str]()
        if (self.path / "config.json").exists():
            differing = differences(self.read("config.json"), content)
            made = self.state().get("step", 0)
        else:
            require_empty(self.path, "a training run")
        replaced = bool(differing) or made > config.steps
        if replaced and not config.overwrite:
            what = f"has made {made} steps, more than the {config.steps} asked for"
            if differing:
                told = "; ".join(differing)
                what = f"holds a run of another configuration, data set or version ({told})"
            raise InputError(
                f"{self.path} {what}: choose another `out`, or set overwrite=true to replace it"
            )
        if not replaced and self.complete(config):
            return
        for name in OWN if replaced else ["result.json"]:
            remove(self.path / name)
        self.path.mkdir(parents=True, exist_ok=True)
        self.write("config.json", content)

    def complete(self, config: TrainConfig) -> bool:
        """Tell whether the claimed run has made all its steps."""
        if not (self.path / "result.json").exists():
            return False
        before = self.read("config.json")["config"]
        return (before["steps"], before["patience"]) == (config.steps, config.patience)

    def state(self) -> dict[str, Any]:
        """Return where the last whole checkpoint stands; empty if there is none."""
        recover(self.path / "checkpoint")
        there = (self.path / "checkpoint").exists()
        return self.read("checkpoint/state.json") if there else {}

    def keep(self, fresh: Path, state: dict[str, Any]) -> None:
        """Make a freshly written checkpoint the current one; there is a whole one at any moment."""
        files = {path.name: digest(path) for path in fresh.iterdir()}
        (fresh / "state.json").write_text(json.dumps({**state, "files": files}))
        replace(self.path / "checkpoint", fresh)

    def verify(self, state: dict[str, Any]) -> None:
        """Make sure that the last checkpoint is as it was written; InputError if it is not."""
        for name, noted in state.get("files", {}).items():
            if not intact(self.path / "checkpoint" / name, noted):
                raise self.damaged(f"checkpoint/{name}")

    def add_to_history(self, line: dict[str, Any]) -> int:
        """Add a line to the history; return the history's length in bytes."""
        with open(self.path / "history.jsonl", "a") as history:
            history.write(json.dumps(line) + "\n")
            return history.tell()

    def cut_history(self, size: int) -> None:
        """Cut the history back to its length at the last checkpoint."""
        with open(self.path / "history.jsonl", "a") as history:
            if history.tell() < size:
                raise self.damaged("history.jsonl")
            history.truncate(size)

    def read(self, name: str) -> dict[str, Any]:
        """Return the content of one of the JSON files; InputError if it is damaged."""
        try:
            content = json.loads((self.path / name).read_text())
            sound = all(isinstance(content.get(key), kind) for key, kind in HOLDS[name].items())
            if sound and all(content[key] >= 0 for key, kind in HOLDS[name].items() if kind is int):
                return content
        except (OSError, ValueError, AttributeError):
            pass
        raise self.damaged(name)

    def load_weights(self, model: JointEmbedding) -> None:
        """Load the weights with the best validation recall; InputError if they are damaged."""
        try:
            model.load_state_dict(load_file(self.path / WEIGHTS))
        except (OSError, SafetensorError, RuntimeError):
            raise self.damaged(WEIGHTS) from None

    def damaged(self, name: str) -> InputError:
        """Return what is told of a file that is missing, or not as a training writes it."""
        return InputError(
            f"{self.path / name} is missing, damaged or of another program: restore it, or remove "
            f"{self.path} and train again"
        )

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Write one of the JSON files, whole or not at all."""
        with atomic(self.path / name) as fresh:
            fresh.write_text(json.dumps(content, indent=2) + "\n")


def differences(stored: dict[str, Any], content: dict[str, Any]) -> list[str]:
    """Say in what the trainings of two contents of ``config.json`` differ, if they do."""

    def course(one: dict[str, Any]) -> dict[str, Any]:
        config = TrainConfig(**one["config"])  # a setting that is new since then has its default
        ignored = BYSTANDERS - ({"steps"} if config.schedule == "cosine" else set())  # its rates
        return {**one, **config.model_dump(exclude=ignored), "config": None}

    try:
        old, new = course(stored), course(content)
    except (ValidationError, TypeError):
        return ["its settings are of another version"]
    return [
        f"{name}: {str(old.get(name))[:40]} there, {str(new.get(name))[:40]} asked for"
        for name in {**new, **old}
        if old.get(name) != new.get(name)
    ]


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's ``history.jsonl``: one for each validation."""
    folder = RunFolder(path)
    try:
        history = [json.loads(line) for line in (path / "history.jsonl").read_text().splitlines()]
        steps = [line["step"] for line in history]
    except (OSError, ValueError, TypeError, KeyError):
        raise folder.damaged("history.jsonl") from None
    if (path / "result.json").exists() and steps[-1:] != [folder.read("result.json")["step"]]:
        raise folder.damaged("history.jsonl")
    return history


def build_model(config: TrainConfig, sizes: dict[str, int]) -> JointEmbedding:
    """Return the untrained network of a run, for features and classes of the given sizes."""
    temperature = config.temperature if config.objective in ("infonce", "sigmoid") else None
    return JointEmbedding(config, **sizes, temperature=temperature)


def find_run(run: Path | str) -> Path:
    """Return the folder of a run: as given, or of weights of that name that come with the package.

    InputError if there is no finished run, or a file of the package's weights is damaged.
    """
    run = os.path.expanduser(str(run))
    if not Path(run).exists() and (SHIPPED / run).is_dir():
        return verify(SHIPPED / run)
    if not Path(run, "result.json").exists():
        raise InputError(
            f"{run} holds no finished training run: run 02_train.ipynb (or xmodal train) first"
        )
    RunFolder(Path(run)).read("result.json")
    return Path(run)


def load_run(run: Path | str) -> tuple[JointEmbedding, TrainConfig]:
    """Return the best model of a run, on the CPU in float32, and its configuration: `find_run`."""
    folder = RunFolder(find_run(run))
    stored, noted = folder.read("config.json"), folder.read("result.json").get("weights")
    if noted and not intact(folder.path / WEIGHTS, noted):
        raise folder.damaged(WEIGHTS)
    try:
        config = TrainConfig(**stored["config"])
        model = build_model(config, stored["sizes"])
    except (ValidationError, TypeError, RuntimeError):  # of torch: sizes that no network has
        raise folder.damaged("config.json") from None
    folder.load_weights(model)
    return model.eval(), config
