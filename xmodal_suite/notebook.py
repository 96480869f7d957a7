"""All that a notebook needs beside the library: its parameters, what it keeps, shows and says."""

import ast
import dis
import inspect
import json
import os
import shlex
import textwrap
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pandas as pd
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from xmodal.config import InputError, validated
from xmodal.data.features import read_manifest
from xmodal.files import SHIPPED, WEIGHTS, atomic, digest
from xmodal_suite.figures import style
from xmodal_suite.kept import read_frame, read_notes, write_frame
from xmodal_suite.profile import declared
from xmodal_suite.provenance import Origin, portable, project_commit, save_figure, write_together
from xmodal_suite.tables import save_table, without_tags

PROJECT = Path(__file__).resolve().parents[1]
BROKEN = "This was found on other data and does not hold here:"


def start(notebook: str, namespace: dict[str, Any]) -> "Book":
    """Check a notebook's parameters and return what keeps, shows and says for it.

    The working directory becomes the project's top folder, which every path is relative to.
    ``notebook`` is a name such as "04_umap", and ``namespace`` its ``globals()``. InputError if a
    parameter was given that its cell tagged ``parameters`` lacks, or one of another type.
    """
    os.chdir(PROJECT)
    parameters = declared(PROJECT / "notebooks" / f"{notebook}.ipynb")
    given = set(parameters.model_fields)
    if "_book" not in namespace:  # later, and by hand, cells have set other names
        plain = (bool, int, float, str, list, dict, type(None))
        given |= {n for n, v in namespace.items() if isinstance(v, plain) and n[0].islower()}
    validated(parameters, {name: namespace[name] for name in given})
    defaults = {name: field.default for name, field in parameters.model_fields.items()}
    namespace["_book"] = Book(notebook, namespace, defaults)
    return namespace["_book"]


class Book:
    """What a notebook keeps in ``<results>/<notebook>``, shows and says; made by `start`.

    The parameter ``measure`` says when a frame is measured: "auto", if its parameters, features,
    weights or code changed; "again", always; "read", never.
    """

    def __init__(self, name: str, namespace: dict[str, Any], defaults: dict[str, Any]) -> None:
        self.name, self._namespace, self._defaults = name, namespace, defaults
        self._kept, self._seen = set[str](), dict[str, str]()
        self.figures = Path(namespace["figures"])
        self.folder = Path(namespace.get("results", "")) / name
        self._mode = namespace.get("measure", "auto")
        if self._mode not in ("auto", "again", "read"):
            raise InputError(f"measure is {self._mode!r}: choose auto, again or read")

    def keep(self, measure: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """Decorate a function; return the frame that it measures, kept under its name.

        Where features and weights are missing, as in a clone, the parameters alone must agree.
        """
        name, made_from = measure.__name__, self._made_from(measure)
        noted = read_notes(self.folder)["frames"].get(name)
        if self._mode == "again" or (self._mode == "auto" and not _holds(noted, made_from)):
            frame, about = measure(), {}
            made_from = self._made_from(measure)  # it may have trained what was not there before
            features = read_manifest(Path(self._namespace["features"]))
            if features:
                about["source"] = features["source"]
                about["fingerprint"] = features["splits"]["evaluation"]["fingerprint"]
            commit = {"commit": project_commit()}
            write_frame(self.folder, name, frame, made_from | commit, **about)
        self._kept.add(name)
        return read_frame(self.folder, name)

    def _made_from(self, measure: Callable[[], Any]) -> dict[str, Any]:
        """Return what a function uses: parameters, code, and by name features, weights, frames."""
        used, code = self._used(measure)
        parameters = {name: self._namespace[name] for name in self._defaults if name in used}
        texts = [v for v in pd.Series(parameters, dtype=object).explode() if isinstance(v, str)]
        marks = {portable(text): _mark(text) for text in texts}
        inputs = {name: mark for name, mark in marks.items() if mark is not None}
        for name, mark in inputs.items():
            trained = name == self._namespace.get("out")
            if mark and not trained and self._seen.setdefault(name, mark) != mark:
                raise InputError(f"{name} changed while this notebook used it: run all of it again")
        frames = read_notes(self.folder)["frames"]
        inputs |= {name: frames[name]["sha256"] for name in sorted(self._kept & used)}
        return {"parameters": portable(parameters), "inputs": inputs, "code": code}

    def _used(self, function: Callable[[], Any]) -> tuple[set[str], str]:
        """Return the names that a function and its helpers in the notebook use, and their code."""
        names, texts, waiting = set[str](), [], [function]
        while waiting:
            current = inspect.unwrap(waiting.pop())
            texts.append(ast.dump(ast.parse(textwrap.dedent(inspect.getsource(current)))))
            for name in _names(current.__code__) - names:
                names.add(name)
                value = inspect.unwrap(self._namespace.get(name))  # type: ignore[arg-type]
                if isinstance(value, FunctionType) and value.__globals__ is self._namespace:
                    waiting.append(value)
        return names, sha256("".join(sorted(texts)).encode()).hexdigest()

    @property
    def source(self) -> str:
        """What the data is called; "the paper" where a notebook keeps nothing."""
        return read_notes(self.folder)["source"] or "the paper"

    @property
    def origin(self) -> Origin:
        """Where what the notebook shows comes from, and the command that makes it again."""
        manifest = read_notes(self.folder)
        parameters = {name: self._namespace[name] for name in self._defaults if name != "measure"}
        differing = {n: v for n, v in parameters.items() if v != self._defaults[n]}
        command = ["papermill", f"notebooks/{self.name}.ipynb", f"runs/{self.name}.ipynb"]
        command += ["-y", json.dumps(portable(differing))] if differing else []
        commits = {manifest["frames"][name]["commit"] for name in self._kept}
        return {
            "source": self.source,
            "fingerprint": manifest["fingerprint"],
            "parameters": portable(parameters),
            "seeds": {name: value for name, value in parameters.items() if name.endswith("seed")},
            "command": shlex.join(command),
            "commit": ", ".join(sorted(commits)),
        }

    def show(
        self,
        stem: str,
        shown: Figure | pd.DataFrame,
        caption: str,
        decimals: int | Mapping[str, int] = 1,
        layout: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
        protocol: dict[str, Any] | None = None,
        source: str = "",
    ) -> None:
        """Show a figure or a tidy table with its caption, and save it as ``<figures>/<stem>``.

        The caption is one sentence, also for readers who cannot see the figure. See `save_table`
        for decimals and layout, and `recall_protocol`; ``source`` is what other data is called.
        """
        path, origin = self.figures / stem, self.origin
        origin["source"] = source or origin["source"]
        if protocol:
            origin["protocol"] = protocol
        if isinstance(shown, Figure):
            style.sign(shown, origin["source"])
            image = save_figure(shown, path, origin | {"caption": caption})
            image.alt = caption
            words = f"*{caption.rstrip('.')}. Source: {origin['source']}.*"
            display(image, Markdown(without_tags(words)))
        else:
            display(save_table(shown, path, origin, caption, decimals, layout))

    def say(self, sentence: str, holds: bool, stem: str = "") -> None:
        """Say what a person found; with a ``stem``, save it as Markdown.

        Where what must be true for it does not hold, as on other data, it is marked so.
        """
        sentence = without_tags(sentence if holds else f"*{BROKEN}* {sentence}")
        if stem:
            with atomic(self.figures / f"{stem}.md") as fresh:
                fresh.write_text(f"{sentence}\n", encoding="utf-8")
        display(Markdown(sentence))

    def page(self, stem: str, page: str, words: str) -> None:
        """Save a page as ``<figures>/<stem>.html`` with its origin, and show a link to it."""
        path = self.figures / stem
        write_together(path, self.origin, {".html": page})
        display(Markdown(f"[{words}]({os.path.relpath(path, 'notebooks')}.html)"))


def _holds(noted: dict[str, Any] | None, now: dict[str, Any]) -> bool:
    """Tell whether a kept frame is what would be measured; a missing input counts as the same."""
    if not noted or not now["parameters"].items() <= noted["parameters"].items():
        return False
    complete = all(now["inputs"].values())
    same = all(mark in ("", noted["inputs"].get(name)) for name, mark in now["inputs"].items())
    return same and (not complete or noted["code"] in ("", now["code"]))


def _names(code: CodeType) -> set[str]:
    """Return the global names that a function's code uses, inner functions included."""
    inner = [_names(part) for part in code.co_consts if isinstance(part, CodeType)]
    steps = dis.get_instructions(code)  # co_names would name attributes too
    return {step.argval for step in steps if step.opname == "LOAD_GLOBAL"}.union(*inner)


def _mark(text: str) -> str | None:
    """Return what tells features or weights from others: "" if not there, None if none is named."""
    path = Path(text) if "/" in text else SHIPPED / text
    if text.endswith(".yaml") or not ("/" in text or path.is_dir()):
        return None
    for file in (path, path / WEIGHTS):
        if file.is_file():
            return digest(file)
    return str(read_manifest(path).get("fingerprint", ""))
