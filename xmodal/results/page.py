"""The page that a batch leaves: figures/<name>/README.md, put together from its tables."""

import json
import re
from pathlib import Path

import pandas as pd

from xmodal.config import InputError
from xmodal.results.protocol import Protocol

PICTURES = {
    "methods": "Every method side by side",
    "recall_readings": "The two readings beside the published numbers",
    "recall_law": "Recall against K/N, under both readings",
    "recall_against_gallery": "Recall against the number of candidates",
    "learning": "Recall against the number of training clips",
    "paper_changes": "The paper's method, one change at a time",
    "beyond_changes": "The recipe, one change at a time",
    "categories": "Easy and hard categories",
    "training_curves": "Training",
    "umap": "The joint space, drawn with UMAP",
    "retrieval": "Queries and what they retrieve (figure 2 of the paper)",
    "label_frequencies": "How often each label occurs",
    "feature_norms": "Lengths of the feature vectors",
    "correlations": "What the two modalities share, and how their variance is spread",
    "architecture": "The network (figure 1 of the paper, drawn by code)",
}

#: Parts of the page: title, the tables in it, and what is said before them.
PARTS = [
    ("At a glance", ["headline"], "Published numbers are read as galleries."),
    ("Audio to video (Table 1 of the paper)", ["table1"], ""),
    ("Video to audio (Table 2 of the paper)", ["table2"], ""),
    (
        "Dimensions or galleries?",
        ["same_share"],
        "Two recalls whose K is the same share of their row should be nearly equal if rows are "
        "galleries.",
    ),
    ("With and without silent clips", ["silence"], ""),
    (
        "How the models were trained",
        ["training"],
        "Measured are the weights of the step with the best recall on validation clips; nothing "
        "was chosen on the evaluation clips. A model that gained nothing for long was stopped "
        "where its profile says so.",
    ),
    ("Linear CCA", ["cca"], "Chosen on validation clips:"),
    ("Errors that are not errors", ["errors"], ""),
]
STUDY = [
    ("The paper's method, one change at a time", ["study_paper"], ""),
    ("The recipe, one change at a time", ["study_beyond"], ""),
    (
        "What more clips would give",
        ["learning_curve"],
        "The intervals cover the scatter of the runs about the law, not whether the law goes on "
        "that far.",
    ),
]


def write_report(figures: Path) -> str:
    """Write ``README.md`` beside a batch's tables and pictures.

    Parameters
    ----------
    figures : Path
        Folder with the tables and figures of the notebooks. Those of the study may be missing.

    Returns
    -------
    str
        A short summary for the terminal.

    Raises
    ------
    InputError
        If a table is missing.
    """
    verdict = _read(figures / "verdict.md")
    origin = json.loads(_read(figures / "table1.json"))
    parts = PARTS + (STUDY if (figures / "study_paper.md").exists() else [])
    tables = "\n\n".join(
        "\n\n".join(
            [f"## {title}", *filter(None, [words]), *(_read(figures / f"{n}.md") for n in names)]
        )
        for title, names, words in parts
    )
    pictures = "\n\n".join(
        f"### {title}\n\n![{title}]({name}.png)\n\n"
        f"[PDF]({name}.pdf) · [SVG]({name}.svg) · [origin]({name}.json)"
        for name, title in PICTURES.items()
        if (figures / f"{name}.png").exists()
    )
    page = f"""# Results: {origin["source"]}

This page was generated; every number on it comes from the files beside it. Features
`{origin["fingerprint"][:16]}…`, commit `{origin["commit"]}`.

{verdict}

{tables}

## How recall was measured

Tables 1 and 2; the JSON file beside each table of recalls holds its own card.

{Protocol(**origin["protocol"]).as_text()}
## Pictures

{pictures}
"""
    (figures / "README.md").write_text(page)
    return summary(figures, verdict, origin["source"])


def _read(path: Path) -> str:
    if not path.exists():
        raise InputError(f"{path} is missing: make it with its notebook, or all with make paper")
    return path.read_text().strip()


def summary(figures: Path, verdict: str, source: str) -> str:
    """Return the recall tables as plain text, and where to look next."""
    parts = [f"Recall in percent, on {source}:"]
    titles = {"table1": "audio → video", "table2": "video → audio", "headline": "all methods"}
    for name, title in titles.items():
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
