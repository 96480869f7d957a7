"""The arrows of the house go one way: each part imports only what stands before it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = [
    {"config"},
    {"folder"},
    {"data"},
    {"youtube8m", "synthetic", "media"},
    {"model"},
    {"loss", "negatives", "contrastive", "metrics"},
    {"devices", "archive"},
    {"checkpoint"},
    {"train"},
    {"evaluation"},
    {"retrieval"},
    {"plots"},
    {"results"},
    {"pipeline"},
    {"__main__"},
]
PLACE = {part: place for place, parts in enumerate(ORDER) for part in parts}
CORE = {"model", "loss", "negatives", "contrastive", "metrics"}


def part_of(path: Path) -> str:
    inside = path.relative_to(ROOT / "xmodal")
    return inside.parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Return the parts of the package that a file imports, also inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{a.name}" for a in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("xmodal.")}
    return found


FILES = [
    p
    for p in sorted((ROOT / "xmodal").rglob("*.py"))
    if p.parent.name != "xmodal" or p.stem != "__init__"
]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_file_imports_only_what_stands_before_it(path: Path):
    part = part_of(path)
    for other in imports(path) - {part}:
        earlier = PLACE[other] < PLACE[part] or (
            # the core's files know each other, but no cycle: model before the rest
            {other, part} <= CORE - {"model"}
        )
        assert earlier, f"{path.relative_to(ROOT)} imports {other}"
        assert not (part in CORE and other in {"data", "youtube8m", "synthetic", "media"})


def test_every_file_has_a_place():
    assert {part_of(path) for path in FILES} <= set(PLACE)
