"""The command line: what it takes, what it prints, and how it complains."""

from collections.abc import Callable
from pathlib import Path

import pytest

from xmodal.config import InputError
from xmodal.pipeline.cli import configure, stages
from xmodal.train import TrainConfig, train

Call = Callable[..., tuple[int, str, str]]
COMMANDS = ["fields", "sample", "prepare", "train", "evaluate", "data", "notebook", "report"]
COMMANDS += ["download", "resolve", "inspect", "measure", "check"]


def test_help_names_every_command(call: Call):
    status, out, _ = call("--help")
    assert status == 0
    assert [name for name in COMMANDS if name not in out] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(call: Call, command: str):
    status, out, err = call(command, "--help")
    assert (status, err) == (0, "")
    assert f"{command} [OPTIONS]" in out


@pytest.mark.parametrize("command", ["sample", "prepare", "train", "evaluate", "measure"])
def test_fields_lists_the_whole_configuration(call: Call, command: str):
    status, out, _ = call("fields", command)
    lines = out.splitlines()
    assert status == 0
    assert [line.split(" = ")[0] for line in lines[::2]] == list(stages()[command].model_fields)
    assert all(line.startswith("    ") and line.strip() for line in lines[1::2])


def test_values_are_read_as_yaml():
    config = configure(
        TrainConfig,
        ["visual-hidden=[64, 32]", "learning_rate=1e-4", "patience=", "out=a=b", "overwrite=true"],
    )
    assert isinstance(config, TrainConfig)
    assert (config.visual_hidden, config.learning_rate, config.patience) == ((64, 32), 1e-4, None)
    assert (config.out, config.overwrite) == (Path("a=b"), True)


@pytest.mark.parametrize(
    "words, said",
    [
        (["train", "steps"], "'steps' is not of the form NAME=VALUE"),
        (["train", "stepz=3"], "there is no parameter stepz; did you mean steps?"),
        (["train", "steps=many"], "parameter steps: "),
        (["train", "visual_hidden=[1"], "the value of 'visual_hidden=[1' is no YAML"),
        (["train", "visual_hidden=[0]"], "parameter visual_hidden.0: "),
        (["evaluate", "galleries=[0]"], "parameter galleries.0: "),
        (["train", "variant=[text]"], "parameter variant: "),
        (["train", "features=5", "out=x"], "parameter features: "),
        (["train", "features=nowhere"], "nowhere: holds no feature set"),
        (["prepare"], "parameter shards: Field required"),
        (["evaluate", "features=nowhere"], "nowhere: holds no feature set"),
        (["fields", "report"], "report has no configuration; there are sample, "),
        (["report", "nowhere"], "nowhere/verdict.md is missing"),
        (["notebook", "a.ipynb", "b.ipynb", "{"], "the parameters are no JSON"),
    ],
)
def test_bad_input_is_told_in_one_sentence(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], said: str
):
    monkeypatch.chdir(tmp_path)
    status, out, err = call(*words)
    assert (status, out) == (2, "")
    assert err.startswith("xmodal: ") and said in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_training_tells_where_it_came_to(call: Call, tmp_path: Path, related_features: Path):
    options = ["batch_size=32", "visual_hidden=[8]", "audio_hidden=[8]", "embedding_dim=4"]
    status, out, _ = call(
        *("train", f"features={related_features}", f"out={tmp_path / 'run'}", "steps=2", *options)
    )
    assert status == 0
    assert "2 steps; best validation Recall@1" in out and "at step 2" in out


def test_evaluation_prints_both_readings(
    call: Call, tmp_path: Path, tiny: Callable[..., TrainConfig], related_features: Path
):
    train(tiny(tmp_path / "dim8-seed0"))
    status, out, err = call(
        *("evaluate", f"features={related_features}", f"runs_folder={tmp_path}"),
        *("dimension=8", "galleries=[32]", "resamples=10"),
    )
    assert (status, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0][:2] == ["embedding_dim", "gallery"]
    assert lines[1][:2] == ["8", "64"]
    assert [line[0] for line in lines[2:]] == ["gallery", "16", "32", "64"]
    assert out.count("audio→video R@1 ") == 2


def test_evaluation_without_a_run_is_told(call: Call, tmp_path: Path, related_features: Path):
    status, _, err = call("evaluate", f"features={related_features}", f"runs_folder={tmp_path}")
    assert status == 2 and "run 02_train.ipynb first" in err


def test_an_option_that_is_not_finished_is_an_input_error():
    with pytest.raises(InputError, match="NAME=VALUE"):
        configure(TrainConfig, ["steps"])
