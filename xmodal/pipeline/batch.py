"""The batch: its profile, and papermill that runs a notebook and reports a failure briefly."""

import re
import sys
import tempfile
import time
from pathlib import Path
from textwrap import indent
from typing import Any, TextIO

import papermill
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from pydantic import Field
from traitlets.config import Config

from xmodal.config import StageConfig
from xmodal.evaluation.ablation import Study

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class Profile(StageConfig):
    """Every choice of a batch, as a file in ``profiles/`` writes it down."""

    name: str = Field(pattern=r"^[a-z0-9_]+$", description="of data/, runs/ and figures/ folders")
    figures: str | None = Field(None, description="folder; None: figures/<name>")
    data: dict[str, Any] = Field(description="DataConfig: where the clips come from")
    train: dict[str, Any] = Field(description="TrainConfig of every model")
    dimensions: list[int] = Field(description="rows of the tables, read as embedding dimensions")
    dimension: int = Field(250, description="of the model whose rows are read as gallery sizes")
    seeds: list[int] = Field([0], min_length=1, description="each model is trained once a seed")
    threads: int = Field(1, gt=0, description="processor cores per training")
    studies: dict[str, Study] = Field(description="by name; `recipe` begins with the recipe")
    recall: dict[str, Any] = Field({}, description="RecallConfig")
    projection: dict[str, Any] = Field({}, description="ProjectionConfig")
    retrieval: dict[str, Any] = Field({}, description="RetrievalConfig")
    methods: dict[str, Any] = Field({}, description="BeyondConfig, of 06_beyond")
    study: dict[str, Any] = Field({}, description="StudyConfig")
    members: int = Field(2, gt=0, description="runs of the recipe, which are joined")

    def models(self) -> list[str]:
        """Return the names of the paper's training runs, its own dimension first."""
        dimensions = dict.fromkeys([self.dimension, *self.dimensions])
        return [f"dim{d}-seed{s}" for d in dimensions for s in self.seeds]

    def study_runs(self) -> dict[str, dict[str, Any]]:
        """Return the TrainConfig fields of every run of every study, by ``study/row-seed``."""
        return {
            f"{name}/{run}": fields
            for name, study in self.studies.items()
            for run, fields in study.runs().items()
        }

    def recipe_runs(self) -> dict[str, dict[str, Any]]:
        """Return the same for the recipe alone, as many times as members are joined."""
        recipe = self.studies["recipe"].reference(range(self.members))
        return {f"recipe/{run}": fields for run, fields in recipe.items()}


def run_notebook(notebook: Path, out: Path, values: dict[str, Any]) -> None:
    """Run a notebook and keep its executed copy; exit with source and error if a cell fails."""
    out.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="xmodal-") as sockets:
            papermill.execute_notebook(
                notebook,
                out,
                parameters=values,
                progress_bar=False,
                extra_arguments=["--log-level=CRITICAL"],  # the kernel's own remarks
                stderr_file=Ticker(out.stem, sys.stderr),
                # with TCP, two notebooks that start together may be given the same port
                config=Config(
                    KernelManager={"transport": "ipc", "connection_file": f"{sockets}/kernel.json"}
                ),
            )
    except DeadKernelError:
        raise SystemExit(
            f"{out.stem}: the notebook's process died, perhaps because memory ran out\n"
            f"  The executed notebook is kept: {out}"
        ) from None
    except PapermillExecutionError as error:
        last_lines = "\n".join(error.source.strip().splitlines()[-6:])
        raise SystemExit(
            f"{out.stem} failed in cell {error.exec_count}:\n{indent(last_lines, '    ')}\n"
            f"  {error.ename}: {ESCAPES.sub('', error.evalue)}\n"
            f"  The executed notebook is kept: {out}"
        ) from None
    print(f"{out.stem}: done in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


class Ticker:
    """Pass on a notebook's progress bar as a line every few seconds, so that bars do not mix."""

    def __init__(self, name: str, stream: TextIO, seconds: float = 10) -> None:
        self.name, self.stream, self.seconds = name, stream, seconds
        self.last = 0.0

    def write(self, text: str) -> None:
        """Show the newest state of the bar if the last one is old enough."""
        states = [part.strip() for part in re.split(r"[\r\n]", text) if "%|" in part]
        if states and time.monotonic() - self.last > self.seconds:
            self.last = time.monotonic()
            print(f"{self.name}: {states[-1]}", file=self.stream, flush=True)

    def flush(self) -> None:
        """Nothing is held back."""
