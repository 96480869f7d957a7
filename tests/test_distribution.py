"""What is released: versions agree, the archives are whole, and the library works by itself."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]
LIBRARY = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "xmodal").rglob("*")
    if path.is_file() and path.parent.name != "__pycache__"
}
DEPENDENCIES = [Requirement(line) for line in PROJECT["dependencies"]]
TORCH = "torch==2.13.0"
"""The one version of torch that the locks have a build for the CPU of."""
OF_OTHERS = ["adjustText", "av", "faiss", "IPython", "ipykernel", "jupyterlab", "matplotlib"]
OF_OTHERS += ["nbformat", "numba", "papermill", "seaborn", "sklearn", "snakemake", "tabulate"]
OF_OTHERS += ["transformers", "umap", "xmodal_suite"]
"""What the suite and the extras import, and the library does without."""
COMMANDS = [
    "search yt8m-recipe --label guitar",
    "sample --out sample --clips 1200 --clips_per_shard 100",
    "prepare --shards sample/shards --vocabulary sample/vocabulary.csv --out features"
    " --evaluation_clips 300 --validation_clips 300",
    "train --features features --out tiny --steps 4 --validate_every 2 --progress false"
    " --batch_size 64 --visual_hidden [16] --audio_hidden [16]",
    "evaluate tiny --features features",
    "index tiny --features features",
    "search tiny --label Music -k 3",
]
SCRIPT = f"""
import sys
sys.modules.update(dict.fromkeys(sys.argv[1:]))  # as if they were not installed
from xmodal.cli import main
for command in {COMMANDS}:
    sys.argv = ["xmodal", *command.split()]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, command
"""


def build(kind: str, folder: Path, files: list[str]) -> Path:
    """Build a wheel or an sdist from a copy of some files, as building leaves files behind."""
    for name in files:
        target = folder / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    code = f"import setuptools.build_meta as backend; backend.build_{kind}({str(folder)!r})"
    built = subprocess.run(
        [sys.executable, "-c", code], cwd=folder / "source", capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    (archive,) = (path for path in folder.iterdir() if path.is_file())
    return archive


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = ["pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", *LIBRARY]
    files += ["xmodal_suite/__init__.py"]  # lies beside the library and stays out
    return build("wheel", tmp_path_factory.mktemp("wheel"), files)


def test_versions_agree():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == VERSION and cited["keywords"] == PROJECT["keywords"]
    image = (ROOT / "profiles/cluster/kubernetes/Containerfile").read_text()
    assert re.findall(r"xmodal:(\S+)", image) == [VERSION]
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (\S+)", changes, re.MULTILINE)[0] == VERSION


def test_a_wheel_holds_the_library_whole_and_nothing_else(wheel: Path):
    names = set(zipfile.ZipFile(wheel).namelist())
    info = f"xmodal-{VERSION}.dist-info"
    assert {name for name in names if not name.startswith(info)} == LIBRARY
    assert {f"{info}/METADATA", f"{info}/entry_points.txt", f"{info}/licenses/LICENSE"} <= names


@pytest.mark.slow
def test_a_source_distribution_holds_every_file_of_the_project(tmp_path: Path):
    if not (ROOT / ".git").exists():
        pytest.skip("only git knows which files are the project's")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    names = [name for name in listed.stdout.splitlines() if not name.startswith(".ci/")]
    files = [name for name in names if (ROOT / name).exists()]
    with tarfile.open(build("sdist", tmp_path, files)) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert set(files) <= held


def test_the_library_asks_for_little_and_pins_nothing():
    assert len(DEPENDENCIES) <= 14
    for requirement in DEPENDENCIES:
        assert [one.operator for one in requirement.specifier] == [">="], requirement


def use(python: str | Path, folder: Path, *missing: str, **variables: str) -> list[str]:
    """Search the shipped clips; then train on a sample, evaluate and search: the lines told."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    words = [python, "-c", SCRIPT, *missing]
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (folder / "tiny/result.json").exists() and "R@10" in done.stdout
    return done.stdout.splitlines()


def test_the_library_works_without_the_suite_and_the_extras(tmp_path: Path):
    told = use(sys.executable, tmp_path, *OF_OTHERS, PYTHONPATH=str(ROOT))
    assert told[0].split() and len(told) > 20


@pytest.mark.slow
@pytest.mark.parametrize("versions", ["lowest", "beside another program"])
def test_a_wheel_works_in_an_environment_of_its_own(wheel: Path, tmp_path: Path, versions: str):
    """With the least versions, and with the newest where another program pins an old numpy."""
    least = [str(one).replace(">=", "==") for one in DEPENDENCIES if one.name != "torch"]
    pinned = least if versions == "lowest" else ["numpy==2.0.2"]
    python = tmp_path / "venv/bin/python"
    venv.create(tmp_path / "venv", with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", str(python)]

    def installed() -> set[str]:
        told = subprocess.run([*pip, "list", "--format=freeze"], capture_output=True, text=True)
        return {line.partition("==")[0] for line in told.stdout.splitlines()}

    subprocess.run([*pip, "install", "--quiet", TORCH], check=True)
    of_torch = installed()
    subprocess.run([*pip, "install", "--quiet", TORCH, *pinned, wheel], check=True)
    print(f"{versions}: {len(installed() - of_torch)} packages beside torch and its own")
    assert not installed() & {"matplotlib", "jupyterlab", "snakemake", "umap-learn", "numba"}
    check = subprocess.run([*pip, "check"], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout
    (tmp_path / "here").mkdir()
    here = use(sys.executable, tmp_path / "here", PYTHONPATH=str(ROOT))
    assert use(python, tmp_path)[:11] == here[:11]  # the clips found, with their cosines
    subprocess.run([python.with_name("xmodal"), "--help"], check=True, stdout=subprocess.DEVNULL)
