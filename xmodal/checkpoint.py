"""The folder of one training run: what it holds, whose it is, and what is complete in it."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from xmodal.config import InputError, TrainConfig
from xmodal.model import JointEmbedding

TRAINING_VERSION = 1
"""Of what a training computes. Raise it when numbers move: every run is then another one."""


class RunFolder:
    """Files of a run: config.json, history.jsonl, model.safetensors, checkpoint/, result.json.

    Parameters
    ----------
    path : Path
        The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def claim(self, identity: str, steps: int, overwrite: bool) -> None:
        """Make sure that the folder is this run's, or empty.

        Parameters
        ----------
        identity : str
            Digest of all that decides the course of the training.
        steps : int
            Steps that it shall make.
        overwrite : bool
            Remove another run that is there.

        Raises
        ------
        InputError
            If the folder holds another run, or this one with more steps, and ``overwrite`` is not
            set; or if it holds something else than a run, which is never removed.
        """
        if (self.path / "config.json").exists():
            foreign = self.read("config.json")["identity"] != identity
            made = self.state().get("step", 0)
            if (foreign or made > steps) and overwrite:
                shutil.rmtree(self.path)
            elif foreign:
                raise InputError(
                    f"{self.path} holds a run of another configuration, data set or code: "
                    "choose another `out`, or set overwrite=true to replace it"
                )
            elif made > steps:
                raise InputError(
                    f"{self.path} has made {made} steps, more than the {steps} asked for: "
                    "choose another `out`, or set overwrite=true to start again"
                )
        elif any(path.suffix != ".tmp" for path in self.path.glob("*")):
            raise InputError(
                f"{self.path} holds something else than a training run, which is not replaced: "
                "choose another `out` or remove it"
            )

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

    def note(self, line: dict[str, Any]) -> int:
        """Add a line to the history; return the history's length in bytes."""
        with open(self.path / "history.jsonl", "a") as history:
            history.write(json.dumps(line) + "\n")
            return history.tell()

    def forget(self, size: int) -> None:
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


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's ``history.jsonl``: one for each validation."""
    return [json.loads(line) for line in (path / "history.jsonl").read_text().splitlines()]


def digest(*parts: str) -> str:
    """Return a digest of texts."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def load_run(out: Path) -> tuple[JointEmbedding, TrainConfig]:
    """Return the best model of a finished run, on the CPU, and its configuration.

    Raises
    ------
    InputError
        If there is no finished run in ``out``.
    """
    if not (out / "result.json").exists():
        raise InputError(
            f"{out} holds no finished training run: run 02_train.ipynb (or xmodal train) first"
        )
    stored = json.loads((out / "config.json").read_text())
    config = TrainConfig(**stored["config"])
    model = build_model(config, **stored["sizes"])
    model.load_state_dict(load_file(out / "model.safetensors"))
    return model.eval(), config


def build_model(config: TrainConfig, visual_dim: int, audio_dim: int, classes: int):
    """Return the untrained network that a configuration describes."""
    return JointEmbedding(
        visual_dim,
        audio_dim,
        config.visual_hidden,
        config.audio_hidden or (),
        config.embedding_dim,
        classes,
        bool(config.relu_embedding),
        bool(config.joint_normalise),
        config.dropout_input,
        config.dropout,
        config.activation,
        config.standardise,
        config.temperature if config.objective in ("infonce", "sigmoid") else None,
        config.initialisation,
    )
