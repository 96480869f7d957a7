"""House words and forms that readers stumbled over do not come back into what people read."""

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CITATION.cff")),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "data").glob("**/README.md"),
    *(ROOT / name for name in ("docs/card.template", "xmodal_suite/page.md")),
    ROOT / "profiles/cluster/README.md",
    *(ROOT / "notebooks").glob("*.ipynb"),
    *(ROOT / "xmodal").rglob("*.py"),
    *(ROOT / "xmodal_suite").rglob("*.py"),
    *(ROOT / "profiles").glob("*.yaml"),
]
WORDS = {
    r"by heart": "overfit",
    r"hubs? corrected": "hubness-corrected",
    r"\bjoined\b(?! by)": "ensemble",
    r"\b(own|true) (clip|half|sound) first": "match first",
    r"\bpasses\b(?= over| of the|,|\.)": "epochs",
    r"scatter of the seeds": "standard deviation over seeds",
    r"\bwith care\b": "the settings by name",
    r"\bin percent of\b": "% of, or as a share of",
    r"\d of (its|their) values?\b": "drops by so many percent",
    r"\d %": "a percent sign without a space",
    r"[-−]0\.0\b(?!\d)": "no difference",
    r"\blikewise\b": "the noun again",
    r"\b(is|are|be) told\b": "reported",
    r"\bgoes on\b|\bgo on\b": "continue, or resume",
    r"(made|make|makes|making|drawn) (\w+ )?again\b": "rerun, redraw, regenerate",
}


def text_of(node: ast.AST) -> str:
    """Return a text in code; 0 stands for what an f-string fills in."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "0" for part in parts)


def texts_of(code: str) -> list[str]:
    """Return the texts in code but for docstrings: captions, sentences and labels."""
    nodes = list(ast.walk(ast.parse(code)))
    docstrings = [node.value for node in nodes if isinstance(node, ast.Expr)]
    formatted = [node for node in nodes if isinstance(node, ast.JoinedStr)]
    pieces = [part for node in formatted for part in node.values]
    constants = [n for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    constants = [node for node in constants if node not in pieces]
    return [text_of(node) for node in [*constants, *formatted] if node not in docstrings]


def prose(path: Path) -> str:
    """Return what a reader sees: pages, Markdown, captions and sentences, and help texts."""
    text = path.read_text(encoding="utf-8")
    if path.is_relative_to(ROOT / "xmodal"):  # descriptions of options and commands are its help
        nodes = list(ast.walk(ast.parse(text)))
        options = [n.value for n in nodes if isinstance(n, ast.keyword) and n.arg == "description"]
        classes = [ast.get_docstring(n) or "" for n in nodes if isinstance(n, ast.ClassDef)]
        return "\n".join([*map(text_of, options), *classes])
    if path.suffix == ".py":
        return "\n".join(texts_of(text))
    if path.suffix != ".ipynb":
        return re.sub(r"```.*?```|`[^`\n]+`", "", text, flags=re.DOTALL)
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        parts += texts_of(source) if cell["cell_type"] == "code" else [source]
    return "\n".join(parts)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_house_word_comes_back(path: Path):
    text = re.sub(r"\s+", " ", prose(path))
    found = [
        f"{text[max(match.start() - 30, 0) : match.end() + 20]!r}: write {better}"
        for word, better in WORDS.items()
        for match in re.finditer(word, text, re.IGNORECASE)
    ]
    assert not found, "\n".join(found)
