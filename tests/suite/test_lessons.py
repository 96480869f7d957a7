"""What a lesson shows: the package's source, a training as it goes, and the plain loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from IPython.display import DisplayHandle, Markdown
from ipywidgets import interactive
from matplotlib.figure import Figure
from torch import nn
from torch.nn.functional import cosine_embedding_loss, cosine_similarity

from xmodal.config import TrainConfig
from xmodal.loss import cosine_loss
from xmodal.metrics import Ranks
from xmodal.model import Branch
from xmodal.train import train
from xmodal_suite import lesson
from xmodal_suite.lesson import live_curves, slide, source_of

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def test_a_source_is_folded_and_shown_without_its_docstring():
    shown = source_of(cosine_loss, Ranks.hits, Branch.__init__).data
    assert shown.startswith("<details>") and "def hits(self, k: int)" in shown
    assert '"""' not in shown and "pull = 1 - cosine" in shown
    assert "activation = {" in shown  # the first line of a function that has no docstring


def test_a_training_is_drawn_at_each_validation_and_once_complete_no_more(
    tiny: Callable[..., TrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shown: dict[str, list[Any]] = {}

    def display(handle: DisplayHandle, content: Any, update: bool = False) -> None:
        shown.setdefault(handle.display_id, []).append((update, content))

    drawn_last: list[Figure] = []
    monkeypatch.setattr(lesson, "print_figure", lambda figure: drawn_last.append(figure) or b"png")
    monkeypatch.setattr(DisplayHandle, "display", display)
    monkeypatch.setattr(DisplayHandle, "update", lambda *given: display(*given, update=True))
    config = tiny(tmp_path / "run")
    train(config, live_curves(config))
    lines, pictures = shown.values()  # one place each, which is drawn again
    for drawn in (lines, pictures):
        assert [update for update, _ in drawn] == [False, True, True, True, True]
    assert isinstance(lines[0][1], Markdown) and "step 10 of 40" in lines[0][1].data
    assert list(drawn_last[-1].axes[1].lines[0].get_xdata()) == [10, 20, 30, 40]
    shown.clear()
    train(config, live_curves(config))
    assert not shown


def test_sliders_start_at_the_defaults_and_draw_anew_where_a_kernel_runs(
    monkeypatch: pytest.MonkeyPatch,
):
    drawn, shown = [], []

    def draw(margin: float = 0.2, k: int = 10) -> Figure:
        """Draw a picture."""
        drawn.append((margin, k))
        figure = Figure()
        figure.subplots()
        return figure

    monkeypatch.setattr(lesson, "display", shown.append)
    monkeypatch.setattr(
        lesson, "interact", lambda *given, **s: made.append(interactive(*given, **s))
    )
    made: list[interactive] = []
    slide(draw, margin=(0.0, 0.9, 0.1), k=(1, 50))
    (widget,) = made
    widget.update()
    widget.children[0].value = 0.5
    widget.update()
    assert (drawn[0], drawn[-1]) == ((0.2, 10), (0.5, 10))
    monkeypatch.setenv("XMODAL_STILL", "1")
    drawn.clear()
    slide(draw, margin=(0.0, 0.9, 0.1))
    assert drawn == [(0.2, 10)] and len(made) == 1 and shown[-1].alt == "Draw a picture."


def test_the_plain_loop_draws_the_two_embeddings_of_a_clip_together():
    """Both modalities are linear in the same eight numbers."""
    cells = nbformat.read(NOTEBOOKS / "02_train.ipynb", as_version=4).cells
    (cell,) = [cell for cell in cells if "def plain_loop" in cell.source]
    names = {"torch": torch, "nn": nn, "cosine_embedding_loss": cosine_embedding_loss}
    exec(cell.source, names)
    torch.manual_seed(0)
    hidden = torch.randn(100, 8)
    clips = [hidden @ torch.randn(8, size) / 4 for size in (30, 12)]
    *_, nets = names["plain_loop"](*clips, steps=60)
    assert names["loss_of"](nets, *clips) < 0.15
    v, a = (net(values) for net, values in zip(nets, clips, strict=True))
    assert cosine_similarity(v, a).mean() > 0.6 and cosine_similarity(v, a.roll(1, 0)).mean() < 0.3
