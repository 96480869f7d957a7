"""What is locked is what pyproject.toml asks for, by hash, and from wherever pip is set up."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))


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
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted = project["project"]["dependencies"] + project["build-system"]["requires"]
    wanted += [one for name in extras.keys() - {"yt8m"} for one in extras[name]]
    for requirement in map(Requirement, wanted):
        for locked, _ in LOCKED[requirement.name]:
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
    assert LOCKED["triton"][0][0].marker.evaluate(dict(here)) == (system == "linux")


def test_both_builds_of_torch_are_of_one_version() -> None:
    cpu, plain = (
        entries(ROOT / "requirements" / f"{name}.lock") for name in ("torch-cpu", "torch")
    )
    assert list(cpu) == ["torch"] and not set(cpu["torch"][0][1]) & set(plain["torch"][0][1])
    assert str(cpu["torch"][0][0]) == f"{plain['torch'][0][0]}+cpu"
