"""What a lesson shows beside its cells: the package's source, sliders, a training as it goes."""

import ast
import functools
import inspect
import os
import textwrap
from collections.abc import Callable
from typing import Any

from IPython.core.pylabtools import print_figure
from IPython.display import DisplayHandle, Image, Markdown, display
from ipywidgets import interact
from matplotlib.figure import Figure

from xmodal.checkpoint import RunFolder
from xmodal.config import TrainConfig
from xmodal_suite import figures
from xmodal_suite.provenance import SHOWN
from xmodal_suite.runs import history_frame


def source_of(*functions: Callable) -> Markdown:
    """Return the lines of functions of the package, folded, without their docstrings."""
    texts = []
    for function in functions:
        lines = textwrap.dedent(inspect.getsource(function)).splitlines()
        first, *_ = ast.parse("\n".join(lines)).body[0].body  # type: ignore[attr-defined]
        if function.__doc__:  # its own, and none that it inherits
            del lines[first.lineno - 1 : first.end_lineno]
        texts.append("\n".join(lines))
    names = ", ".join(f"<code>{function.__name__}</code>" for function in functions)
    code = "\n\n\n".join(texts)
    return Markdown(
        f"<details><summary>{names} in the package</summary>\n\n```python\n{code}\n```\n</details>"
    )


def slide(draw: Callable[..., Figure], **sliders: Any) -> None:
    """Show what a function draws, under sliders for its arguments.

    The docstring of ``draw`` says in words what is seen. An executed copy has no kernel that could
    draw anew, so it shows the figure of the default arguments alone.
    """

    @functools.wraps(draw)  # the defaults are where the sliders stand at first
    def shown(**chosen: Any) -> None:
        figure = draw(**chosen)
        figures.style.settle(figure)
        width = round(SHOWN * figure.get_figwidth())
        display(Image(print_figure(figure, dpi=2 * SHOWN), width=width, alt=draw.__doc__))

    if "XMODAL_STILL" in os.environ:
        shown()
    else:
        interact(shown, **sliders)


def live_curves(config: TrainConfig) -> Callable[[], None]:
    """Return a ``watch`` of `train`: a line of progress and the curves, drawn anew each time.

    Of a run that was complete before, nothing is drawn.
    """
    handles = DisplayHandle(), DisplayHandle()
    shown, folder = False, RunFolder(config.out)

    def watch() -> None:
        nonlocal shown
        if not shown and (folder.path / "result.json").exists():
            return
        history = history_frame([config.out])
        steps = folder.read("config.json")["config"]["steps"]
        step, best = history["step"].max(), history["recall_at_1"].max()
        words = f"step {step:,} of {steps:,}, best validation Recall@1 {best:.1f}%"
        drawn = figures.training_curves(history, config.class_start_step, config.validation_gallery)
        contents = Markdown(words), Image(print_figure(drawn))
        for handle, content in zip(handles, contents, strict=True):
            (handle.update if shown else handle.display)(content)
        shown = True

    return watch
