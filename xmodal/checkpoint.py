"""The folder of one training run: whose it is, what is complete in it, and how it is loaded."""

import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors.torch import load_file

from xmodal.archive import is_packed, unpacked, verify
from xmodal.config import InputError, TrainConfig
from xmodal.model import JointEmbedding

TRAINING_VERSION = 1
"""Of what a training computes. Raise it when its numbers move: every run is then another one."""

SHIPPED = Path(__file__).parent / "weights"
"""Weights that come with the package, a folder a run."""

BYSTANDERS = {"features", "out", "steps", "passes", "patience", "overwrite", "progress"}
"""Settings that change how far a training goes, or where it is, but not its course."""


class RunFolder:
    """Files of a run: config.json, history.jsonl, model.safetensors, checkpoint/, result.json."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def claim(self, content: dict[str, Any], config: TrainConfig) -> None:
        """Make the folder this run's; ``content`` decides its course, beside its settings.

        InputError if it holds another run, or this one with more steps, and ``overwrite`` is not
        set; or if it holds something else than a run, which is never removed.
        """
        content = {"config": json.loads(config.model_dump_json()), **content}
        if (self.path / "config.json").exists():
            foreign = not same_course(self.read("config.json"), content)
            made = self.state().get("step", 0)
            if (foreign or made > config.steps) and not config.overwrite:
                what = "holds a run of another configuration, data set or version"
                if not foreign:
                    what = f"has made {made} steps, more than the {config.steps} asked for"
                raise InputError(
                    f"{self.path} {what}: choose another `out`, or set overwrite=true to replace it"
                )
            if foreign or made > config.steps:
                shutil.rmtree(self.path)
        elif any(path.suffix != ".tmp" for path in self.path.glob("*")):
            raise InputError(
                f"{self.path} holds something else than a training run, which is not replaced: "
                "choose another `out` or remove it"
            )
        if not self.complete(config):
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / "result.json").unlink(missing_ok=True)
            self.write("config.json", content)

    def complete(self, config: TrainConfig) -> bool:
        """Tell whether the claimed run has made all its steps."""
        if not (self.path / "result.json").exists():
            return False
        before = self.read("config.json")["config"]
        return (before["steps"], before["patience"]) == (config.steps, config.patience)

    def state(self) -> dict[str, Any]:
        """Return where the last whole checkpoint stands; empty if there is none."""
        latest, old = self.path / "checkpoint", self.path / "checkpoint.old"
        if old.exists() and not latest.exists():
            old.rename(latest)  # killed between the two renames of `keep`
        return self.read("checkpoint/state.json") if latest.exists() else {}

    def keep(self, fresh: Path, state: dict[str, Any]) -> None:
        """Make a freshly written checkpoint the current one; there is a whole one at any moment."""
        latest, old = self.path / "checkpoint", self.path / "checkpoint.old"
        (fresh / "state.json").write_text(json.dumps(state))
        shutil.rmtree(old, ignore_errors=True)
        if latest.exists():
            latest.rename(old)
        fresh.rename(latest)
        shutil.rmtree(old, ignore_errors=True)

    def add_to_history(self, line: dict[str, Any]) -> int:
        """Add a line to the history; return the history's length in bytes."""
        with open(self.path / "history.jsonl", "a") as history:
            history.write(json.dumps(line) + "\n")
            return history.tell()

    def cut_history(self, size: int) -> None:
        """Cut the history back to its length at the last checkpoint."""
        with open(self.path / "history.jsonl", "a") as history:
            history.truncate(size)

    def read(self, name: str) -> dict[str, Any]:
        """Return the content of one of the JSON files."""
        return json.loads((self.path / name).read_text())

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Write one of the JSON files, whole or not at all."""
        temporary = self.path / f"{name}.tmp"
        temporary.write_text(json.dumps(content, indent=2) + "\n")
        temporary.replace(self.path / name)


def same_course(stored: dict[str, Any], content: dict[str, Any]) -> bool:
    """Tell whether two contents of ``config.json`` describe the same training."""

    def course(one: dict[str, Any]) -> dict[str, Any]:
        config = TrainConfig(**one["config"])  # a setting that is new since then has its default
        ignored = BYSTANDERS - ({"steps"} if config.schedule == "cosine" else set())  # its rates
        return {**one, "config": config.model_dump(exclude=ignored)}

    try:
        return course(stored) == course(content)
    except (ValidationError, KeyError):
        return False


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's ``history.jsonl``: one for each validation."""
    return [json.loads(line) for line in (path / "history.jsonl").read_text().splitlines()]


def build_model(config: TrainConfig, sizes: dict[str, int]) -> JointEmbedding:
    """Return the untrained network of a run, for features and classes of the given sizes."""
    temperature = config.temperature if config.objective in ("infonce", "sigmoid") else None
    return JointEmbedding(config, **sizes, temperature=temperature)


def find_run(run: Path | str) -> Path:
    """Return the folder of a run: as given, or of weights of that name that come with the package.

    A run may be packed, see `xmodal.archive`. InputError if there is no finished run, or a file of
    weights that were handed on is not as it was.
    """
    if is_packed(str(run)):
        return unpacked(str(run))
    if not Path(run).exists() and (SHIPPED / run).is_dir():
        return verify(SHIPPED / run)
    if not Path(run, "result.json").exists():
        raise InputError(
            f"{run} holds no finished training run: run 02_train.ipynb (or xmodal train) first"
        )
    return Path(run)


def load_run(run: Path | str) -> tuple[JointEmbedding, TrainConfig]:
    """Return the best model of a run, on the CPU in float32, and its configuration: `find_run`."""
    out = find_run(run)
    stored = RunFolder(out).read("config.json")
    config = TrainConfig(**stored["config"])
    model = build_model(config, stored["sizes"])
    model.load_state_dict(load_file(out / "model.safetensors"))
    return model.eval(), config
