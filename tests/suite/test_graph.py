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
import numpy as np
import pytest
import yaml
from by_hand import leave_run

from xmodal.files import locked
from xmodal_suite.profile import read_profile

ROOT = Path(__file__).parents[2]
PARTS = ["Snakefile", "pyproject.toml", "notebooks", "profiles", "xmodal", "xmodal_suite"]
OF_THE_STUDY = {"paper_changes", "beyond_changes", "learning"}
TABLES = {"headline", "table1", "table2", "same_share", "controls", "training"}
TABLES |= {"space", "cca", "errors", "near_misses"}
FIRST_SEVEN = {"00", "01", "02", "03", "04", "05", "06"}


class Project:
    """A copy of the project in which the batch can run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, ignore=ignored)
            else:
                shutil.copy(ROOT / part, folder / part)
        shutil.copy(ROOT / "tests/rfc3987_syntax.py", folder)

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
        """Return what a run would make: rules, and for a notebook its number."""
        told = self.snakemake("--dry-run", "--quiet", "host", *options)
        assert told.returncode == 0, told.stderr + told.stdout
        text = told.stderr + told.stdout
        rules = set(re.findall(r"^(?:local)?rule (\w+):", text, re.MULTILINE))
        return rules - {"execute"} | set(re.findall(r"output: \S*/notebooks/(\d\d)", text))

    def figures(self) -> dict[str, bytes]:
        folder = self.folder / "figures/smoke"
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def without_umap(folder: Path) -> Project:
    """Copy the project, with a stand-in for UMAP, which would compile for most of a minute."""
    shutil.copy(no_umap.__file__, folder / "umap.py")
    kept = "data/results/yt8m/06_beyond"  # 00_paper draws real pairs on any profile
    shutil.copytree(ROOT / kept, folder / kept)
    shutil.copy(ROOT / kept / "../tried.csv", folder / kept / "../tried.csv")
    return Project(folder)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = without_umap(tmp_path_factory.mktemp("project"))
    told = made.snakemake()
    assert told.returncode == 0, told.stderr[-5000:]
    return made


@contextmanager
def changed(path: Path, change: Callable[[str], str]) -> Iterator[None]:
    """Change the text of a file for as long as the block runs."""
    before = path.read_text()
    try:
        path.write_text(change(before))
        yield
    finally:
        path.write_text(before)


def test_the_batch_leaves_every_figure_and_table(project: Project):
    files = set(project.figures())
    page = (ROOT / "xmodal_suite/page.md").read_text()
    for stem in set(re.findall(r'picture\("(\w+)"', page)) - OF_THE_STUDY:
        assert {f"{stem}.{kind}" for kind in ("pdf", "svg", "png", "json")} <= files
    for stem in ("data", "recall", "examples", "beyond", *TABLES):
        assert {f"{stem}.{kind}" for kind in ("md", "tex", "csv", "json")} <= files
    assert {"explorer.html", "explorer.json"} <= files
    assert "tried.csv" not in files  # what was measured on other clips
    assert "synthetic sample" in (project.folder / "figures/smoke/README.md").read_text()
    assert not [name for name in files if name.startswith(".") and not name.endswith(".lock")]


def test_every_notebook_was_run_to_its_end(project: Project):
    executed = sorted((project.folder / "figures/smoke/notebooks").glob("*.ipynb"))
    assert {path.stem[:2] for path in executed} == FIRST_SEVEN
    for path in executed:
        book = json.loads(path.read_text())
        code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
        assert all(cell["execution_count"] for cell in code)
        assert set(book["metadata"]) == {"kernelspec", "language_info"}
        assert not re.search(r"\d{4}-\d{2}-\d{2}T|0x[0-9a-f]{8}", path.read_text())  # dates


def test_figures_say_that_the_data_is_synthetic(project: Project):
    for name, content in project.figures().items():
        if name.endswith(".json"):
            source = json.loads(content)["source"]
            other = {"architecture.json": "the paper", "circles.json": "made-up clips"}
            assert source == other.get(name, "synthetic sample")


def test_a_second_run_does_nothing_and_a_second_batch_is_refused(project: Project):
    assert project.planned() == set()
    before = project.figures()
    with locked(project.folder / "runs/smoke"):
        target = "figures/smoke/notebooks/00_paper.ipynb"
        told = project.snakemake("--nolock", "--forcerun", target, "--", target)
        assert project.planned() == set()  # to look is allowed
    assert told.returncode != 0 and "runs/smoke" in told.stderr + told.stdout
    assert project.figures() == before


def test_a_notebook_that_changes_is_run_again_alone(project: Project):
    with changed(project.folder / "notebooks/04_umap.ipynb", lambda text: text + "\n"):
        assert project.planned() == {"04", "page", "all"}


def test_a_notebook_depends_on_all_code_that_it_loads(project: Project):
    """As Snakemake says it depends, and as Python says it loads."""
    told = project.snakemake("--detailed-summary")
    inputs: dict[str, set[str]] = {}
    for line in csv.DictReader(told.stdout.splitlines(), delimiter="\t"):
        inputs.setdefault(line["rule"], set()).update(line["input-file(s)"].split(","))
    assert inputs["train"] == {"data/smoke/features/manifest.json"}  # no code
    for path in sorted((project.folder / "notebooks").glob("0[0-6]*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
        names = set(re.findall(r"^ *(?:from|import) (xmodal[\w.]*)", code, re.MULTILINE))
        for name in names:
            module = project.folder / name.replace(".", "/")
            file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
            assert file.relative_to(project.folder).as_posix() in inputs["execute"], name


def test_a_raised_version_trains_all_again(project: Project):
    def raised(text: str) -> str:
        return re.sub(r"^(TRAINING_VERSION = )(\d+)", r"\g<1>1\2", text, flags=re.M)

    with changed(project.folder / "xmodal/checkpoint.py", raised):
        planned = project.planned()
    assert {"train", "03", "04", "06"} <= planned and "features" not in planned


def test_a_failed_training_says_why_and_the_next_run_goes_on_to_the_same_bytes(project: Project):
    run = project.folder / "runs/smoke/dim1024-seed0"
    left = ("history.jsonl", "model.safetensors")
    before = [(run / name).read_bytes() for name in left]
    target = "runs/smoke/dim1024-seed0/result.json"
    told = project.snakemake("--config", "train={batch_size: 100000}", "--", target)
    assert told.returncode != 0 and "batch_size" in told.stderr
    told = project.snakemake("--", target)
    assert told.returncode == 0, told.stderr
    assert [(run / name).read_bytes() for name in left] == before


def test_a_mistyped_setting_stops_the_batch_before_any_job(project: Project):
    told = project.snakemake("--config", "parameters={03_recall: {galeries: [256]}}")
    assert told.returncode != 0 and "galleries" in told.stderr + told.stdout


def test_the_study_is_told_from_what_was_measured(project: Project):
    """Its trainings are many; here runs are put in place that others have measured."""
    profile = read_profile(ROOT / "profiles/smoke.yaml")
    for number, (run, fields) in enumerate(profile.study_runs().items()):
        clips = fields.get("training_clips", 2500)
        leave_run(project.folder / "runs/smoke" / run, number, clips, sizes=(256, 1189))
    target = "figures/smoke/notebooks/07_study.ipynb"
    told = project.snakemake("--", target)
    assert told.returncode == 0, told.stderr[-5000:]
    files = project.figures()
    assert {f"{stem}.png" for stem in OF_THE_STUDY} <= set(files)
    assert {"study_paper.md", "study_beyond.md", "learning_curve.md", "needs.md"} <= set(files)
    # what is committed names no folder of the machine that made it
    assert not [name for name in files if str(project.folder).encode() in files[name]]


@pytest.mark.slow
def test_a_batch_killed_again_and_again_ends_as_an_undisturbed_one(
    project: Project, tmp_path: Path
):
    """All of its processes at once, four times, before it may end."""
    killed = without_umap(tmp_path)
    words = ["--configfile", "profiles/smoke.yaml", "--cores", "2", "--rerun-incomplete"]
    words = killed.command(*words, "--nolock", "--quiet", "all")
    env = {**os.environ, "PYTHONPATH": str(killed.folder)}
    rng, ends = random.Random(0), list[int]()
    for seconds in (*(rng.uniform(5, 40) for _ in range(4)), None):
        with subprocess.Popen(words, cwd=killed.folder, env=env, start_new_session=True) as batch:
            try:
                ends.append(batch.wait(seconds))
            except subprocess.TimeoutExpired:
                os.killpg(batch.pid, signal.SIGKILL)
                ends.append(batch.wait())
    assert ends[0] == -signal.SIGKILL and ends[-1] == 0 and len({*ends}) == 2
    runs = sorted(path.parent for path in (killed.folder / "runs/smoke").rglob("result.json"))
    for run in [path.relative_to(killed.folder) for path in runs]:
        one, two = ((p.folder / run / "model.safetensors").read_bytes() for p in (project, killed))
        assert one == two


@pytest.mark.slow
def test_few_clips_of_other_sizes_go_through_the_batch(tmp_path: Path):
    """Of one's own, without labels' names, shards, frames or as many clips as the paper ranks."""
    project, rng = without_umap(tmp_path), np.random.default_rng(0)
    hidden = rng.normal(size=(2500, 8))
    both = {"visual": 40, "audio": 16}
    arrays = {n: hidden @ rng.normal(size=(8, size)) for n, size in both.items()}
    arrays["labels"] = np.array([*"abcdefg"])[hidden[:, :7].argmax(axis=1)]
    np.savez(project.folder / "data/mine.npz", **arrays)
    profile = yaml.safe_load((ROOT / "profiles/smoke.yaml").read_text())
    profile |= {"name": "mine", "sample": {}, "studies": {}}
    profile["prepare"] = {"shards": "data/mine.npz", "evaluation_clips": 600}
    (project.folder / "profiles/smoke.yaml").write_text(yaml.safe_dump(profile))
    told = project.snakemake()
    assert told.returncode == 0, told.stderr[-5000:]
    executed = (project.folder / "figures/mine/notebooks").glob("*.ipynb")
    assert {path.stem[:2] for path in executed} == FIRST_SEVEN
