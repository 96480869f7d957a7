"""Parameters, keeping, showing and saying: what every notebook relies on."""

import json
import linecache
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from matplotlib.figure import Figure

from xmodal.checkpoint import WEIGHTS
from xmodal.config import InputError, validated
from xmodal.data.features import FORMAT
from xmodal_suite import notebook
from xmodal_suite.kept import LONG, read_frame, write_frame
from xmodal_suite.notebook import BROKEN, start
from xmodal_suite.profile import declared
from xmodal_suite.provenance import read_origin

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
PARAMETERS = """
features = "data/features"
run = "runs/one"
results = "results"
figures = "figures"
measure = "auto"
clips = 3  # remarked
margin: float | None = None
rows = [1, 2]
names: list[str] = []
"""
START = 'book = start("made_up", globals())'
POINTS = """
@book.keep
def points():
    calls.append("points")
    return pd.DataFrame({"clip": range(clips)}).assign(features=features)
"""


class Page:
    """A notebook ``made_up`` in a project of its own, of which cells are run one by one."""

    def __init__(self, project: Path) -> None:
        cell = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
        (project / "notebooks").mkdir()
        book = nbformat.v4.new_notebook(cells=[cell])
        nbformat.write(book, project / "notebooks" / "made_up.ipynb")
        self.prepare("first")
        self.open()

    def open(self) -> None:
        """Begin anew, as a restarted kernel does."""
        self.calls: list[str] = []
        self.names: dict[str, Any] = {"__name__": "__main__", "start": start, "pd": pd}
        self.run(PARAMETERS, START)
        self.names["calls"] = self.calls

    def run(self, *cells: str) -> dict[str, Any]:
        """Run cells as IPython does, so that their source can be found again."""
        for cell in cells:
            place = f"<cell {len(linecache.cache)}>"
            linecache.cache[place] = (len(cell), None, cell.splitlines(keepends=True), place)
            exec(compile(cell, place, "exec"), self.names)
        return self.names

    def prepare(self, fingerprint: str) -> None:
        """Make a feature set that has nothing but its manifest."""
        made = {"format": FORMAT, "source": "made-up clips", "fingerprint": fingerprint}
        made |= {"splits": {"evaluation": {"fingerprint": f"evaluation of {fingerprint}"}}}
        Path("data/features").mkdir(parents=True, exist_ok=True)
        Path("data/features/manifest.json").write_text(json.dumps(made))

    def train(self, weights: str) -> None:
        Path("runs/one").mkdir(parents=True, exist_ok=True)
        Path("runs/one", WEIGHTS).write_text(weights)

    def measured(self, *cells: str) -> list[str]:
        """Open the notebook again, run cells, and tell what was measured."""
        self.open()
        self.run(*cells)
        return self.calls


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(notebook, "PROJECT", tmp_path)
    monkeypatch.setattr(notebook, "display", lambda *shown: None)
    return Page(tmp_path)


def test_a_parameter_has_the_type_of_its_default_or_annotation(page: Page):
    known = declared(Path("notebooks/made_up.ipynb"))
    fields = known.model_fields
    assert (fields["clips"].annotation, fields["clips"].default) == (int, 3)
    assert (fields["rows"].annotation, fields["rows"].default) == (list[int], [1, 2])
    for given in ({"clips": 5, "margin": 1, "names": ["a"]}, {"margin": None, "rows": []}):
        validated(known, given)
    wrong = {"clip": 5, "clips": "5", "margin": "0.5", "rows": ["a"], "names": [1]}
    for name, value in wrong.items():
        with pytest.raises(InputError, match="clips" if name == "clip" else name):
            validated(known, {name: value})


def test_by_hand_a_notebook_starts_again_whatever_was_set_since(page: Page):
    project = Path.cwd()
    page.run("import os", 'os.chdir("notebooks")', "count = 7", START)
    assert Path.cwd() == project
    page.names = {"start": start}
    with pytest.raises(InputError, match="count"):
        page.run(PARAMETERS, "count = 7", START)
    with pytest.raises(InputError, match="always"):
        page.run("del count", 'measure = "always"', START)


def test_a_frame_is_measured_once(page: Page):
    assert page.measured(POINTS) == ["points"]
    assert page.measured(POINTS) == []
    assert page.names["points"]["clip"].tolist() == [0, 1, 2]
    assert page.measured('measure = "again"', START, POINTS) == ["points"]
    notes = json.loads(Path("results/made_up/manifest.json").read_text())
    assert (notes["source"], notes["fingerprint"]) == ("made-up clips", "evaluation of first")
    assert notes["frames"]["points"]["parameters"] == {"clips": 3, "features": "data/features"}


def test_reading_never_measures(page: Page):
    read = 'measure = "read"', START
    with pytest.raises(InputError, match="points"):
        page.measured(*read, POINTS)
    page.measured(POINTS)
    page.prepare("second")
    assert page.measured(*read, POINTS, POINTS.replace("range", "2 * range")) == []


def test_only_parameters_that_a_frame_uses_matter(page: Page):
    page.measured(POINTS)
    assert page.measured("margin = 0.5", POINTS) == []
    assert page.measured("clips = 4", POINTS) == ["points"]


def test_other_code_is_other_work_and_a_remark_is_none(page: Page):
    page.measured(POINTS)
    assert page.measured(POINTS.replace("return", "# all of them\n    return")) == []
    assert page.measured(POINTS.replace("range(clips)", "list(range(clips))")) == ["points"]


def test_other_features_are_measured_and_missing_ones_are_not(page: Page):
    page.measured(POINTS)
    page.prepare("second")
    assert page.measured(POINTS) == ["points"]
    Path("data/features/manifest.json").unlink()
    assert page.measured(POINTS.replace("range(clips)", "list(range(clips))")) == []
    assert page.measured("clips = 4", POINTS) == ["points"]


@pytest.mark.parametrize("change", ["prepare", "train"])
def test_what_changes_while_a_notebook_uses_it_is_told(page: Page, change: str):
    page.train("weights")
    page.run(POINTS.replace("calls", "run; calls"))
    kept = Path("results/made_up/points.csv").read_bytes()
    page.names["change"] = lambda: getattr(page, change)("others")
    with pytest.raises(InputError, match="^data/features" if change == "prepare" else "^runs/one"):
        page.run(POINTS.replace("calls", "change(); run; calls").replace("points", "others"))
    assert Path("results/made_up/points.csv").read_bytes() == kept


def test_weights_count_as_they_are_after_measuring(page: Page):
    page.names["train"] = lambda: page.train("weights")
    cell = POINTS.replace("calls.append", "train(); run; calls.append")
    page.run(cell)
    assert page.measured("train = None", cell) == []
    page.train("others")
    page.open()
    page.names["train"] = lambda: None
    page.run(cell)
    assert page.calls == ["points"]


def test_helpers_and_other_frames_are_followed(page: Page):
    helper = "import functools\n@functools.cache\ndef count():\n    return clips + len(rows)"
    cell = POINTS.replace("range(clips)", "range(count())")
    after = POINTS.replace("points", "after").replace("range(clips)", "points['clip']")
    assert page.measured(helper, cell, after) == ["points", "after"]
    assert page.measured(helper, cell, after) == []
    assert page.measured("rows = [3]", helper, cell, after) == ["points", "after"]
    other = helper.replace("+", "-")
    assert page.measured("rows = [3]", other, cell, after) == ["points", "after"]


def test_a_changed_byte_is_refused(page: Page):
    page.measured(POINTS)
    path = Path("results/made_up/points.csv")
    path.write_text(path.read_text().replace("2", "3"))
    with pytest.raises(InputError, match=str(path)):
        page.measured(POINTS)
    Path("results/made_up/manifest.json").write_text("{")
    with pytest.raises(InputError, match="manifest"):
        page.measured(POINTS)


@pytest.mark.parametrize(("times", "lists"), [(1, False), (1, True), (LONG, False)])
def test_frames_are_read_as_they_were_measured(tmp_path: Path, times: int, lists: bool):
    frame = pd.DataFrame({"clip": ["007", "NA"], "value": [0.1 + 0.2, None], "labels": ["", "a"]})
    frame["lists"] = [["a; b", "|"], []] if lists else "c"
    frame = pd.concat([frame] * times, ignore_index=True)
    write_frame(tmp_path, "frame", frame, {})
    pd.testing.assert_frame_equal(read_frame(tmp_path, "frame"), frame)


def test_a_figure_and_a_table_are_saved_with_their_origin(page: Page):
    page.run("clips = 2", POINTS)
    book = page.names["book"]
    figure, protocol = Figure(), {"seeds": "one"}
    book.show("drawn", figure, "Points.")
    book.show("listed", page.names["points"], "Points", protocol=protocol)
    drawn, listed = (read_origin(Path(f"figures/{stem}.json")) for stem in ("drawn", "listed"))
    assert (drawn["caption"], drawn["source"]) == ("Points.", "made-up clips")
    assert listed["protocol"] == protocol and '"clips": 2' in listed["command"]
    assert "made-up clips" in [text.get_text() for text in figure.texts]
    assert pd.read_csv("figures/listed.csv")["clip"].tolist() == [0, 1]
    assert {path.suffix for path in Path("figures").glob("drawn.*")} >= {".png", ".pdf", ".svg"}


def test_a_sentence_that_does_not_hold_is_marked(page: Page, monkeypatch: pytest.MonkeyPatch):
    said: list[Any] = []
    monkeypatch.setattr(notebook, "display", said.append)
    say = page.names["book"].say
    say("Recall falls.", holds=True)
    say("Recall falls.", holds=False, stem="verdict")
    assert said[0].data == "Recall falls." and BROKEN in said[1].data
    assert Path("figures/verdict.md").read_text() == f"{said[1].data}\n"
