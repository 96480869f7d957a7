"""The whole batch on the smoke profile, in a copy of the project, as a user would run it."""

import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import no_umap
import pytest
import yaml
from by_hand import leave_run

from xmodal.files import locked
from xmodal_suite import page, stages
from xmodal_suite.profile import Profile

ROOT = Path(__file__).parents[2]
PARTS = ["Snakefile", "pyproject.toml", "notebooks", "profiles", "xmodal"]
OF_THE_STUDY = {"paper_changes", "beyond_changes", "learning"}
STAGES = {"data", "training", "recall", "umap", "retrieval", "beyond"}
MEASURED = STAGES | {"explorer"}
MEASURE_RULES = {f"measure_{stage}" for stage in MEASURED}
FIGURE_RULES = STAGES | {"paper", "report", "all"}


class Project:
    """A copy of the project in which the batch can run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        for part in PARTS:
            source = ROOT / part
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, folder / part, **({"ignore": ignored} if source.is_dir() else {}))

    def snakemake(self, *options: str) -> subprocess.CompletedProcess:
        words = ["--configfile", "profiles/smoke.yaml", "--cores", "2", "--rerun-incomplete"]
        words += ["--quiet", "rules", "host"]  # as the Makefile does
        return self.run(*self.command(*words, *options))

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", *words]

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess:
        env = {**os.environ, "PYTHONPATH": str(self.folder), **variables}
        return subprocess.run(words, cwd=self.folder, env=env, capture_output=True, text=True)

    def planned(self, *options: str) -> set[str]:
        """Return the rules that a run would carry out."""
        told = self.snakemake("--dry-run", "--quiet", "host", *options)
        assert told.returncode == 0, told.stderr + told.stdout
        lines = (told.stderr + told.stdout).splitlines()
        return {
            line.split()[1].rstrip(":")
            for line in lines
            if line.startswith(("rule ", "localrule "))
        }

    def figures(self) -> dict[str, bytes]:
        folder = self.folder / "figures/smoke"
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def without_umap(folder: Path) -> Project:
    """Copy the project, with a stand-in for UMAP, which would compile for most of a minute."""
    shutil.copy(no_umap.__file__, folder / "umap.py")
    return Project(folder)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    made = without_umap(tmp_path_factory.mktemp("project"))
    told = made.snakemake()
    assert told.returncode == 0, told.stderr[-5000:]
    return made


def test_the_batch_leaves_every_figure_and_table(project):
    files = set(project.figures())
    for stem in set(page.PICTURES) - OF_THE_STUDY:
        assert {f"{stem}.{kind}" for kind in ("pdf", "svg", "png", "json")} <= files
    tables = [name for _, names, _ in page.PARTS for name in names]
    for stem in ("data", "recall", "examples", "beyond", *tables):
        assert {f"{stem}.{kind}" for kind in ("md", "tex", "csv", "json")} <= files
    assert {"explorer.html", "explorer.json"} <= files
    written = (project.folder / "figures/smoke/README.md").read_text()
    assert "synthetic sample" in written and written.count("| published") == 7
    assert not [name for name in files if name.endswith(".tmp") or name.startswith(".")]


def test_every_notebook_was_run_to_its_end(project):
    executed = sorted((project.folder / "figures/smoke/notebooks").glob("*.ipynb"))
    assert [path.stem[:2] for path in executed] == ["00", "01", "02", "03", "04", "05", "06"]
    for path in executed:
        book = json.loads(path.read_text())
        code = [c for c in book["cells"] if c["cell_type"] == "code"]
        assert all(cell["execution_count"] for cell in code)
        assert set(book["metadata"]) == {"kernelspec", "language_info"}
        assert not re.search(
            r"\d{4}-\d{2}-\d{2}T|0x[0-9a-f]{8}", path.read_text()
        )  # dates, addresses


@pytest.mark.slow  # what was measured of real clips is drawn again in test_drawn.py
def test_all_is_drawn_again_from_the_measurements_alone(project, tmp_path):
    """As in a clone: no shards, no features, no weights."""
    clone = Project(tmp_path)
    shutil.copytree(project.folder / "data/results", tmp_path / "data/results")
    told = clone.snakemake("--config", "draw=true")
    assert told.returncode == 0, told.stderr[-5000:]
    assert clone.figures() == project.figures()
    assert {path.name for path in (tmp_path / "runs/smoke").iterdir()} == {"notebooks"}
    assert not (tmp_path / "data/smoke").exists()


def test_a_second_batch_is_refused_and_names_the_first(project):
    before = project.figures()
    with locked(project.folder / "runs/smoke"):
        told = project.snakemake("--nolock", "--forcerun", "paper", "--", "paper")
        assert project.planned() == set()  # to look is allowed
    assert told.returncode != 0
    assert f"runs/smoke: process {os.getpid()} on " in told.stderr + told.stdout
    assert project.figures() == before


@pytest.mark.slow
def test_a_batch_killed_again_and_again_ends_as_an_undisturbed_one(project, tmp_path):
    """All of its processes at once, at moments drawn from the time that a batch takes."""
    killed = without_umap(tmp_path)
    words = ["--configfile", "profiles/smoke.yaml", "--cores", "2", "--rerun-incomplete"]
    words = killed.command(*words, "--nolock", "--quiet", "all")
    env = {**os.environ, "PYTHONPATH": str(killed.folder)}
    rng = random.Random(0)
    ends = set()
    while len(ends) < 2 or rng.random() < 0.8:  # killed at least once, and finished in the end
        with subprocess.Popen(words, cwd=killed.folder, env=env, start_new_session=True) as batch:
            try:
                ends.add(batch.wait(rng.uniform(10, 90)))
            except subprocess.TimeoutExpired:
                os.killpg(batch.pid, signal.SIGKILL)
                ends.add(batch.wait())
    assert ends == {0, -signal.SIGKILL}
    assert killed.figures() == project.figures()
    runs = sorted(path.parent for path in (project.folder / "runs/smoke").rglob("result.json"))
    for run in [path.relative_to(project.folder) for path in runs]:
        one, two = ((p.folder / run / "model.safetensors").read_bytes() for p in (project, killed))
        assert one == two


def test_figures_say_that_the_data_is_synthetic(project):
    for name, content in project.figures().items():
        if name.endswith(".json"):
            source = json.loads(content)["source"]
            assert source == ("the paper" if name == "architecture.json" else "synthetic sample")


def test_a_second_run_does_nothing(project):
    assert project.planned() == set()


@pytest.fixture(scope="module")
def inputs(project) -> dict[str, set[str]]:
    """Give the files that each rule's results are made from, as Snakemake says."""
    told = project.snakemake("--detailed-summary")
    found: dict[str, set[str]] = {}
    for line in csv.DictReader(told.stdout.splitlines(), delimiter="\t"):
        found.setdefault(line["rule"], set()).update(line["input-file(s)"].split(","))
    return found


@contextmanager
def changed(path: Path, change: Callable[[str], str]) -> Iterator[None]:
    """Change the text of a file for as long as the block runs."""
    before = path.read_text()
    try:
        path.write_text(change(before))
        yield
    finally:
        path.write_text(before)


TRAININGS = {"train"}


def test_a_change_of_code_makes_again_what_uses_it_and_what_uses_that(project):
    code = project.folder / "xmodal_suite/projection.py"
    with changed(code, lambda text: text + "\n# changed\n"):
        planned = project.planned()
    assert planned == {"measure_umap", "umap", "measure_explorer", "retrieval", "report", "all"}


@pytest.mark.parametrize(
    "module, used, unused",
    [
        ("plots/style.py", STAGES | {"paper"}, {"features"} | MEASURE_RULES),
        ("evaluation/cca.py", {"measure_data", "measure_beyond"}, {"features", "measure_umap"}),
        ("evaluation/controls.py", {"measure_recall", "measure_beyond"}, {"measure_umap"}),
        ("synthetic/likelihood.py", {"measure_beyond"}, {"measure_umap", "retrieval", "paper"}),
    ],
)
def test_code_is_an_input_of_what_uses_it(
    inputs: dict[str, set[str]], module: str, used: set[str], unused: set[str]
):
    found = {rule for rule, files in inputs.items() if f"xmodal/{module}" in files}
    assert used <= found and not found & (unused | TRAININGS)


def test_a_change_of_the_training_code_trains_nothing_but_its_version_everything(
    project, inputs: dict[str, set[str]]
):
    assert inputs["train"] == {"data/smoke/features/manifest.json"}  # no code
    training = {f"xmodal/{part}.py" for part in ("train", "loss", "model", "checkpoint")}
    assert not inputs["features"] & training
    version = r"^(TRAINING_VERSION = )(\d+)"
    code = project.folder / "xmodal/checkpoint.py"
    with changed(code, lambda text: re.sub(version, r"\g<1>1\2", text, flags=re.M)):
        planned = project.planned()
    assert TRAININGS | {"recall", "umap", "beyond"} <= planned and "features" not in planned


# What a notebook or a module really imports, each apart; third-party modules are there already.
LOADED = """
import ast, json, os, sys
import IPython.display, matplotlib.pyplot, pandas, scipy.stats, seaborn, torch

def imports(path):
    if not path.endswith(".ipynb"):
        return [f"import {path}"]
    cells = [cell for cell in json.load(open(path))["cells"] if cell["cell_type"] == "code"]
    code = ast.parse("\\n".join("".join(cell["source"]) for cell in cells)).body
    return [ast.unparse(line) for line in code if isinstance(line, ast.Import | ast.ImportFrom)]

loaded = {}
for path in sys.argv[1:]:
    read, write = os.pipe()
    if os.fork() == 0:
        exec("\\n".join(imports(path)))
        files = [m.__file__ for name, m in sys.modules.items() if name.split(".")[0] == "xmodal"]
        os.write(write, json.dumps([os.path.relpath(file) for file in files]).encode())
        os._exit(0)
    os.close(write)
    loaded[path] = json.loads(open(read).read())
print(json.dumps(loaded))
"""


def test_a_stage_depends_on_all_code_that_it_loads(project, inputs: dict[str, set[str]]):
    """As Snakemake says it depends, and as Python says it loads: no list is kept by hand."""
    starts = {
        rule: next((path for path in files if path.endswith(".ipynb")), None)
        for rule, files in inputs.items()
        if rule not in TRAININGS
    }
    starts |= {"features": "xmodal_suite.dataset", "report": "xmodal_suite.page"}
    measuring = {name[3:]: module for name, (module, *_) in stages.STAGES.items()}
    measuring["training"] = measuring.pop("train")
    starts |= {f"measure_{stage}": measuring[stage] for stage in MEASURED}
    assert set(starts) == FIGURE_RULES - {"all"} | {"features"} | MEASURE_RULES
    run = project.run(sys.executable, "-c", LOADED, *starts.values())
    assert run.returncode == 0, run.stderr
    loaded = json.loads(run.stdout)
    for rule, start in starts.items():
        assert len(loaded[start]) > 3 and set(loaded[start]) <= inputs[rule], rule


def test_a_failed_stage_says_why_and_the_next_run_goes_on_to_the_same_bytes(project):
    run = project.folder / "runs/smoke/dim1024-seed0"
    left = ("history.jsonl", "model.safetensors")
    before = [(run / name).read_bytes() for name in left]
    target = "runs/smoke/dim1024-seed0/result.json"
    told = project.snakemake("--config", "train={batch_size: 100000}", "--", target)
    assert told.returncode != 0
    assert "training clips, fewer than one batch of 100000" in told.stderr

    assert project.planned() == {"train", "measure_recall", "recall", "report", "all"}
    told = project.snakemake("--", target)
    assert told.returncode == 0, told.stderr
    assert [(run / name).read_bytes() for name in left] == before


@pytest.mark.slow  # test_batch.py tries a small notebook that fails
def test_a_notebook_that_fails_is_kept_and_says_where(project):
    before = project.figures()
    path = project.folder / "data/results/smoke/04_umap/points.csv"
    content = path.read_text()
    path.write_text(content + "0,0,audio,other,x\n")
    told = project.snakemake("--forcerun", "umap", "--", "umap")
    assert told.returncode != 0
    assert re.search(r"04_umap failed in cell 4", told.stderr)
    assert "points.csv is missing or not as it was measured" in told.stderr
    kept = re.search(r"notebook is kept: (\S+)", told.stderr)[1]
    assert "not as it was measured" in (project.folder / kept).read_text()
    path.write_text(content)
    told = project.snakemake("--", "umap")
    assert told.returncode == 0 and project.figures() == before


@pytest.mark.slow
def test_the_maps_of_the_batch_are_those_of_umap(project):
    """After all that compares the figures with others, which are made without UMAP."""
    before = project.figures()
    (project.folder / "umap.py").unlink()
    told = project.snakemake("--forcerun", "measure_umap", "measure_explorer")
    assert told.returncode == 0, told.stderr[-5000:]
    after = project.figures()
    assert {f"{stem}.png" for stem in ("umap", "spaces")} | {"explorer.html"} <= {
        name for name in before if after[name] != before[name]
    }


def test_a_mistyped_parameter_stops_the_batch_before_any_data_is_read(project):
    told = project.snakemake("--config", "recall={galeries: [256]}")
    assert told.returncode != 0
    assert "there is no parameter galeries; did you mean galleries?" in told.stderr


def test_a_mistyped_profile_is_refused_at_once(project):
    told = project.snakemake("--config", "dimensons=[256]")
    assert told.returncode != 0
    assert "there is no parameter dimensons; did you mean dimensions?" in told.stderr + told.stdout


def study_files(project) -> set[str]:
    told = project.snakemake("--", "study")
    assert told.returncode == 0, told.stderr[-5000:]
    files = project.figures()
    assert {f"{stem}.png" for stem in OF_THE_STUDY} <= set(files)
    assert {f"{name}.md" for _, names, _ in page.STUDY for name in names} | {
        "study_runs.csv"
    } <= set(files)
    table = (project.folder / "figures/smoke/study_paper.md").read_text()
    assert table.count(" ± ") == 3 * 5  # rows with two seeds each, and five recalls
    # what is committed names no folder of the machine that made it
    assert not [name for name in files if str(project.folder).encode() in files[name]]
    return project.planned("--", "study")


def test_the_study_is_told_from_what_was_measured(project):
    """Its trainings are many; here runs are put in place that others have measured."""
    assert "train" not in project.planned()
    profile = Profile(**yaml.safe_load((ROOT / "profiles/smoke.yaml").read_text()))
    for number, (run, fields) in enumerate(profile.study_runs().items()):
        clips = fields.get("training_clips", 2500)
        leave_run(project.folder / "runs/smoke" / run, number, clips, sizes=(256, 1189))
    assert study_files(project) == set()


@pytest.mark.slow
def test_the_study_is_trained_when_it_is_asked_for(project):
    for made in ("runs/smoke/paper", "runs/smoke/recipe", "data/results/smoke/07_study"):
        shutil.rmtree(project.folder / made, ignore_errors=True)  # what was measured is kept
    (project.folder / "figures/smoke/needs.md").unlink(missing_ok=True)
    assert "train" in project.planned("--", "study")
    assert study_files(project) == set()


def test_a_change_of_the_reader_leaves_equal_features_and_models_alone(project):
    """Last, because it leaves the code newer than the results."""
    features = project.folder / "data/smoke/features/train/visual.npy"
    before = features.stat().st_mtime_ns
    path = project.folder / "xmodal/data/features.py"
    path.write_text(path.read_text() + "\n# changed\n")
    model = project.folder / "runs/smoke/dim250-seed0/model.safetensors"
    trained = model.stat().st_mtime_ns
    told = project.snakemake("--", "runs/smoke/dim250-seed0/result.json")
    assert told.returncode == 0, told.stderr
    assert features.stat().st_mtime_ns == before
    assert model.stat().st_mtime_ns == trained
