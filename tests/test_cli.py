"""The command line: what it takes, what it prints, and how it complains."""

import io
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from xmodal.cli import COMMANDS, CommandLine
from xmodal.config import StageConfig, TrainConfig
from xmodal.data.prepare import PrepareConfig
from xmodal.evaluation.recall import RANKS
from xmodal.search_options import SearchConfig
from xmodal.train import train
from xmodal.youtube8m.download import DownloadConfig
from xmodal.youtube8m.inspect import InspectConfig

Call = Callable[..., tuple[int, str, str]]


def read(config_type: type[StageConfig], *words: str, positional: str = "") -> StageConfig:
    return CommandLine("command", "", list(words)).read(config_type, *positional.split())


# --- help ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_names_every_command(call: Call, words: list[str]):
    status, out, _ = call(*words)
    listed = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    assert status == 0 and set(COMMANDS) <= set(listed)


def test_help_is_there_at_once():
    """Nothing heavy is imported for it, and for a training's options no more than its fields."""
    for words, heavy in (([], ["numpy", "pydantic", "torch"]), (["train"], ["numpy", "torch"])):
        code = f"import sys; sys.argv[1:] = {[*words, '--help']}\n"
        code += "from xmodal.cli import main\n"
        code += f"try: main()\nfinally: print([m for m in {heavy} if m in sys.modules])"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert run.stdout.splitlines()[-1] == "[]", run.stdout + run.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_every_option_with_its_description(
    call: Call, command: str, monkeypatch: pytest.MonkeyPatch
):
    status, out, err = call(command, "--help")
    asked: list[type[StageConfig]] = []
    monkeypatch.setattr(CommandLine, "read", lambda _, a, *__, **___: asked.append(a) or sys.exit())
    call(command)
    assert (status, err) == (0, "") and out.startswith(f"usage: xmodal {command} ")
    options = [" ".join(part.split()) for part in re.split(r"\n  (?=[-A-Z])", out)]
    for name, field in asked[0].model_fields.items():
        option = (field.alias or name).replace("_", "-")
        starts = (f"--{option} ", f"--{option},", f"-{option} ", f"{option.upper()} ")
        (told,) = [one for one in options if one.startswith(starts)]
        assert field.description and " ".join(field.description.split()) in told


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["--visual-hidden", "64,32", "--out", "a=b", "--overwrite", "--patience", "null"],
        ["--visual_hidden", "[64, 32]", "--out=a=b", "--overwrite=true", "--clip_each=false"],
        ["--visual-hidden=64", "--visual_hidden=32", "--no-clip-each", "--overwrite", "--out=a=b"],
    ],
)
def test_a_list_has_three_forms_and_a_name_two(words: list[str]):
    expected = TrainConfig(visual_hidden=(64, 32), out=Path("a=b"), overwrite=True)
    assert read(TrainConfig, *words) == expected


def test_what_is_not_given_is_left_to_the_configuration(monkeypatch: pytest.MonkeyPatch):
    """A recipe fills in only what is not set, and no variable of the environment sets anything."""
    monkeypatch.setenv("steps", "5")
    given = read(TrainConfig, "--recipe", "best", "--dropout", "0.1", "--progress", "lines")
    assert given == TrainConfig(recipe="best", dropout=0.1, progress="lines")


@pytest.mark.parametrize(
    ("name", "word", "meant"),
    [
        ("shards", "set #1", Path("set #1")),
        ("vocabulary", "null", None),
        ("vocabulary", "~/a.csv", Path.home() / "a.csv"),
        ("source", "0200", "0200"),
        ("source", "-5", "-5"),
        ("evaluation_clips", "0200", 200),
        ("evaluation_shards", "*validate*", ["*validate*"]),
        ("evaluation_shards", '["*a*", "0200"]', ["*a*", "0200"]),
    ],
)
def test_a_word_is_what_its_field_says(name: str, word: str, meant: object):
    words = {"shards": "s", "out": "o", name: word}
    given = read(PrepareConfig, *(f"--{n}={w}" for n, w in words.items()))
    assert getattr(given, name) == meant


def test_some_options_have_no_name_or_two():
    shards = read(InspectConfig, "a", "d", "--json", positional="shards")
    assert shards.shards == [Path("a"), Path("d")] and shards.as_json
    line = CommandLine("download", "", ["--jobs", "1", "there", "--split=train"])
    config = line.read(DownloadConfig, "folder", splits="split")
    assert config == DownloadConfig(folder=Path("there"), jobs=1, splits=("train",))
    label = read(SearchConfig, "runs/2", "--label", "2", "-k", "3", positional="run")
    assert (label.run, label.label, label.k) == ("runs/2", "2", 3)


# --- complaints ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["trian"], "did you mean train?"),
        (["train", "steps=3"], "steps=3"),
        (["train", "--stepz", "3"], "--stepz"),
        (["train", "--steps"], "--steps"),
        (["train", "--steps", "many"], "parameter steps"),
        (["train", "--visual-hidden", "[1"], "visual_hidden"),
        (["train", "--mixup", "1"], "mixup"),
        (["train", "--features", "nowhere"], "nowhere"),
        (["evaluate", "a", "--galleries", "0"], "galleries.0"),
        (["measure", "--visual", "a.npy"], "--audio"),
        (["measure", "nowhere.npz", "--out", "b"], "nowhere"),
        (["compare", "a", "b"], "measure"),
        (["prepare"], "--shards"),
        (["compatibility", "a"], "REFERENCE"),
        (["search", "yt8m-recipe", "--video", "a", "--file", "b"], "one query"),
        (["search", "yt8m-recipe", "--features", "README.md"], "README.md"),
        (["search", "yt8m-recipe", "--ids", "missing.txt"], "missing.txt"),
        (["search", "yt8m-recipe", "--video", "ZTcb", "--out", "a.doc"], "a.doc"),
        (["search", "yt8m-recipe", "--file", "b"], "YouTube-8M"),
        (["search", "yt8m-recipe", "--file", "b", "--visual-model", "m/n"], "--audio-model"),
    ],
)
def test_bad_input_is_told_in_one_line(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], word: str
):
    monkeypatch.chdir(tmp_path)
    status, out, err = call(*words)
    assert (status, out) == (2, "")
    assert err.startswith("xmodal: ") and word in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"]])
def test_a_reader_that_goes_away_is_no_error(words: list[str]):
    command = [sys.executable, "-m", "xmodal", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as told:
        assert told.stdout and told.stderr
        told.stdout.close()
        assert told.stderr.read() == b""


# --- what is printed -----------------------------------------------------------------------------


def test_training_tells_where_it_came_to(call: Call, tmp_path: Path, related_features: Path):
    sizes = ["--batch-size", 32, "--visual-hidden", 8, "--audio-hidden", 8, "--embedding-dim", 4]
    status, out, _ = call(
        *("train", "--features", related_features, "--out", tmp_path / "run", "--steps", 2, *sizes)
    )
    assert status == 0 and "2 steps" in out and "at step 2" in out


def test_evaluation_prints_a_line_a_split_direction_and_gallery(
    call: Call, tmp_path: Path, tiny: Callable[..., TrainConfig], related_features: Path
):
    train(tiny(tmp_path / "run"))
    given = ["--features", related_features, "--galleries", 32, "--resamples", 10]
    status, out, err = call("evaluate", tmp_path / "run", *given, "--out", tmp_path / "out")
    assert (status, err) == (0, "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [RANKS, "recall.csv"]
    assert not (tmp_path / "run" / RANKS).exists()
    head, *lines = [line.split() for line in out.splitlines()]
    assert head == ["split", "direction", "gallery", "R@1", "R@5", "R@10"]
    ways, sizes = ("audio→video", "video→audio"), ("32", "61")
    expected = itertools.product(("evaluation", "validation"), ways, sizes)
    assert [tuple(line[:3]) for line in lines] == list(expected)


def test_ready_made_embeddings_are_measured_and_compared(call: Call, tmp_path: Path):
    rows = np.random.default_rng(0).normal(size=(3, 40, 4))
    for name, side in zip("abc", rows, strict=True):
        np.save(tmp_path / f"{name}.npy", rows[0] + side)
    (tmp_path / "labels").write_text("x\ny|x\n" * 20)
    for name in "bc":
        files = ["--visual", tmp_path / "a.npy", "--audio", tmp_path / f"{name}.npy"]
        given = ["--labels", tmp_path / "labels", "--gallery", "16,20", "--out", tmp_path / name]
        status, out, err = call("measure", *files, *given, "--resamples", 10)
        assert (status, err) == (0, "")
        head, *lines = [line.split() for line in out.splitlines()]
        ranked = ["R@1", "R@5", "R@10"]
        assert head == ["direction", "gallery", *ranked, "nDCG@10", "mAP", "R-precision"]
        expected = itertools.product(("audio→video", "video→audio"), ("16", "20", "40"))
        assert [tuple(line[:2]) for line in lines[:6]] == list(expected)
        assert {"chance", "shuffled", "one"} == {line[0] for line in lines[8:]}
    status, out, err = call("measure", *files)  # without labels
    assert (status, err, out.splitlines()[0].split()[-1]) == (0, "", "R@10")
    status, out, _ = call("compare", tmp_path / "b", tmp_path / "c", "--resamples", 10)
    head, *lines = [line.split() for line in out.splitlines()]
    assert status == 0 and head[3:] == ["measure", "a", "b", "difference", "low", "high", "p"]
    assert len(lines) == 2 * 3 * 4


def test_search_prints_a_table_json_or_csv(call: Call, tmp_path: Path):
    np.save(tmp_path / "query.npy", np.ones(1024, np.float32))
    words = ("search", "yt8m-recipe", "--features", tmp_path / "query.npy", "-k", 3)
    status, table, _ = call(*words)
    assert status == 0 and len(table.splitlines()) == 4
    found = json.loads(call(*words, "--json")[1])
    assert [one["rank"] for one in found] == [1, 2, 3]
    assert all(round(one["cosine"], 4) == one["cosine"] for one in found)
    assert pd.read_csv(io.StringIO(call(*words, "--csv")[1]))["id"].tolist() == [
        one["id"] for one in found
    ]
    (tmp_path / "ids.csv").write_text(f"id,youtube_id\n{found[1]['id']},abcdefghij_\n")
    linked = json.loads(call(*words, "--json", "--youtube-ids", tmp_path / "ids.csv")[1])
    assert [one["link"] for one in linked] == ["", "https://youtu.be/abcdefghij_", ""]


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.parquet"])
def test_many_queries_are_answered_into_a_file(call: Call, tmp_path: Path, name: str):
    (tmp_path / "ids.txt").write_text("ZTcb\ncZcb\n")
    np.save(tmp_path / "query.npy", np.eye(3, 128, dtype=np.float32))
    out = tmp_path / name
    read = {".csv": pd.read_csv, ".json": pd.read_json, ".parquet": pd.read_parquet}[out.suffix]
    filters = ("--where", "label!=Game", "--exclude-own", "--distinct")
    for words, queries in (
        (("--ids", tmp_path / "ids.txt", *filters), ["ZTcb", "cZcb"]),
        (("--features", tmp_path / "query.npy", "--find", "video"), [0, 1, 2]),
    ):
        assert call("search", "yt8m-recipe", *words, "-k", 4, "-o", out)[0] == 0
        found = read(out)
        assert found["query"].tolist() == [query for query in queries for _ in range(4)]
        assert (found.groupby("query")["score"].diff().dropna() <= 0).all()
        if "own" in found:
            assert not found["own"].any()
            assert not any(
                "Game" in (x.split("; ") if name == "a.csv" else x) for x in found["labels"]
            )


def test_a_run_and_its_index_are_described(call: Call):
    status, out, _ = call("info", "yt8m-recipe")
    assert status == 0 and "6,000" in out and "Guitar" in out
    assert call("info", "nothing")[0] == 2


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
        words = ("search", "yt8m-recipe", "--file", tmp_path / "a.mp4", "--find", find, "-k", 2)
        assert call(*words)[0] == 0
    assert asked == [("a.mp4", "visual"), ("a.mp4", "audio")]
    for name in ("b.mp4", "c.txt", "d.png"):
        (tmp_path / name).touch()
    words = ("search", "yt8m-recipe", "--file", tmp_path, "-k", 1, "--json")
    queries = [Path(one["query"]).name for one in json.loads(call(*words)[1])]
    assert queries == ["b.mp4", "d.png"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_a_full_disk_is_told_in_one_line():
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-m", "xmodal", "--help"]
        told = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True)
    assert told.returncode == 1 and told.stderr.count("\n") == 1
