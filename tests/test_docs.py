"""What the project's pages say is there: files, headings, commands, targets, names to import."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(ROOT / "data" / name for name in ("README.md", "results/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name / "README.md" for name in ("profiles/cluster", "xmodal/weights/yt8m-recipe")),
    *sorted((ROOT / "benchmarks").glob("*.md")),
]
COMMITTED = ("figures/yt8m", "figures/media")  # others are what a command left in the folder
NOTEBOOKS = [path for name in (".", *COMMITTED) for path in ROOT.glob(f"{name}/notebooks/*.ipynb")]
MAKEFILE = (ROOT / "Makefile").read_text()


def blocks(language: str) -> str:
    """Return all code of one language on the pages."""
    text = "\n".join(page.read_text() for page in PAGES)
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL))


def anchors(page: Path) -> set[str]:
    """Return what a link to a heading of a page may name."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def text_of(page: Path) -> str:
    """Return the Markdown of a page or of a notebook's cells."""
    if page.suffix != ".ipynb":
        return page.read_text()
    cells = json.loads(page.read_text())["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


@pytest.mark.parametrize(
    "page", [*PAGES, *sorted(NOTEBOOKS)], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if not link.startswith("http"):
            name, _, heading = link.partition("#")
            target = page.parent / name if name else page
            assert target.exists(), link
            assert not heading or heading in anchors(target), link


def test_every_page_in_docs_is_linked_from_the_readme() -> None:
    for page in (ROOT / "docs").glob("*.md"):
        assert f"](docs/{page.name}" in (ROOT / "README.md").read_text()


def test_the_commands_exist(call: Callable) -> None:
    commands = set(re.findall(r"\bxmodal (\w+)", blocks("sh")))
    assert {"download", "prepare", "train"} <= commands
    for command in sorted(commands):
        assert call(command, "--help")[0] == 0, command


def test_the_targets_exist() -> None:
    targets = set(re.findall(r"^make ([\w-]+)", blocks("sh"), re.MULTILINE))
    assert {"paper", "test"} <= targets <= set(re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE))


def test_the_names_in_python_examples_exist() -> None:
    lines = re.findall(r"^(?:from|import) .*$", blocks("python"), re.MULTILINE)
    assert lines
    exec("\n".join(lines), {})


def test_a_commit_is_checked_as_make_lint_does() -> None:
    (recipe,) = re.findall(r"^lint:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = [hook["entry"] for hook in local["hooks"]]
    assert hooks == [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe.splitlines()]
