"""One call shows a figure or a table in a notebook, with what is seen in it, and saves it."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from xmodal_suite.provenance import Provenance, save_figure, write_together
from xmodal_suite.render import without_tags
from xmodal_suite.tables import save_table


@dataclass(frozen=True)
class Show:
    """Shows what a notebook makes, and saves it in a folder together with where it comes from.

    Parameters
    ----------
    folder : Path
        Where pictures and tables go.
    origin : Provenance
        Of what is shown.
    """

    folder: Path
    origin: Provenance

    def __call__(
        self,
        stem: str,
        shown: Figure | pd.DataFrame,
        caption: str,
        see: str = "",
        decimals: int | Mapping[str, int] = 1,
        layout: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
        origin: Provenance | None = None,
    ) -> None:
        """Show a figure or a tidy table, its caption, and what is seen in it.

        Parameters
        ----------
        stem : str
            Name of the files, without suffix: see `save_figure` and `save_table`.
        shown : Figure or DataFrame
            What is shown and saved.
        caption : str
            One sentence that says what it is; the picture's text for those who cannot see it begins
            with it.
        see : str
            What is seen in it, in words made from the same numbers.
        decimals, layout
            Of a table: see `save_table`.
        origin : Provenance, optional
            Of this one, if it says more than that of the notebook.

        Raises
        ------
        InputError
            When the files cannot be written.
        """
        origin, path = origin or self.origin, self.folder / stem
        below = [f"**What we see.** {see}"] if see else []
        if isinstance(shown, Figure):
            origin, sentence = origin.model_copy(update={"caption": caption}), caption.rstrip(".")
            image = save_figure(shown, path, origin)
            image.alt = f"{sentence}. {see}".strip()
            display(image)
            below.insert(0, f"*{sentence}. Source: {origin.source}.*")
        else:
            display(save_table(shown, path, origin, caption, decimals, layout))
        if below:
            display(Markdown(without_tags("\n\n".join(below))))

    def text(self, stem: str, text: str) -> Any:
        """Show a paragraph made from the measurements, and save it as ``stem``.md."""
        text = without_tags(text)
        write_together(self.folder / stem, {".md": (text + "\n").encode()})
        return Markdown(text)

    def page(self, stem: str, page: str, words: str) -> Markdown:
        """Save a page as ``stem``.html with where it comes from, and return a link to it."""
        path = self.folder / stem
        write_together(path, {".html": page.encode(), ".json": self.origin.as_json().encode()})
        return Markdown(f"[{words}]({os.path.relpath(path, 'notebooks')}.html)")
