"""The committed figures are those that the committed measurements give."""

import base64
import json
import platform
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from test_graph import ROOT, Project

FIGURES = "figures/yt8m"
#: Where the committed pictures were drawn; on another platform text may be set a little otherwise.
SAME_PLATFORM = (platform.system(), platform.machine()) == ("Linux", "x86_64")
TOLERANCE = 0.02
"""Mean difference of the pixels of a picture drawn on another platform, of 1."""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = Project(tmp_path_factory.mktemp("drawn"))
    shutil.copytree(ROOT / "data/results/yt8m", project.folder / "data/results/yt8m")
    words = ["--configfile", "profiles/yt8m.yaml", "--config", "draw=true", "--cores", "2"]
    told = project.run(*project.command(*words))
    assert told.returncode == 0, told.stderr[-5000:]
    return project.folder / FIGURES


def test_all_is_drawn_again_the_same(drawn: Path):
    names = {path.relative_to(drawn) for path in drawn.rglob("*") if path.is_file()}
    committed = {
        path.relative_to(ROOT / FIGURES) for path in (ROOT / FIGURES).rglob("*") if path.is_file()
    }
    assert names == committed
    differing = [n for n in names if (drawn / n).read_bytes() != (ROOT / FIGURES / n).read_bytes()]
    if SAME_PLATFORM:
        assert not differing
    for name in differing:
        here, there = drawn / name, ROOT / FIGURES / name
        if name.suffix == ".png":
            one, two = imread(here), imread(there)
            assert one.shape == two.shape and np.abs(one - two).mean() < TOLERANCE, name
        elif name.suffix == ".ipynb":
            assert without_pictures(here) == without_pictures(there), name
        else:
            assert name.suffix in {".svg", ".pdf"}, name


def without_pictures(path: Path) -> str:
    book = json.loads(path.read_text())
    for cell in book["cells"]:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("image/png", None)
    return json.dumps(book)


def cells_of(path: Path) -> list[str | list[str]]:
    """Return each cell's text; of the parameters, whose values a batch sets, the names."""
    deeper = "](../../../" if FIGURES in str(path) else "](../"
    return [
        re.findall(r"^(\w+) = ", text, re.MULTILINE)
        if "parameters" in tags
        else text.replace(deeper, "](../")
        for cell in json.loads(path.read_text())["cells"]
        for text, tags in [("".join(cell["source"]), cell["metadata"].get("tags", []))]
    ]


@pytest.mark.parametrize(
    "source", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem
)
def test_a_committed_notebook_is_its_source_and_shows_the_figures(source: Path):
    executed = ROOT / FIGURES / "notebooks" / source.name
    assert executed.stat().st_size <= 600_000
    assert cells_of(executed) == cells_of(source)
    pictures = {path.read_bytes() for path in (ROOT / FIGURES).glob("*.png")}
    shown = [
        base64.b64decode(output["data"]["image/png"])
        for cell in json.loads(executed.read_text())["cells"]
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert all(png in pictures for png in shown)
    assert not any(
        output["output_type"] == "error" or output.get("name") == "stderr"
        for cell in json.loads(executed.read_text())["cells"]
        for output in cell.get("outputs", [])
    )


def test_measurements_are_small():
    files = [path for path in (ROOT / "data/results/yt8m").rglob("*") if path.is_file()]
    assert files and sum(path.stat().st_size for path in files) <= 15_000_000
