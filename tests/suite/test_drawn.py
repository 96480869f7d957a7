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

from xmodal_suite.notebook import BROKEN

SETS = ("yt8m", "media")
#: Pages that name files of the machine that made them, so they are not committed.
LOCAL = {Path("own_explorer.html"), Path("own_explorer.json")}
#: Where the committed pictures were drawn; on another platform text may be set a little otherwise.
SAME_PLATFORM = (platform.system(), platform.machine()) == ("Linux", "x86_64")
TOLERANCE = 0.02
"""Mean difference of the pixels of a picture drawn on another platform, of 1."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("drawn"))


@pytest.mark.parametrize("data", SETS)
def test_all_is_drawn_again_the_same(project: Project, data: str):
    """As in a clone: no shards, no features, no weights."""
    drawn, kept = (root / "figures" / data for root in (project.folder, ROOT))
    shutil.copytree(ROOT / "data/results" / data, project.folder / "data/results" / data)
    words = ["--configfile", f"profiles/{data}.yaml", "--config", "draw=true", "--cores", "2"]
    told = project.run(*project.command(*words))
    assert told.returncode == 0, told.stderr[-5000:]
    assert {path.name for path in (project.folder / "runs" / data).iterdir()} == {"notebooks"}
    assert not (project.folder / "data" / data).exists()
    names, committed = (
        {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} - LOCAL
        for folder in (drawn, kept)
    )
    assert names == committed
    differing = [
        name for name in names if (drawn / name).read_bytes() != (kept / name).read_bytes()
    ]
    if SAME_PLATFORM:
        assert not differing
    for name in differing:
        here, there = drawn / name, kept / name
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
    deeper = "](../../../" if "figures" in path.parts else "](../"
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
    places = [ROOT / "figures" / data / "notebooks" / source.name for data in SETS]
    (executed,) = filter(Path.exists, places)
    assert executed.stat().st_size <= 600_000
    assert cells_of(executed) == cells_of(source)
    pictures = {path.read_bytes() for path in executed.parents[1].glob("*.png")}
    shown = [
        base64.b64decode(output["data"]["image/png"])
        for cell in json.loads(executed.read_text())["cells"]
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {}) and "slide(" not in "".join(cell["source"])
    ]
    assert all(png in pictures for png in shown)
    assert BROKEN not in executed.read_text(), "a sentence no longer holds on these measurements"
    assert not any(
        output["output_type"] == "error" or output.get("name") == "stderr"
        for cell in json.loads(executed.read_text())["cells"]
        for output in cell.get("outputs", [])
    )


def test_measurements_and_the_explorer_are_small():
    assert (ROOT / "figures/yt8m/explorer.html").stat().st_size <= 4_000_000
    files = [p for data in SETS for p in (ROOT / "data/results" / data).rglob("*") if p.is_file()]
    assert files and sum(path.stat().st_size for path in files) <= 15_000_000
