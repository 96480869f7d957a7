"""What is released: versions agree, the archives are whole, and a wheel works by itself."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
PACKAGE = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "xmodal").rglob("*")
    if path.is_file() and path.parent.name != "__pycache__"
}


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
    files = ["pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", *PACKAGE]
    return build("wheel", tmp_path_factory.mktemp("wheel"), files)


def test_versions_agree():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == VERSION
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (\S+)", changes, re.MULTILINE)[0] == VERSION


def test_a_wheel_holds_the_package_whole_and_nothing_else(wheel: Path):
    names = set(zipfile.ZipFile(wheel).namelist())
    info = f"xmodal-{VERSION}.dist-info"
    assert {name for name in names if not name.startswith(info)} == PACKAGE
    assert {f"{info}/METADATA", f"{info}/entry_points.txt", f"{info}/licenses/LICENSE"} <= names


def test_a_source_distribution_holds_every_file_of_the_project(tmp_path: Path):
    if not (ROOT / ".git").exists():
        pytest.skip("only git knows which files are the project's")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    names = [name for name in listed.stdout.splitlines() if not name.startswith(".ci/")]
    files = [name for name in names if (ROOT / name).exists()]
    with tarfile.open(build("sdist", tmp_path, files)) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert set(files) <= held


@pytest.mark.slow
def test_a_wheel_works_where_the_project_is_not(wheel: Path, tmp_path: Path):
    """In an environment of its own, which borrows the other packages from this one."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True)
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(own.stdout.strip()) / "borrowed.pth").write_text("\n".join(sorted(borrowed)))
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", wheel], check=True, env=variables)

    folder = tmp_path / "elsewhere"
    shutil.copytree(ROOT / "figures" / "yt8m", folder / "figures")
    (folder / "figures" / "README.md").unlink()

    def run(*words: str | Path) -> str:
        done = subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = run(python, "-c", "import xmodal; print(xmodal.__version__, xmodal.__file__)")
    assert where.split()[0] == VERSION and str(environment) in where
    xmodal = environment / "bin" / "xmodal"
    assert "train" in run(xmodal, "--help")
    first = "from xmodal.search import open_gallery as o; print(o('yt8m-recipe').ids[0])"
    clip = run(python, "-c", first).strip()
    assert len(run(xmodal, "search", "yt8m-recipe", "--video", clip, "-k", "3").splitlines()) == 4
    run(xmodal, "sample", "--out=sample", "--clips=1200", "--clips-per-shard=100")
    split = ["--evaluation-clips=300", "--validation-clips=300"]
    files = ["--shards=sample/shards", "--vocabulary=sample/vocabulary.csv"]
    files.append("--out=sample/features")
    assert "evaluation: 300 clips" in run(xmodal, "prepare", *files, *split)
    data = "--features=sample/features"
    tiny = ["--batch-size=64", "--validate-every=2", "--visual-hidden=16", "--audio-hidden=16"]
    assert "4 steps" in run(xmodal, "train", data, "--out=runs/tiny", "--steps=4", *tiny)
    assert "median_rank" in run(xmodal, "measure", "--run=runs/tiny", data)
    run(xmodal, "report", "figures")
    assert "| published" in (folder / "figures" / "README.md").read_text()
