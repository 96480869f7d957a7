"""The whole batch on the smoke profile, in a copy of the project, as a user would run it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from by_hand import leave_run

from xmodal.pipeline.batch import Profile
from xmodal.results import page

ROOT = Path(__file__).parents[2]
PARTS = ["Snakefile", "pyproject.toml", "notebooks", "profiles", "xmodal"]
OF_THE_STUDY = {"paper_changes", "beyond_changes", "learning"}
FIGURE_RULES = {"paper", "data", "recall", "umap", "retrieval", "beyond", "report", "all"}


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
        return subprocess.run(
            [sys.executable, "-m", "snakemake", *words, *options],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder)},
            capture_output=True,
            text=True,
        )

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
        return {p.name: p.read_bytes() for p in sorted((self.folder / "figures/smoke").iterdir())}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    made = Project(tmp_path_factory.mktemp("project"))
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
    written = (project.folder / "figures/smoke/README.md").read_text()
    assert "synthetic sample" in written and written.count("| published") == 7
    assert not [name for name in files if name.endswith(".tmp") or name.startswith(".")]


def test_every_notebook_was_run_to_its_end(project):
    executed = sorted((project.folder / "runs/smoke/notebooks").glob("*.ipynb"))
    assert len(executed) == 6 + 4  # six notebooks, and 02_train once a model
    for path in executed:
        code = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
        assert all(cell["execution_count"] for cell in code)


def test_figures_say_that_the_data_is_synthetic(project):
    for name, content in project.figures().items():
        if name.endswith(".json"):
            source = json.loads(content)["source"]
            assert source == ("the paper" if name == "architecture.json" else "synthetic sample")


def test_a_second_run_does_nothing(project):
    assert project.planned() == set()


def test_a_change_of_plotting_code_makes_figures_only(project):
    path = project.folder / "xmodal/plots/recall.py"
    code = path.read_text()
    try:
        path.write_text(code + "\n# changed\n")
        assert project.planned() == FIGURE_RULES
    finally:
        path.write_text(code)


def test_a_change_of_the_loss_trains_again_but_keeps_the_data(project):
    path = project.folder / "xmodal/loss.py"
    code = path.read_text()
    try:
        path.write_text(code + "\n# changed\n")
        planned = project.planned()
        assert "train" in planned and not planned & {"features", "paper", "data"}
    finally:
        path.write_text(code)


def test_a_failed_stage_says_why_and_the_next_run_goes_on_to_the_same_bytes(project):
    before = project.figures()
    run = "runs/smoke/dim1024-seed0/result.json"
    history = (project.folder / "runs/smoke/dim1024-seed0/history.jsonl").read_bytes()
    told = project.snakemake("--config", "train={margin: 5}", "--", run)
    assert told.returncode != 0
    assert re.search(r"02_train-dim1024-seed0 failed in cell 3", told.stderr)
    assert "InputError: parameter margin: Input should be less than 1 (got '5')" in told.stderr
    kept = re.search(r"notebook is kept: (\S+)", told.stderr)[1]
    assert "Input should be less than 1" in (project.folder / kept).read_text()

    told = project.snakemake("--forcerun", "recall", "retrieval")
    assert told.returncode == 0, told.stderr
    assert (project.folder / "runs/smoke/dim1024-seed0/history.jsonl").read_bytes() == history
    assert project.figures() == before


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
    assert {f"{name}.md" for _, (name,), _ in page.STUDY} | {"study_runs.csv"} <= set(files)
    table = (project.folder / "figures/smoke/study_paper.md").read_text()
    assert table.count(" ± ") == 3 * 5  # rows with two seeds each, and five recalls
    # what is committed names no folder of the machine that made it
    assert not [name for name in files if str(project.folder).encode() in files[name]]
    return project.planned("--", "study")


def test_the_study_is_told_from_what_was_measured(project):
    """Its trainings are many; here runs are put in place that others have measured."""
    assert "study_train" not in project.planned()
    profile = Profile(**yaml.safe_load((ROOT / "profiles/smoke.yaml").read_text()))
    for number, (run, fields) in enumerate(profile.study_runs().items()):
        clips = fields.get("training_clips", 2500)
        leave_run(project.folder / "runs/smoke" / run, number, clips, sizes=(256, 1189))
    assert study_files(project) == set()


@pytest.mark.slow
def test_the_study_is_trained_when_it_is_asked_for(project):
    for folder in ("paper", "beyond"):
        shutil.rmtree(project.folder / "runs/smoke" / folder, ignore_errors=True)
    assert "study_train" in project.planned("--", "study")
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
