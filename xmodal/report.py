"""The page that a batch leaves: figures/<name>/README.md, put together from its tables."""

import json
import re
from pathlib import Path

import pandas as pd

from xmodal.config import InputError

PICTURES = {
    "architecture": "The network (figure 1 of the paper, drawn by code)",
    "label_frequencies": "How often each label occurs",
    "feature_norms": "Lengths of the feature vectors",
    "correlations": "What the two modalities share, and how their variance is spread",
    "training_curves": "Training",
    "recall_readings": "The two readings beside the published numbers",
    "recall_against_gallery": "Recall against the number of candidates",
    "umap": "The joint space, drawn with UMAP",
    "retrieval": "Queries and what they retrieve (figure 2 of the paper)",
}


def write_report(figures: Path) -> str:
    """Write ``README.md`` beside a batch's tables and pictures.

    Parameters
    ----------
    figures : Path
        Folder with the tables and figures of the notebooks.

    Returns
    -------
    str
        A short summary for the terminal.

    Raises
    ------
    InputError
        If a table is missing.
    """
    texts = {}
    for name in ("table1", "table2", "silence", "training", "verdict"):
        path = figures / f"{name}.md"
        if not path.exists():
            raise InputError(f"{path} is missing: run notebooks/03_recall.ipynb, or make paper")
        texts[name] = path.read_text().strip()
    origin = json.loads((figures / "table1.json").read_text())
    pictures = "\n\n".join(
        f"### {title}\n\n![{title}]({name}.png)\n\n"
        f"[PDF]({name}.pdf) · [SVG]({name}.svg) · [origin]({name}.json)"
        for name, title in PICTURES.items()
        if (figures / f"{name}.png").exists()
    )
    page = f"""# Results: {origin["source"]}

This page was generated; every number on it comes from the files beside it. Features
`{origin["fingerprint"][:16]}…`, commit `{origin["commit"]}`.

{texts["verdict"]}

## Audio to video (Table 1 of the paper)

{texts["table1"]}

## Video to audio (Table 2 of the paper)

{texts["table2"]}

In brackets: 95 % bootstrap interval over the queries. Candidates are ranked by cosine; ties count
as the average over their orders.

## How the models were trained

Measured are the weights of the step with the best recall on validation clips; nothing was chosen on
the evaluation clips. A model that gained nothing for long was stopped where its profile says so.

{texts["training"]}

## With and without silent clips

{texts["silence"]}

## Pictures

{pictures}
"""
    (figures / "README.md").write_text(page)
    return summary(figures, texts["verdict"], origin["source"])


def summary(figures: Path, verdict: str, source: str) -> str:
    """Return the recall tables as plain text, and where to look next."""
    parts = [f"Recall in percent, on {source}:"]
    for name, title in (("table1", "audio → video"), ("table2", "video → audio")):
        table = pd.read_csv(figures / f"{name}.csv", dtype=str, keep_default_na=False)
        parts.append(f"{title}\n{table.to_string(index=False)}")
    parts += [verdict, f"Look next at {figures}/README.md: all tables and pictures."]
    return "\n\n".join(parts)


def embed_files(page: Path) -> None:
    """Put the content of the files that a Markdown page names between its marks, in place.

    A mark is a comment with a path relative to the page, ``<!-- figures/yt8m/table1.md -->``, and
    lasts until ``<!-- end -->``; so the page's numbers are those that a command wrote.
    """
    marked = re.compile(r"(<!-- (\S+\.md) -->\n).*?(<!-- end -->)", re.DOTALL)

    def fill(match: re.Match) -> str:
        content = (page.parent / match[2]).read_text().strip()
        return f"{match[1]}{content}\n\n{match[3]}"

    page.write_text(marked.sub(fill, page.read_text()))
