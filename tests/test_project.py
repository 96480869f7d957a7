"""The project's own files agree: dependencies, locks, environments, targets, profiles."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement

from xmodal.config import TrainConfig
from xmodal_suite.page import fill_page

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
MAKEFILE = (ROOT / "Makefile").read_text()
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
CLUSTERS = {"slurm": "slurm", "kubernetes": "cluster_generic"}


def asked_for(lines: list[str]) -> Iterator[Requirement]:
    """Give the requirements of some lines, those of the project's own extras in their place."""
    for requirement in map(Requirement, lines):
        if requirement.name == PROJECT["name"]:
            yield from asked_for([line for extra in requirement.extras for line in EXTRAS[extra]])
        else:
            yield requirement


def entries(path: Path) -> dict[str, list[tuple[Requirement, list[str]]]]:
    """Return the requirements of a lock file and their hashes, by name."""
    found: dict[str, list[tuple[Requirement, list[str]]]] = {}
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    for line in text.splitlines():
        words, *hashes = line.split(" --hash=sha256:")
        requirement = Requirement(words)
        found.setdefault(requirement.name, []).append((requirement, [h.strip() for h in hashes]))
    return found


LOCKED = {
    name: some for path in LOCKS if "cpu" not in path.stem for name, some in entries(path).items()
}


# --- what is installed ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_each_entry_is_one_version_with_hashes_and_names_no_server(path: Path) -> None:
    assert "://" not in path.read_text() and "\n-" not in path.read_text()
    for some in entries(path).values():
        for requirement, hashes in some:
            (version,) = requirement.specifier
            assert version.operator == "==" and "*" not in version.version
            assert hashes and all(re.fullmatch("[0-9a-f]{64}", one) for one in hashes)


def test_what_is_asked_for_is_locked() -> None:
    """All but the extra yt8m, which is for other machines and which no command installs."""
    wanted = PROJECT["dependencies"] + PYPROJECT["build-system"]["requires"]
    wanted += [line for name in EXTRAS.keys() - {"yt8m"} for line in EXTRAS[name]]
    for requirement in asked_for(wanted):
        for locked, _ in LOCKED[requirement.name.lower()]:
            (version,) = locked.specifier
            assert version.version in requirement.specifier, requirement


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize(("system", "machine"), [("linux", "x86_64"), ("darwin", "arm64")])
def test_one_version_of_each_is_chosen(python: str, system: str, machine: str) -> None:
    here = default_environment() | {"python_version": python, "python_full_version": f"{python}.9"}
    here |= {"sys_platform": system, "platform_machine": machine}
    for name, some in LOCKED.items():
        fitting = [r for r, _ in some if r.marker is None or r.marker.evaluate(dict(here))]
        assert len(fitting) <= 1, name


def test_both_builds_of_torch_are_of_one_version() -> None:
    names = ("torch-cpu", "torch")
    cpu, plain = (entries(ROOT / "requirements" / f"{name}.lock") for name in names)
    assert list(cpu) == ["torch"] and not set(cpu["torch"][0][1]) & set(plain["torch"][0][1])
    assert str(cpu["torch"][0][0]) == f"{plain['torch'][0][0]}+cpu"


def test_conda_installs_what_make_installs() -> None:
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in conda if isinstance(entry, dict)]
    wanted = {one.name: one for one in asked_for(PROJECT["dependencies"] + EXTRAS["test"])}
    for name, requirement in wanted.items():
        requirement.specifier = LOCKED[name.lower()][0][0].specifier
    assert sorted(pip) == sorted([*map(str, wanted.values()), "-e ."])
    assert f"python{PROJECT['requires-python']}" in conda


def test_no_file_names_the_host_of_a_registry() -> None:
    """Where packages come from is for whoever installs them to say, in pip's own settings."""
    files = [*ROOT.glob("*.*"), ROOT / "Makefile", *LOCKS, *(ROOT / "profiles").rglob("*")]
    for path in [path for path in files if path.is_file()]:
        hosts = r"pythonhosted|pypi\.org|download\.pytorch|anaconda\.org"
        assert not re.search(hosts, path.read_text()), path


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_a_notebook_is_committed_without_outputs(path: Path) -> None:
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"] and cell["execution_count"] is None, cell["source"]


# --- targets and profiles ------------------------------------------------------------------------


def test_every_target_of_a_reader_is_explained() -> None:
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    (phony,) = re.findall(r"^\.PHONY: ((?:.*\n\.PHONY: )*.*)", MAKEFILE, re.MULTILINE)
    wanted = set(phony.replace("\n.PHONY:", "").split())
    assert wanted == set(re.findall(r"^make ([\w-]+) +\S", told.stdout, re.MULTILINE))


@pytest.mark.parametrize("name", ["set #1", "it's", "a, b: c", '"q"'])
def test_shards_may_have_any_name(name: str) -> None:
    """As make hands it on to Snakemake, which reads a mapping."""
    words = ["make", "-n", "-o", ".venv/installed", "yt8m", f"SHARDS={name}"]
    words += ["SNAKEMAKE=printf '%s\\n'"]
    told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    command = told.stdout.split(".venv/bin")[0]
    said = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    (given,) = [line for line in said.splitlines() if "shards:" in line]
    mapping = yaml.load(given.partition("=")[2], yaml.BaseLoader)
    assert mapping == {"shards": name, "vocabulary": "data/yt8m/shards/vocabulary.csv"}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLUSTERS)
def test_a_cluster_would_get_a_job_for_each_training(tmp_path: Path, name: str) -> None:
    pytest.importorskip(f"snakemake_executor_plugin_{CLUSTERS[name]}", reason="extra cluster")
    for part in ("Snakefile", "pyproject.toml", "notebooks", "profiles", "xmodal", "xmodal_suite"):
        (tmp_path / part).symlink_to(ROOT / part)
    words = ["--configfile", "profiles/smoke.yaml", "--profile", f"profiles/cluster/{name}"]
    told = subprocess.run(
        [sys.executable, "-m", "snakemake", *words, "--dry-run"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    trainings = re.findall(r"^rule train:", told.stdout, re.MULTILINE)
    assert trainings and told.stdout.count("runtime=720") == len(trainings)
    asked = yaml.safe_load((ROOT / f"profiles/cluster/{name}/config.yaml").read_text())
    rules = set(re.findall(r"^rule (\w+):", (ROOT / "Snakefile").read_text(), re.MULTILINE))
    assert {*asked["groups"], *asked["set-threads"], *asked["set-resources"]} <= rules


def test_the_paper_is_the_default() -> None:
    config = TrainConfig()
    assert (config.batch_size, config.margin, config.p_negative) == (1024, 0.2, 0.6)
    assert (config.class_weight, config.class_start_step) == (0.02, 10_000)
    assert config.embedding_dim == 250 and config.visual_hidden == (2000, 2000, 700, 700)
    assert config.audio_hidden == (450, 450, 200, 200)


@pytest.mark.parametrize("name", re.search(r"^FILLED = (.*)", MAKEFILE, re.MULTILINE)[1].split())
def test_the_numbers_of_a_page_are_those_of_the_files(tmp_path: Path, name: str) -> None:
    for folder in ("figures", "data/results/yt8m"):
        (tmp_path / folder).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / folder).symlink_to(ROOT / folder)
    (page := tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    fill_page(Path(shutil.copy(ROOT / name, page)))
    assert page.read_text() == (ROOT / name).read_text()
    assert not re.search(r"^ *<!-- [^\n]+ -->\S+ ", page.read_text(), re.MULTILINE)  # no paragraph
