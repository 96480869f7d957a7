"""What a lesson shows beside its own cells: the package's source, and a training as it goes."""

import ast
import inspect
import textwrap
from collections.abc import Callable

from IPython.core.pylabtools import print_figure
from IPython.display import DisplayHandle, Image, Markdown

from xmodal.checkpoint import RunFolder
from xmodal.config import TrainConfig
from xmodal_suite import figures
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
        words = (
            f"step {history['step'].max():,} of {steps:,}, best validation Recall@1 "
            f"{history['recall_at_1'].max():.1f}%"
        )
        curves = figures.training_curves(
            history,
            class_start_step=config.class_start_step,
            gallery_size=config.validation_gallery,
        )
        contents = Markdown(words), Image(print_figure(curves))
        for handle, content in zip(handles, contents, strict=True):
            (handle.update if shown else handle.display)(content)
        shown = True

    return watch
