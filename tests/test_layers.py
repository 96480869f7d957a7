"""The arrows of the house go one way: each part imports only what stands before it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = [
    {"config"},
    {"kernels", "fourier"},
    {"model"},
    {"negatives", "loss", "contrastive", "metrics"},
    {"files"},
    {"search_options"},
    {"data"},
    {"checkpoint"},
    {"train", "pretrained", "search"},
    {"evaluation"},
    {"index"},
    {"youtube8m", "media"},
    {"answers", "explorer"},
    {"cli"},
    {"__main__"},
]
PLACE = {part: place for place, parts in enumerate(ORDER) for part in parts}
LATE = {("model", "pretrained")}  # imported when a model is loaded or saved
CORE = {"model", "negatives", "loss", "contrastive", "metrics"}


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "xmodal").parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Return the dotted names of everything that a file imports, inside its functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


FILES = [path for path in sorted((ROOT / "xmodal").rglob("*.py")) if path.name != "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_file_imports_only_what_stands_before_it(path: Path):
    part, names = part_of(path), imports(path)
    outside = {"xmodal_suite", "matplotlib"}
    outside |= {"requests", "pooch"} if part != "youtube8m" else set()
    assert not {name.split(".")[0] for name in names} & outside
    others = {name.split(".")[1] for name in names if name.startswith("xmodal.")} - {part}
    for other in others:
        # the core's files know each other, but no cycle: model before the rest
        related = {other, part} <= CORE - {"model"} or (part, other) in LATE
        assert PLACE[other] < PLACE[part] or related, f"{part} imports {other}"


def test_every_file_has_a_place():
    assert {part_of(path) for path in FILES} <= set(PLACE)
