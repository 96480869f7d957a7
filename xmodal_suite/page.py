"""The page that a batch leaves: figures/<name>/README.md, put together from its tables."""

import re
from pathlib import Path

import jinja2
import pandas as pd

from xmodal.config import InputError
from xmodal.files import atomic
from xmodal_suite.provenance import read_provenance
from xmodal_suite.tables import flat, methods_layout, recall_layout, without_tags

PICTURES = {
    "methods": "Every method side by side",
    "recall_readings": "The two readings beside the published numbers",
    "recall_law": "Recall against K/N, under both readings",
    "recall_against_gallery": "Recall against the number of candidates",
    "learning": "Recall against the number of training clips",
    "paper_changes": "The paper's method, one change at a time",
    "beyond_changes": "The recipe, one change at a time",
    "categories": "Easy and hard categories",
    "plain_curve": "A training in a dozen lines",
    "training_curve": "The course of one training",
    "training_curves": "The course of every training",
    "umap": "The joint space, drawn with UMAP",
    "spaces": "The joint space before and after training",
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
        "Each model is measured with the weights of its best step on validation clips; nothing "
        "was chosen on the evaluation clips. A model that gained nothing for long was stopped "
        "where its profile says so.",
    ),
    ("The joint space in numbers", ["space"], ""),
    ("Linear CCA", ["cca"], "Chosen on validation clips:"),
    ("Errors that are not errors", ["errors", "near_misses"], ""),
]
STUDY = [
    ("The paper's method, one change at a time", ["study_paper", "scaled_apart"], ""),
    ("The recipe, one change at a time", ["study_beyond"], ""),
    (
        "What more clips would give",
        ["held_back", "learning_curve"],
        "First the largest trainings as predicted from the smaller ones, then what each law says "
        "of more clips. The intervals cover the scatter of the runs about the law, not whether the "
        "law goes on that far.",
    ),
]


PAGE = """\
# Results: {{ source }}

This page was generated; every number on it comes from the files beside it, and
[its end](#where-each-table-and-picture-comes-from) says which commit and which features made each.

{{ verdict }}

{{ level }}

{% for title, tables, words in parts %}
## {{ title }}

{% if words %}
{{ words }}

{% endif %}
{% for table in tables %}
{{ table }}

{% endfor %}
{% endfor %}
{% if explorer %}
## Explorer

[explorer.html](explorer.html) is a page to look around in, with the weights that its origin names
([origin](explorer.json)): a map of the evaluation clips, a search by id or label, and what each
clip retrieves, both ways. It opens from disk, without network.

{% endif %}
## How recall was measured

Tables 1 and 2; the JSON file beside each table of recalls holds its own card.

- **Clips:** {{ card.clips }}
- **Disjoint galleries:** {{ galleries | join(", ") }} clips
- **Queries:** {{ card.direction }}
- **Ranks:** {{ card.ties }}
- **Seeds:** {{ card.seeds }}
- **Interval:** {{ card.interval }}
- **Tolerance:** {{ tolerance }} points of recall between one making and the next

## Pictures

{% for name, title, caption in pictures %}
### {{ title }}

![{{ caption or title }}]({{ name }}.png)

[PDF]({{ name }}.pdf) · [SVG]({{ name }}.svg) · [origin]({{ name }}.json)

{% endfor %}
## Where each table and picture comes from

Each line is one run of a notebook, with the fingerprint of the features that it looked at; the
files linked hold its whole command, parameters and seeds. The sentence at the top of this page was
written by the run that made table1.

| run | commit | features | made |
|:----|:-------|:---------|:-----|
{% for run in runs %}
| {{ run.run }} | {{ "`" ~ run.commit ~ "`" if run.commit else "none" }} | \
{{ "`" ~ run.features ~ "…`" if run.features else "none" }} | {{ run.made }} |
{% endfor %}
"""


def write_report(figures: Path) -> str:
    """Write ``README.md`` beside a batch's tables and pictures; return a summary for the terminal.

    Tables of the study may be missing; InputError if any other is, or the note of its origin.
    """
    verdict = _read(figures / "verdict.md")
    origin = read_provenance(figures / "table1.json")
    card = origin.protocol or {}
    parts = PARTS + (STUDY if (figures / "study_paper.md").exists() else [])
    sizes = sorted((int(size), count) for size, count in card["galleries"].items())
    template = jinja2.Template(
        PAGE, trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    page = template.render(
        source=without_tags(origin.source),
        verdict=verdict,
        level=_read(figures / "level.md"),
        parts=[
            (title, [_read(figures / f"{n}.md") for n in names], w) for title, names, w in parts
        ],
        explorer=(figures / "explorer.html").exists(),
        card=card,
        tolerance=f"{card['tolerance']:g}",
        galleries=[f"{count:,} of {size:,}" for size, count in sizes],
        pictures=[
            (name, title, read_provenance(figures / f"{name}.json").caption)
            for name, title in PICTURES.items()
            if (figures / f"{name}.png").exists()
        ],
        runs=_runs(figures).itertuples(),
    )
    with atomic(figures / "README.md") as fresh:
        fresh.write_text(page, encoding="utf-8")
    return summary(figures, verdict, origin.source)


def _runs(figures: Path) -> pd.DataFrame:
    """Return the runs that made the tables and pictures of a folder, and what each made."""
    notes = []
    for path in sorted(
        path for kind in ("tex", "png", "html") for path in figures.glob(f"*.{kind}")
    ):
        note = read_provenance(path.with_suffix(".json"))
        run = note.command.partition("notebooks/")[2].partition(".")[0]
        notes.append((run, note.commit, note.fingerprint[:16], f"[{path.stem}]({path.stem}.json)"))
    frame = pd.DataFrame(notes, columns=["run", "commit", "features", "made"])
    return frame.groupby(["run", "commit", "features"], as_index=False).agg(", ".join)


def _read(path: Path, heading: str | None = None) -> str:
    """Return the text of a file, or of what stands under one of its headings."""
    if not path.exists():
        raise InputError(f"{path} is missing: make it with its notebook, or all with make paper")
    text = path.read_text(encoding="utf-8")
    if heading:
        _, _, text = text.partition(f"\n## {heading}\n")
        text, _, _ = text.partition("\n## ")
        if not text:
            raise InputError(f"{path} has nothing under the heading {heading!r}: name another")
    return text.strip()


def summary(figures: Path, verdict: str, source: str) -> str:
    """Return the recall tables as plain text, and where to look next."""
    shown = {
        "audio → video": recall_layout(pd.read_csv(figures / "table1.csv")),
        "video → audio": recall_layout(pd.read_csv(figures / "table2.csv")),
        "all methods": methods_layout(pd.read_csv(figures / "headline.csv")),
    }
    tables = [f"{title}\n{flat(table).to_string(index=False)}" for title, table in shown.items()]
    head = f"Recall in percent, on {source}:"
    return "\n\n".join(
        [head, *tables, verdict, f"Look next at {figures}/README.md: all tables and pictures."]
    )


def fill_page(page: Path) -> None:
    """Put the content of the files that a Markdown page names between its marks, in place.

    A mark is a comment with a path relative to the page, ``<!-- figures/yt8m/table1.md -->``, and
    lasts until ``<!-- end -->``; so the page's numbers are those that a command wrote. Behind the
    path may stand a heading of the second level: then only what is under it is taken. InputError
    if a file or a heading is missing.
    """
    marked = re.compile(r"(<!-- (\S+\.md)(?: (\w[^\n]*?))? -->\n).*?(<!-- end -->)", re.DOTALL)
    filled = marked.sub(
        lambda mark: f"{mark[1]}{_read(page.parent / mark[2], mark[3])}\n\n{mark[4]}",
        page.read_text(encoding="utf-8"),
    )
    with atomic(page) as fresh:
        fresh.write_text(filled, encoding="utf-8")
