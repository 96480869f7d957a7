"""The folder of one training run: whose it is, what is complete in it, and how it is loaded."""

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load_file, save

from xmodal.config import InputError, TrainConfig, validated
from xmodal.data.schema import AUDIO_DIM, VISUAL_DIM
from xmodal.files import WEIGHTS, atomic, digest, find_run, recover, remove, replace, require_empty
from xmodal.model import JointEmbedding

#: Version of what a training computes. Raise it when its numbers move: all is then trained anew.
TRAINING_VERSION = 1

SCALE = ".scale"  # of weights that are stored in 8 bits: a factor for each row
NOTED = {"weights": WEIGHTS, "history": "history.jsonl"}  # by their SHA-256
REPLACED = ("result.json", "recall.csv", "ranks.parquet", "checkpoint", "history.jsonl", WEIGHTS)
#: Settings that say how far a training goes, or where it is, and leave its course as it is.
SAME_COURSE = {"features", "out", "steps", "passes", "patience", "overwrite", "progress"}
GONE = {"readers", "gather_negatives"}  # settings of earlier versions, still in some config.json


class RunFolder(NamedTuple):
    """Files of a run: config.json, history.jsonl, model.safetensors, checkpoint/, result.json."""

    path: Path

    def claim(self, identity: dict[str, Any], config: TrainConfig) -> None:
        """Make the folder that of a run, whose settings and ``identity`` decide its course.

        InputError if it is damaged or holds something else, or, without ``overwrite``, another run.
        """
        others = list[str]()
        if (self.path / "config.json").exists():
            ignored = SAME_COURSE - ({"steps"} if config.schedule == "cosine" else set())
            here = self.config()
            stored = {**self.read("config.json"), **here.model_dump(exclude=ignored)}
            asked = {**identity, **config.model_dump(exclude=ignored)}
            others = [name for name in asked if stored.get(name) != asked[name]]
            others += ["steps"] if (state := self.state())["step"] > config.steps else []
            if others and not config.overwrite:
                told = f"{self.path} holds another run, which differs in {', '.join(others)}"
                raise InputError(f"{told}: choose another `out`, or set overwrite=true")
            if not others and state["step"]:
                RunFolder(self.path / "checkpoint").require(state.get("files", {}))
                lines = read_history(self.path)
                if state.get("line", lines[-1]) not in lines:
                    raise self.damaged("checkpoint")
                if lines[-1] == state.get("line"):  # if not, what follows it is redone
                    self.require({name: state[key] for key, name in NOTED.items() if key in state})
            same_length = (here.steps, here.patience) == (config.steps, config.patience)
            if not others and same_length and (self.path / "result.json").exists():
                return  # it is complete
        else:
            require_empty(self.path, "a training run")
        for name in REPLACED if others else ["result.json"]:
            remove(self.path / name)
        self.write("config.json", {"config": config.model_dump(mode="json"), **identity})

    def config(self) -> TrainConfig:
        stored = self.read("config.json", "config", "sizes")["config"]
        return validated(TrainConfig, {name: stored[name] for name in stored if name not in GONE})

    def encoder(self) -> str:
        """Return what made the features it takes, or ""; by their sizes, YouTube-8M's are known."""
        stored = self.read("config.json", "sizes")
        yt8m = stored["sizes"].items() >= {"visual_dim": VISUAL_DIM, "audio_dim": AUDIO_DIM}.items()
        return stored.get("encoder", "yt8m" if yt8m else "")

    def state(self) -> dict[str, Any]:
        """Return where the last checkpoint stands."""
        recover(self.path / "checkpoint")
        if not (self.path / "checkpoint").exists():
            return {"step": 0, "best_step": 0, "best_recall": -1.0}
        return self.read("checkpoint/state.json", "step", "best_step", "best_recall")

    def result(self) -> dict[str, Any]:
        """Return the result of a finished run; InputError if a file is not as it was written."""
        found = self.read("result.json", "best_step")
        self.require({name: found[key] for key, name in NOTED.items() if key in found})
        return found

    def note(self, line: dict[str, Any], model: JointEmbedding, state: dict[str, Any]) -> None:
        """Add a validation to the history, and keep the weights if they are the best so far."""
        history = read_history(self.path) if state["step"] else []
        history = [one for one in history if one["step"] <= state["step"]]  # the rest is redone
        text = "".join(json.dumps(one) + "\n" for one in [*history, line])
        state |= {"step": line["step"], "line": line}
        state["history"] = self.write("history.jsonl", text.encode())
        if line["recall_at_1"] > state["best_recall"]:
            state |= {"best_step": line["step"], "best_recall": line["recall_at_1"]}
            state["weights"] = self.write(WEIGHTS, save(model.state_dict()))

    def keep(self, fresh: Path, state: dict[str, Any]) -> None:
        """Make a freshly written checkpoint the current one; one of the two is always there."""
        files = {path.name: digest(path) for path in fresh.iterdir()}
        (fresh / "state.json").write_text(json.dumps({**state, "files": files}))
        for name in files:  # weights are written for their owner alone, whatever the umask says
            shutil.copymode(fresh / "state.json", fresh / name)
        replace(self.path / "checkpoint", fresh)

    def read(self, name: str, *keys: str) -> dict[str, Any]:
        """Return the content of a JSON file; InputError unless it is whole and has the keys."""
        try:
            content = json.loads((self.path / name).read_text())
        except (OSError, ValueError):
            content = None
        if not isinstance(content, dict) or not content.keys() >= set(keys):
            raise self.damaged(name)
        return content

    def write(self, name: str, content: dict[str, Any] | bytes) -> str:
        """Write a file, as JSON if it is no bytes, and return its SHA-256."""
        if isinstance(content, dict):
            content = (json.dumps(content, indent=2) + "\n").encode()
        with atomic(self.path / name) as fresh:
            fresh.write_bytes(content)
        return sha256(content).hexdigest()

    def require(self, files: dict[str, str]) -> None:
        """Refuse files, by name, that have changed since their SHA-256 was noted."""
        for name, noted in files.items():
            if not (self.path / name).is_file() or digest(self.path / name) != noted:
                raise self.damaged(name)

    def damaged(self, name: str) -> InputError:
        """Return the error of a file that is missing, or not as it was written."""
        file = f"{self.path / name} is missing, damaged or of another program"
        return InputError(f"{file}: restore it, or remove {self.path} and train again")


def load_run(run: Path | str) -> tuple[JointEmbedding, TrainConfig]:
    """Return the best model of a run, on the CPU in float32, and its configuration.

    ``run`` is a folder or the name of shipped weights; InputError if it is unfinished or damaged.
    """
    folder = RunFolder(find_run(run))
    config, sizes = folder.config(), folder.read("config.json")["sizes"]
    folder.result()
    stored = load_file(folder.path / WEIGHTS)
    scales = {name: stored.pop(name + SCALE) for name in [*stored] if name + SCALE in stored}
    try:
        model = build_model(config, sizes)
        model.load_state_dict({name: stored[name] * scales.get(name, 1) for name in stored})
    except RuntimeError:  # the weights are those that were written, so they are not the network's
        raise folder.damaged("config.json") from None
    return model.eval(), config


def build_model(config: TrainConfig, sizes: dict[str, int]) -> JointEmbedding:
    """Return the untrained network of a run, for features and classes of the given sizes."""
    temperature = config.temperature if config.objective in ("infonce", "sigmoid") else None
    return JointEmbedding(config, **sizes, temperature=temperature)


def read_history(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's ``history.jsonl``, one for each validation."""
    try:
        lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
        max(line["step"] for line in lines)
    except (OSError, ValueError, TypeError, LookupError):
        raise RunFolder(run).damaged("history.jsonl") from None
    if (run / "result.json").exists():
        RunFolder(run).result()
    return lines
