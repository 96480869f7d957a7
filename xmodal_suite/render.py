"""Tables of text as HTML and LaTeX: heads grouped, rows grouped, marks that need no style sheet.

A column is named by a text, or by its group's head and its own (`pandas.MultiIndex`; "" where it
has no group). Rows are grouped by the first column, unless ``attrs["measured"]`` says that it holds
measurements. With ``attrs["best"]``, the best value of a column and group is bold.
"""

import html
import math
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

#: Rows whose method or reading begins with these words are not our measurements: set apart.
REFERENCES = ("published", "chance")

# What LaTeX would take for layout, and what pdfTeX has no glyph for.
_TEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "…": r"\ldots{}", "–": "--", "\n": " "}
    | {"→": r"$\rightarrow$", "←": r"$\leftarrow$", "−": "$-$", "±": r"$\pm$", "×": r"$\times$"}
    | {"≥": r"$\geq$", "≤": r"$\leq$", "α": r"$\alpha$", "λ": r"$\lambda$"}
)
#: A number as shown, with its interval or deviation; or the dash of a missing one.
_NUMBER = re.compile(r"(-?\d[\d,.]*)(?: (\[.*\]|± .*))?|–")


class _Markup(NamedTuple):
    """How a language writes text, what is bold or set apart, and what stands below its number."""

    escape: Callable[[str], str]
    bold: str
    apart: str
    below: str


_HTML_MARKUP = _Markup(html.escape, "<strong>{}</strong>", "<em>{}</em>", "{}<br><small>{}</small>")
_TEX_MARKUP = _Markup(
    lambda text: text.translate(_TEX), r"\textbf{{{}}}", r"\emph{{{}}}", r"\xmodalbelow{{{}}}{{{}}}"
)

# In points: the text width of an article, less what bold type may add; the space beside a column;
# the width of a digit. And the lines of a table that is not broken over pages.
_TEXT_WIDTH, _SPACE, _DIGIT, _LINES = 335.0, 3.0, 4.25, 40
_NEEDS = r"% Needs \usepackage{array, booktabs, longtable} and \usepackage[T1]{fontenc}."
_SIZE = rf"""\footnotesize\setlength{{\tabcolsep}}{{{_SPACE:g}pt}}
\providecommand{{\xmodalbelow}}[2]{{%
\begin{{tabular}}[t]{{@{{}}r@{{}}}}#1\\[-2pt]{{\scriptsize #2}}\end{{tabular}}}}"""


def without_tags(text: str) -> str:
    """Return Markdown in which no name from the data is taken for HTML."""
    return re.sub("<(?=[A-Za-z/!?])", "&lt;", text)


def flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with each head in one line: "audio→video R@1"; conditions: "R@1, N = 9"."""
    names = [
        f"{name}, {group}" if " = " in group else f"{group} {name}".strip()
        for group, name in _heads(frame)
    ]
    return frame.set_axis(names, axis=1)


def _heads(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Return each column's group and name."""
    heads = [name if isinstance(name, tuple) else ("", name) for name in frame.columns]
    return [(str(group), str(name)) for group, name in heads]


def _starts(shown: pd.DataFrame) -> np.ndarray:
    """Say of each row whether it begins a group: each does where the first column is measured."""
    first = shown.iloc[:, 0]
    return (first != first.shift()).to_numpy() | shown.attrs.get("measured", False)


def _numeric(shown: pd.DataFrame) -> list[bool]:
    """Say of each column whether it holds numbers alone."""
    return [all(map(_NUMBER.fullmatch, column)) for _, column in shown.items()]


def _references(shown: pd.DataFrame) -> np.ndarray:
    """Say of each row whether its first text names none of our measurements."""
    texts = shown.loc[:, np.logical_not(_numeric(shown))]
    names = texts.iloc[:, 0] if texts.shape[1] else pd.Series("", index=shown.index)
    return names.str.startswith(REFERENCES).to_numpy(bool)


def _best(shown: pd.DataFrame) -> np.ndarray:
    """Say of each cell whether it is our best of its column and group, if the layout asks."""
    if not shown.attrs.get("best"):
        return np.zeros(shown.shape, bool)
    values = shown.apply(lambda column: column.str.extract(r"^(-?[\d.]+)")[0].astype(float))
    values.loc[_references(shown), :] = np.nan
    values.loc[:, [not group for group, _ in _heads(shown)]] = np.nan
    return (values == values.groupby(_starts(shown).cumsum()).transform("max")).to_numpy()


def _cells(shown: pd.DataFrame, markup: _Markup) -> pd.DataFrame:
    """Write every cell in a language, the first of a group once."""
    starts, references, best = _starts(shown), _references(shown), _best(shown)
    numeric, grouped = _numeric(shown), not starts.all()

    def cell(row: int, column: int) -> str:
        text = shown.iat[row, column]
        found = _NUMBER.fullmatch(text) if numeric[column] else None
        value, below = found.groups() if found and found[1] else (text, None)
        value = markup.escape(value.replace("-", "−") if found else value)
        value = markup.bold.format(value) if best[row, column] else value
        value = markup.below.format(value, markup.escape(below)) if below else value
        if grouped and column == 0:
            return value if starts[row] else ""
        return markup.apart.format(value) if references[row] else value

    rows, columns = map(range, shown.shape)
    return pd.DataFrame([[cell(row, i) for i in columns] for row in rows], columns=columns)


def as_html(shown: pd.DataFrame, caption: str, name: str) -> "Styler":
    """Return the table for notebooks: what is bold or set apart is so without style sheets too."""
    from pandas.io.formats.style import Styler  # slow to import

    class Shown(Styler):
        """A table whose text, where HTML is not shown, is itself and no address in memory."""

        text = ""

        def __repr__(self) -> str:
            return self.text

    heads = [tuple(map(html.escape, head)) for head in _heads(shown)]
    grouped = any(group for group, _ in heads)
    cells = _cells(shown, _HTML_MARKUP)
    cells.columns = pd.MultiIndex.from_tuples(heads) if grouped else [name for _, name in heads]
    texts = [i for i, number in enumerate(_numeric(shown)) if not number]
    long = [i for i in texts if shown.iloc[:, i].str.len().max() > 30]
    rules = [
        ("", "border-collapse: collapse"),
        ("caption", "text-align: left"),
        ("td, th", "padding: 0.2em 0.6em; text-align: right"),
        ("td", "vertical-align: top; white-space: nowrap"),
        ("th", "vertical-align: bottom"),
        *[(f".col{i}", "text-align: left") for i in texts],
        *[(f".col{i}", "white-space: normal; min-width: 14em") for i in long],
    ]
    if grouped:
        rules.append((".level0", "text-align: center"))
    if not _starts(shown).all():
        rules.append(("tr:has(td.col0:not(:empty)) td", "border-top: 1px solid #8888"))
    table = Shown(cells, uuid=name, cell_ids=False, caption=html.escape(caption) or None)
    table.text = flat(shown).to_string(index=False, max_rows=20)
    styles = [{"selector": where, "props": props} for where, props in rules]
    return table.hide(axis="index").set_table_styles(styles)


def _width(text: str, below: str = "") -> float:
    """Estimate the width of text in points, in LaTeX's footnotesize and scriptsize."""
    wide, narrow = (len(re.findall(s, text)) for s in (r"[A-Zmw@%→±+−=]", r"[][.,:;'ijlt() ]"))
    width = _DIGIT * (len(text) + 0.6 * wide - 0.4 * narrow)
    return max(width, 0.9 * _width(below)) if below else width


def _broken(head: str, width: float) -> list[str]:
    """Break a head into lines of about this width in points, but no word."""
    size = max(1, int(width / _DIGIT))
    return textwrap.wrap(head, size, break_long_words=False, break_on_hyphens=False) or [""]


@dataclass
class _Column:
    """A column as LaTeX sets it: heads, cells and their parts, side (l or r), width in points."""

    group: str
    name: str
    cells: list[str]
    parts: list[list[str]]
    side: str
    shared: bool
    width: float = 0.0
    cut: bool = False

    def __post_init__(self) -> None:
        """Make room for the widest part, and for the longest word of the head."""
        self.width = max((_width(*parts) for parts in self.parts), default=0.0)
        self.width = max(self.width, *map(_width, _broken(self.name, self.width)))

    @property
    def kind(self) -> str:
        """What stands for the column where LaTeX's table begins."""
        paragraph = rf">{{\raggedright\arraybackslash}}p{{{self.width:.0f}pt}}"
        return paragraph if self.cut else self.side

    @property
    def head(self) -> str:
        """The name, in as many lines as it takes."""
        lines = [line.translate(_TEX) for line in _broken(self.name, self.width)]
        stack = r"\\".join(lines)
        return rf"\shortstack[{self.side}]{{{stack}}}" if lines[1:] else stack

    def lines(self, row: int) -> int:
        """Count the lines of a cell."""
        return max(len(self.parts[row]), math.ceil(_width(self.parts[row][0]) / self.width))


def _columns(shown: pd.DataFrame) -> list[_Column]:
    """Return what LaTeX has to know of each column."""
    starts, cells = _starts(shown), _cells(shown, _TEX_MARKUP)
    shared = shown.groupby(starts.cumsum()).nunique().le(1).all().to_numpy() & (not starts.all())
    return [
        _Column(
            *heads,
            cells=cells[i].tolist(),
            parts=[re.split(r" (?=\[|±)", text) if number else [text] for text in shown.iloc[:, i]],
            side="r" if number else "l",
            shared=bool(shared[i]) and not (number and i),
        )
        for i, (heads, number) in enumerate(zip(_heads(shown), _numeric(shown), strict=True))
    ]


def _total(columns: list[_Column]) -> float:
    """Return the width of a table in points."""
    return sum(column.width for column in columns) + 2 * _SPACE * (len(columns) - 1)


def _spans(columns: list[_Column]) -> list[tuple[str, list[_Column]]]:
    """Return the groups of columns that stand side by side."""
    return [(group, list(own)) for group, own in groupby(columns, lambda column: column.group)]


def _fit(columns: list[_Column]) -> tuple[list[_Column], list[_Column]]:
    """Return the columns to stand above each group of rows, and the others, cut to the width."""
    above = [column for column in columns if column.shared]
    if _total(columns) <= _TEXT_WIDTH or len(above) == len(columns):
        above = []
    columns = [column for column in columns if column not in above]
    for group, own in _spans(columns):
        own[-1].width += max(0.0, _width(group) - sum(column.width for column in own))
    texts = [column for column in columns if column.side == "l"]
    while texts and _total(columns) > _TEXT_WIDTH:
        widest = max(texts, key=lambda column: column.width)
        widest.width, widest.cut = widest.width - 1, True
    return above, columns


def _top(columns: list[_Column]) -> list[str]:
    """Return the lines of the head."""
    names = " & ".join(column.head for column in columns) + r" \\"
    groups, rules, end = [], [], 0
    for group, own in _spans(columns):
        first, end = end + 1, end + len(own)
        groups.append(rf"\multicolumn{{{len(own)}}}{{c}}{{{group.translate(_TEX)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{end}}}" if group else "")
    grouped = [" & ".join(groups) + r" \\", "".join(rules)] if any(rules) else []
    return [r"\toprule", *grouped, names, r"\midrule"]


def as_latex(shown: pd.DataFrame, caption: str, label: str) -> str:
    """Write a table that fits the text width of an article, one of many lines as a longtable.

    Heads are broken into lines. If that is not enough, what the rows of a group share stands above
    them; then the widest text is set in paragraphs.
    """
    starts = _starts(shown)
    above, columns = _fit(_columns(shown))
    body, lines = [], 0
    for row, start in enumerate(starts):
        if start and row and not starts.all():
            body.append(r"\addlinespace")
        if start and above:
            shared = [f"{column.name.translate(_TEX)}: {column.cells[row]}" for column in above]
            side = rf"@{{}}>{{\raggedright\arraybackslash}}p{{{_total(columns):.0f}pt}}@{{}}"
            line = r" $\cdot$ ".join(shared)
            body.append(rf"\multicolumn{{{len(columns)}}}{{{side}}}{{{line}}} \\*")
        cells = " & ".join(column.cells[row] for column in columns)
        # After the end of a line, LaTeX would take these for its arguments.
        body.append(("{}" if cells.startswith(("[", "*")) else "") + cells + r" \\")
        lines += max(column.lines(row) for column in columns) + bool(start and above)
    kinds = "@{}" + "".join(column.kind for column in columns) + "@{}"
    title = rf"\caption{{{caption.translate(_TEX)}}}\label{{{label}}}"
    top = _top(columns)
    if lines <= _LINES:
        title = rf"\centering\setlength{{\belowcaptionskip}}{{6pt}}{title}"
        begin = [r"\begin{table}[t]", title, _SIZE, rf"\begin{{tabular}}{{{kinds}}}", *top]
        end = [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    else:
        size = rf"\begingroup{_SIZE}\setlength{{\LTcapwidth}}{{\textwidth}}"
        begin = [size, rf"\begin{{longtable}}{{{kinds}}}", rf"{title}\\", *top, r"\endfirsthead"]
        begin += [*top, r"\endhead", r"\bottomrule", r"\endfoot"]
        end = [r"\end{longtable}", r"\endgroup"]
    return "\n".join([_NEEDS, *begin, *body, *end, ""])
