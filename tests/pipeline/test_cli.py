"""The command line: what it takes, what it prints, and how it complains."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from xmodal.cli import COMMANDS
from xmodal.config import InputError, StageConfig, validated
from xmodal.data.prepare import PrepareConfig
from xmodal.evaluation.recall import MeasureConfig
from xmodal.media.extract import ExtractConfig
from xmodal.options import CommandLine, InspectConfig
from xmodal.synthetic.sample import SampleConfig
from xmodal.train import TrainConfig, train
from xmodal.youtube8m.download import DownloadConfig
from xmodal.youtube8m.resolve import ResolveConfig
from xmodal_suite.cli import COMMANDS as SUITE
from xmodal_suite.dataset import DataConfig
from xmodal_suite.published import RecallConfig

Call = Callable[..., tuple[int, str, str]]
CONFIGS: dict[str, type[StageConfig]] = {
    **{"sample": SampleConfig, "prepare": PrepareConfig, "train": TrainConfig, "data": DataConfig},
    **{"evaluate": RecallConfig, "measure": MeasureConfig},
    **{"download": DownloadConfig, "resolve": ResolveConfig, "extract": ExtractConfig},
}


def read(config_type: type[StageConfig], *words: str) -> StageConfig:
    return CommandLine("command", "", list(words)).read(config_type)


# --- help ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_names_every_command(call: Call, words: list[str]):
    status, out, _ = call(*words)
    assert status == 0
    listed = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    assert listed == [*COMMANDS, *SUITE]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(call: Call, command: str):
    status, out, err = call(command, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: xmodal {command} ")


def test_help_is_there_at_once():
    """Nothing heavy is imported for it, and for a training's options no more than its fields."""
    for words, heavy in (
        ([], ["importlib.metadata", "numpy", "pydantic", "torch"]),
        (["train"], ["numpy", "torch"]),
        (["evaluate"], ["accelerate", "IPython", "jinja2", "matplotlib", "seaborn", "snakemake"]),
    ):
        code = f"import sys; sys.argv[1:] = {[*words, '--help']}\n"
        code += "from xmodal.cli import main\n"
        code += f"try: main()\nfinally: print([m for m in {heavy} if m in sys.modules])"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert run.stdout.splitlines()[-1] == "[]", run.stdout + run.stderr


@pytest.mark.parametrize("command, config_type", CONFIGS.items(), ids=list(CONFIGS))
def test_help_lists_every_option_with_its_description_and_default(
    call: Call, command: str, config_type: type[StageConfig]
):
    _, out, _ = call(command, "--help")
    assert call("fields", command)[1] == out
    options = [" ".join(part.split()) for part in re.split(r"\n  (?=[-A-Z])", out)]
    for name, field in config_type.model_fields.items():
        starts = (f"--{name} ", f"--{name},", f"{name.upper()} ")
        (option,) = [option for option in options if option.startswith(starts)]
        assert field.description and " ".join(field.description.split()) in option
        if not option.startswith(name.upper()):
            assert ("(required)" if field.is_required() else "(default: ") in option


# --- values --------------------------------------------------------------------------------------

WIDTHS = (64, 32)


@pytest.mark.parametrize(
    "words",
    [
        ["visual-hidden=[64, 32]", "learning_rate=1e-4", "patience=", "out=a=b", "overwrite=true"],
        ["--visual_hidden", "64,32", "--learning_rate=1e-4", "--out", "a=b", "--overwrite"],
        ["--visual_hidden", "[64,32]", "learning_rate=1e-4", "out=a=b", "--overwrite"],
        [
            *("overwrite=true", "--visual_hidden=64", "--visual_hidden", "32", "--out=a=b"),
            *("learning_rate=0.0001", "--patience=null"),
        ],
    ],
)
def test_options_and_words_say_the_same(words: list[str]):
    assert read(TrainConfig, *words) == TrainConfig(
        visual_hidden=WIDTHS, learning_rate=1e-4, out=Path("a=b"), overwrite=True
    )


def test_what_is_not_given_is_left_to_the_configuration():
    """A recipe fills in only what is not set, and no variable of the environment sets anything."""
    assert read(TrainConfig, "--recipe", "best", "--dropout", "0.1") == TrainConfig(
        recipe="best", dropout=0.1
    )


def test_the_environment_sets_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("steps", "5")
    monkeypatch.setenv("STEPS", "5")
    assert read(TrainConfig) == TrainConfig()


@pytest.mark.parametrize(
    "name, word, meant",
    [
        ("shards", "set #1", Path("set #1")),
        ("shards", "2018", Path("2018")),
        ("shards", "null", Path("null")),
        ("shards", "a: b", Path("a: b")),
        ("shards", "[a]", Path("[a]")),
        ("shards", "~/a~", Path.home() / "a~"),
        ("vocabulary", "~/a.csv", Path.home() / "a.csv"),
        ("vocabulary", "null", None),
        ("vocabulary", "", None),
        ("source", "0200", "0200"),
        ("source", "yes", "yes"),
        ("source", '"q"', '"q"'),
        ("evaluation_clips", "0200", 200),
        ("sample_clips", "null", None),
        ("evaluation_shards", "*validate*", "*validate*"),
        ("evaluation_shards", "[ab]*", "[ab]*"),
        ("evaluation_shards", "a,b", "a,b"),
        ("evaluation_shards", "null", None),
        ("evaluation_shards", '["*a*", "0200"]', ["*a*", "0200"]),
    ],
)
def test_a_word_is_a_word(name: str, word: str, meant: object):
    """Only the field that it is given to says what it means, however it is given."""
    for words in ([f"{name}={word}"], [f"--{name}", word], [f"--{name}={word}"]):
        assert getattr(read(DataConfig, *words), name) == meant


def test_a_list_of_paths_is_one_path_a_word():
    line = CommandLine("inspect", "", ["[a]", "b,c", "~/d"])
    given = line.read(InspectConfig, "shards")
    assert given.shards == [Path("[a]"), Path("b,c"), Path.home() / "d"]


def test_values_of_a_notebook_are_meant_as_words_are():
    given = {"source": 2018, "shards": 2, "vocabulary": "null", "results": "~/r"}
    config = validated(DataConfig, given)
    assert (config.source, config.shards) == ("2018", Path("2"))
    assert (config.vocabulary, config.results) == (None, Path.home() / "r")


def test_numbers_may_be_choices():
    line = CommandLine("download", "", ["--release", "1", "there", "--split=train"])
    config = line.read(DownloadConfig, "folder", splits="split")
    assert config == DownloadConfig(folder=Path("there"), release=1, splits=("train",))


def test_options_may_stand_between_what_has_no_name(call: Call, shard_folder: Path):
    first, second, *_ = sorted(shard_folder.glob("*.tfrecord"))
    status, out, _ = call("inspect", first, "--json", second)
    assert status == 0
    assert [shard["file"] for shard in json.loads(out)["shards"]] == [str(first), str(second)]


# --- complaints ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, said",
    [
        (["trian"], "there is no command trian; did you mean train?"),
        (["train", "steps"], "'steps' is not of the form NAME=VALUE"),
        (["train", "stepz=3"], "there is no parameter stepz; did you mean steps?"),
        (["train", "--stepz", "3"], "there is no parameter stepz; did you mean steps?"),
        (["train", "--step", "3"], "there is no parameter step; did you mean steps?"),
        (["train", "--shards", "x"], "no parameter shards; `xmodal COMMAND --help` lists all, to"),
        (["prepare", "shards=x", "out=\udce9"], "parameter out: its name is no UTF-8; rename it"),
        (["train", "--steps"], "argument --steps: expected one argument"),
        (["train", "steps=many"], "parameter steps: "),
        (["train", "--steps", "many"], "parameter steps: "),
        (["train", "visual_hidden=[1"], "parameter visual_hidden.0: "),
        (["train", "--visual_hidden", "[1"], "parameter visual_hidden.0: "),
        (["train", "out=", "--features="], "parameter features: "),
        (["train", "visual_hidden=[0]"], "parameter visual_hidden.0: "),
        (["evaluate", "galleries=[0]"], "parameter galleries.0: "),
        (["evaluate", "--galeries", "5"], "there is no parameter galeries; did you mean galleries"),
        (["train", "variant=[text]"], "parameter variant: "),
        (["train", "features=5", "out=x"], "5: holds no feature set"),
        (["train", "features=nowhere"], "nowhere: holds no feature set"),
        (["train", "features=nowhere", "progress=lines"], "nowhere: holds no feature set"),
        (["train", "--features", "nowhere"], "nowhere: holds no feature set"),
        (["prepare"], "parameter shards: Field required"),
        (["evaluate", "features=nowhere"], "nowhere: holds no feature set"),
        (["download"], "the following arguments are required: FOLDER"),
        (["compare", "a"], "the following arguments are required: FRESH"),
        (["fields", "nothing"], "there is no command nothing; there are sample, "),
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


def test_a_wrong_option_is_an_input_error():
    with pytest.raises(InputError, match="NAME=VALUE"):
        read(TrainConfig, "steps")


# --- what is printed -----------------------------------------------------------------------------


def test_training_tells_where_it_came_to(call: Call, tmp_path: Path, related_features: Path):
    options = ["batch_size=32", "visual_hidden=[8]", "audio_hidden=[8]", "--embedding_dim", "4"]
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


def xmodal(*words: object, **variables: str) -> subprocess.Popen:
    """Start the command line in a group of processes of its own, which hear of Ctrl-C."""
    return subprocess.Popen(
        [sys.executable, "-m", "xmodal", *map(str, words)],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True},
        env={**os.environ, **variables},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # nohup ignores it
    )


def test_what_an_encoding_lacks_is_printed_as_its_number():
    told = xmodal("fields", "train", PYTHONIOENCODING="ascii")
    out, err = told.communicate()
    assert (told.returncode, err) == (0, "") and r"--margin float        \u03b1 (section" in out


def test_ctrl_c_is_told_in_one_line_and_not_by_every_process(tmp_path: Path):
    shards = [tmp_path / f"{number}.tfrecord" for number in range(2)]
    for path in shards:
        os.mkfifo(path)  # whoever reads it waits for ever
    stopped = xmodal("inspect", *shards, "--jobs", 2)
    for path in shards:
        os.open(path, os.O_WRONLY)  # has to wait until a process reads it
    os.killpg(stopped.pid, signal.SIGINT)
    out, err = stopped.communicate(timeout=30)
    assert (stopped.returncode, out) == (130, "")
    assert err == "xmodal: stopped; the same command goes on where it was.\n"


def test_compatibility_compares_own_features_with_a_feature_set(
    call: Call, tmp_path: Path, related_features: Path
):
    arrays = [np.load(related_features / "train" / f"{name}.npy") for name in ("visual", "audio")]
    np.savez(tmp_path / "own.npz", visual=arrays[0] + 1, audio=arrays[1])
    status, out, _ = call("compatibility", tmp_path / "own.npz", related_features)
    assert status == 0
    rows = [line.split() for line in out.splitlines()[1:]]
    told = {" ".join(row[:-2]): float(row[-2]) for row in rows}
    assert told["visual clips"] == told["audio clips"] == 256
    assert told["visual offset of means"] > 1 and told["audio offset of means"] < 1e-3
    assert told["visual ratio of variances"] == pytest.approx(1, abs=1e-3)


# --- search --------------------------------------------------------------------------------------


def test_search_prints_a_table_json_or_csv(call: Call, tmp_path: Path):
    np.save(tmp_path / "query.npy", np.ones(1024, np.float32))
    words = ("search", "yt8m-recipe", "--features", tmp_path / "query.npy", "-k", 3)
    status, table, _ = call(*words)
    assert status == 0 and len(table.splitlines()) == 4
    found = json.loads(call(*words, "--json")[1])
    assert [one["rank"] for one in found] == [1, 2, 3]
    assert all(round(one["cosine"], 4) == one["cosine"] for one in found)
    read = pd.read_csv(io.StringIO(call(*words, "--csv")[1]))
    assert read["id"].tolist() == [one["id"] for one in found]
    (tmp_path / "ids.csv").write_text(f"id,youtube_id\n{found[1]['id']},abcdefghij_\n")
    linked = json.loads(call(*words, "--json", "--youtube_ids", tmp_path / "ids.csv")[1])
    assert [one["link"] for one in linked] == ["", "https://youtu.be/abcdefghij_", ""]


def test_a_file_is_a_query_by_its_features(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from xmodal.media import encoders, extract

    asked = []

    def embed(path: Path, modality: str, _: object) -> np.ndarray:
        asked.append((path.name, modality))
        return np.ones(1024 if modality == "visual" else 128, np.float32)

    monkeypatch.setattr(extract, "embed_file", embed)
    monkeypatch.setattr(encoders, "open_encoders", lambda *_: None)
    for find in ("audio", "video"):
        words = ("search", "yt8m-recipe", "--file", tmp_path / "clip.mp4", "--find", find)
        assert call(*words)[0] == 0
    assert asked == [("clip.mp4", "visual"), ("clip.mp4", "audio")]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--features", "gone.npy"), "gone.npy: cannot be read as an .npy array"),
        (("--features", "short.npy"), "give 1024 finite visual numbers"),
        (("--features", "short.npy", "--video", "a"), "one query is needed"),
        ((), "one query is needed"),
    ],
)
def test_a_query_that_is_none_is_told(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple, told: str
):
    monkeypatch.chdir(tmp_path)
    np.save("short.npy", np.ones(7))
    status, _, error = call("search", "yt8m-recipe", *words)
    assert status == 2 and told in error and len(error.splitlines()) == 1
