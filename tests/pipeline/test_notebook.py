"""A notebook's parameters, in a real shell and through papermill; a training that is watched."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import DisplayHandle, Markdown
from papermill.exceptions import PapermillExecutionError
from pydantic import Field
from traitlets.config import Config

from xmodal.checkpoint import read_history
from xmodal.config import InputError, TrainConfig, validated
from xmodal.loss import cosine_loss
from xmodal.metrics import Ranks
from xmodal.train import train
from xmodal_suite.figure_config import FigureConfig
from xmodal_suite.notebook import literal_names, live_curves, project_folder, source_of

Run = Callable[..., Any]
STAGE = """
from pathlib import Path
from xmodal.config import StageConfig
from xmodal_suite.notebook import parameters

class Stage(StageConfig):
    batch_size: int = 1024
    margin: float = 0.2
    features: Path = Path("data")
"""
READ = "config = parameters(Stage)"


class Figures(FigureConfig):
    clips: int = Field(2000, gt=1)
    split_seed: int = 0


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run cells one after the other in a shell; give what the last of them raised, or config."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    shell.run_cell(STAGE, store_history=True)

    def cells(*sources: str) -> Any:
        for source in sources:
            result = shell.run_cell(source, store_history=True)
        return result.error_in_exec or shell.user_ns["config"]

    yield cells
    InteractiveShell.clear_instance()


# --- in a shell ----------------------------------------------------------------------------------


def test_parameters_are_those_of_the_cells_before(run: Run):
    config = run('batch_size = 512\nfeatures: str = "elsewhere"  # by hand', READ)
    assert (config.batch_size, config.margin, config.features) == (512, 0.2, Path("elsewhere"))


def test_later_parameters_win(run: Run):
    assert run("batch_size = 512", "# Parameters\nbatch_size = 256", READ).batch_size == 256


def test_no_parameters_are_the_defaults(run: Run):
    assert run(READ).model_dump() == {"batch_size": 1024, "margin": 0.2, "features": Path("data")}


def test_a_number_in_quotes_is_a_number(run: Run):
    assert run('batch_size = "512"', READ).batch_size == 512


@pytest.mark.parametrize(
    "cell, said",
    [
        ("margn = 0.3", "there is no parameter margn; did you mean margin?"),
        ("zzz = 1", "there is no parameter zzz; there are batch_size, margin, features"),
        ("batch_size = 'many'", "parameter batch_size: .*integer.* \\(got 'many'\\)"),
        ("batch_size = 1.5", "parameter batch_size: .*integer.* \\(got 1.5\\)"),
        ("margin = None", "parameter margin: .*number.* \\(got None\\)"),
        ("margin = -0.3\nmargn = -0.3", "did you mean margin?"),
    ],
)
def test_a_wrong_parameter_is_refused_in_one_sentence(run: Run, cell: str, said: str):
    error = run("batch_size = 512", cell, READ)
    assert isinstance(error, InputError)
    with pytest.raises(InputError, match=said):
        raise error
    assert "\n" not in str(error)


def test_a_name_in_papermills_cell_is_refused_too(run: Run):
    error = run("margin = 0.3", "# Parameters\nmargn = 0.4\n", READ)
    assert "did you mean margin?" in str(error)


def test_other_cells_may_use_any_name(run: Run):
    config = run(
        "anything = 1", "import math\nother = 2", "made = sorted([2])", "margin = 0.5", READ
    )
    assert config.margin == 0.5


def test_a_mistake_can_be_mended(run: Run):
    assert isinstance(run("margn = 0.3", READ), InputError)
    assert run("margin = 0.3", READ).margin == 0.3


def test_running_the_cell_again_mends_nothing(run: Run):
    assert isinstance(run("margn = 0.3", READ), InputError)
    assert isinstance(run(READ), InputError)
    assert isinstance(run(READ), InputError)


@pytest.mark.parametrize("start", ["", "notebooks", "data/sample"])
def test_the_working_directory_becomes_the_projects(run: Run, tmp_path: Path, start: str):
    for folder in ("notebooks", "data/sample"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "notebooks" / "02_train.ipynb").write_text("{}")
    os.chdir(tmp_path / start)
    run(READ)
    assert Path.cwd() == tmp_path


def test_elsewhere_the_working_directory_stays(run: Run, tmp_path: Path):
    run(READ)
    assert Path.cwd() == tmp_path == project_folder(tmp_path)


# --- which cells count ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell, names",
    [
        ("b = [1, -2.5, {'c': None}]\nd: int = 3", {"b", "d"}),
        ("print(1)", set()),
        ("b = float('inf')\nc = [float('-inf'), float('nan')]", {"b", "c"}),  # papermill's
        ("b = 2\nc = b", set()),
        ("b = 2\nimport c", set()),
        ("%%time\nb = 2", set()),
        ("a = b = 1", set()),
        ("a, b = 1, 2", set()),
        ("a: int", set()),
        ("x.y = 1", set()),
        ("", set()),
    ],
)
def test_only_cells_of_literals_count(cell: str, names: set[str]):
    assert literal_names(cell) == names


@pytest.mark.parametrize("between", ["print(1)", "# a remark", "margin = sorted([2])[0]"])
def test_only_the_last_cells_in_a_row_count(run: Run, between: str):
    assert run("other = 1", between, "batch_size = 2", READ).batch_size == 2
    assert isinstance(run("other = 1", "batch_size = 2", READ), InputError)


# --- through papermill ---------------------------------------------------------------------------


def test_papermill_passes_parameters_strictly(tmp_path: Path):
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(STAGE),
            nbformat.v4.new_code_cell("batch_size = 512", metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(READ + "\nprint(config.batch_size + 1)"),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}},
    )
    source, out = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    nbformat.write(notebook, source)
    papermill.execute_notebook(source, out, {"batch_size": "256"}, progress_bar=False)
    assert nbformat.read(out, 4).cells[-1].outputs[0].text == "257\n"
    with pytest.raises(PapermillExecutionError, match=r"did you mean batch_size\?"):
        papermill.execute_notebook(source, out, {"batch_sizes": 256}, progress_bar=False)


# --- a training that is watched -------------------------------------------------------------------


def test_a_training_is_drawn_at_each_validation(
    tiny: Callable[..., TrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = tiny(tmp_path / "run", learning_rate=1e-30)  # no validation is better than the first
    lines, pictures = [], []

    def display(handle: DisplayHandle, content: Any, update: bool = False) -> None:
        kept = lines if isinstance(content, Markdown) else pictures
        kept.append((handle.display_id, update, content))

    monkeypatch.setattr(DisplayHandle, "display", display)
    monkeypatch.setattr(DisplayHandle, "update", lambda *given: display(*given, update=True))
    train(config, live_curves(config))
    best = f"best validation Recall@1 {100 * read_history(config.out)[0]['recall_at_1']:.1f} %"
    assert [content.data for *_, content in lines] == [
        *(f"step {step} of 40 · {best}" for step in (10, 20, 30, 40)),
        f"trained for 40 steps · {best}, at step 10",
    ]
    for shown in (lines, pictures):  # one place each, which is drawn again
        assert len({place for place, *_ in shown}) == 1
        assert [update for _, update, _ in shown] == [False, True, True, True, True]
    recall = pictures[-1][2].axes[4]
    assert list(recall.lines[0].get_xdata()) == [10, 20, 30, 40]


# --- without a notebook --------------------------------------------------------------------------


def test_values_are_validated():
    assert validated(Figures, {"clips": "3"}).clips == 3
    with pytest.raises(InputError, match=r"parameter clips: .* greater than 1 \(got 1\)"):
        validated(Figures, {"clips": 1})


# --- what a notebook shows ------------------------------------------------------------------------


def test_a_source_is_shown_without_its_docstring():
    shown = source_of(cosine_loss, Ranks.hits).data
    assert shown.startswith("```python\ndef cosine_loss(\n")
    assert shown.endswith("clamp(0, 1)\n```") and "\n\n\ndef hits(self, k: int)" in shown
    assert '"""' not in shown and "pull = 1 - cosine" in shown
