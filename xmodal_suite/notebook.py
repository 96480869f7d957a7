"""What notebooks alone need: their parameters, taken strictly, and a training that is watched."""

import ast
import inspect
import os
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

from IPython.core.getipython import get_ipython
from IPython.display import DisplayHandle, Markdown

from xmodal.checkpoint import RunFolder
from xmodal.config import Config, TrainConfig, validated
from xmodal.data.features import read_manifest
from xmodal_suite import figures as plots
from xmodal_suite.training import history_frame


def parameters(config_type: type[Config]) -> Config:
    """Build a stage's configuration from the notebook's parameters cell and papermill's.

    Call it in the cell after the parameters. papermill writes the parameters it is given into a
    cell between the two and only warns of those that the notebook does not have; here they are
    refused, before any data is loaded. The working directory becomes the project's top folder,
    which every path is relative to, whether the notebook was started there or in ``notebooks``.

    Raises
    ------
    InputError
        If a name is no parameter of the stage or a value is not of its kind.
    """
    user = get_ipython().user_ns  # type: ignore[union-attr]
    os.chdir(project_folder(Path.cwd()))
    cells = list(user["In"])
    while cells[-1] == user["In"][-1]:  # this cell, and its runs just before that were refused
        cells.pop()
    given = {name for name in config_type.model_fields if name in user}
    while cells and (names := literal_names(cells.pop())):
        given |= names
    return validated(config_type, {name: user[name] for name in given})


def literal_names(cell: str) -> set[str]:
    """Return the names that a cell sets, if it does nothing but set names to literals."""
    names = set()
    cell = re.sub(r"float\('(-?inf|nan)'\)", "0.0", cell)  # as papermill writes these
    try:
        for statement in ast.parse(cell).body:
            match statement:
                case ast.Assign([ast.Name(name)], value) | ast.AnnAssign(
                    ast.Name(name), value=ast.expr() as value
                ):
                    ast.literal_eval(value)
                    names.add(name)
                case _:
                    return set()
    except (SyntaxError, ValueError):
        return set()
    return names


def project_folder(start: Path) -> Path:
    """Return the nearest folder at or above ``start`` that holds the notebooks; else ``start``."""
    above = (start, *start.parents)
    return next((f for f in above if (f / "notebooks" / "02_train.ipynb").exists()), start)


def source_of(*functions: Callable) -> Markdown:
    """Return the lines of functions of the package as a notebook shows them, without docstrings."""
    texts = []
    for function in functions:
        lines = textwrap.dedent(inspect.getsource(function)).splitlines()
        first, *_ = ast.parse("\n".join(lines)).body[0].body  # type: ignore[attr-defined]
        if inspect.getdoc(function):
            del lines[first.lineno - 1 : first.end_lineno]
        texts.append("\n".join(lines))
    return Markdown("```python\n{}\n```".format("\n\n\n".join(texts)))


def live_curves(config: TrainConfig) -> Callable[[], None]:
    """Return a ``watch`` of `train`: a line of progress and the curves, drawn anew each time.

    Nothing is shown before the first validation; at the end the line says what was reached.
    """
    folder, again = RunFolder(config.out), False
    line, curves = DisplayHandle(), DisplayHandle()

    def watch() -> None:
        nonlocal again
        history = history_frame([config.out])
        made, steps = history["step"].max(), folder.read("config.json")["config"]["steps"]
        best = history.loc[history["recall_at_1"].idxmax()]
        words = f"best validation Recall@1 {best['recall_at_1']:.1f} %"
        if (config.out / "result.json").exists():
            words = f"trained for {made:,} steps · {words}, at step {best['step']:,}"
        else:
            words = f"step {made:,} of {steps:,} · {words}"
        source = read_manifest(config.features)["source"]
        options = config.class_start_step, config.validation_gallery
        picture = plots.training_curves(history, source, *options)
        for handle, content in ((line, Markdown(words)), (curves, picture)):
            (handle.update if again else handle.display)(content)
        again = True

    return watch
