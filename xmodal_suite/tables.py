"""Tables: saved as tidy numbers, a row a value, and laid out as text only where they are shown.

HTML and LaTeX show a head such as "audio→video R@1" in two lines, its group above its name.
"""

import html
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from xmodal.files import spreadsheet
from xmodal_suite.provenance import Origin, write_together

#: What `recall_layout` spreads; every other column names a row of the table.
RECALL_COLUMNS = ["direction", "k", "recall", "low", "high"]
#: Rows that begin with these words are not our measurements: they are set in italics.
REFERENCES = ("published", "chance")
_IN_CSV = " The CSV file has the intervals."
_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\|*_`<>[]"} | {"\n": " "})
_LATEX = str.maketrans({c: f"\\{c}" for c in "&%$#_{}"})
_HEADS = (  # that have a group: of `recall_layout`, of `splits_layout`, of `xmodal_suite.study`
    re.compile(r"(?P<group>.+→.+|both directions) (?P<name>R@\d+ \(%\))"),
    re.compile(r"(?P<group>visual|audio) (?P<name>norm|range)"),
    re.compile(r"(?P<name>.+), (?P<group>N = [\d,]+)"),
)
_NUMBER = re.compile(r"(-?\d[\d,.]*)( \[.*\]| ± .*)?|–")  # with its interval or deviation
_RULES = [
    {"selector": "caption, .text", "props": "text-align: left"},
    {"selector": "td, th", "props": "padding: 0.2em 0.6em; vertical-align: top"},
    {"selector": "td", "props": "white-space: nowrap; text-align: right"},
    {"selector": ".long", "props": "white-space: normal; min-width: 14em"},
]


class Table(Styler):
    """A table whose text, where HTML is not shown, is itself and no address in memory."""

    def __repr__(self) -> str:
        return self.data.to_string(index=False, max_rows=20)


def save_table(
    tidy: pd.DataFrame,
    stem: Path,
    origin: Origin,
    caption: str,
    decimals: int | Mapping[str, int] = 1,
    layout: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
) -> Styler:
    """Write ``stem``.csv (tidy numbers), .md and .tex (as shown) and .json (where they come from).

    The CSV has six significant digits, and no formulas. Markdown, LaTeX and the HTML that is
    returned show the same rounded numbers, Markdown without intervals, below the caption.
    ``decimals`` are the digits after the point of float columns, for all or by column (1 where not
    named); ``layout`` turns ``tidy`` into the table as shown.
    """
    table = layout(tidy) if layout else tidy
    sentence = f"{caption.rstrip('. ')}. Source: {origin['source']}."
    files = {
        ".md": as_markdown(table, sentence, decimals),
        ".tex": as_latex(table, sentence, decimals, f"tab:{stem.name}"),
        ".csv": spreadsheet(tidy, float_format=_six_digits),
    }
    write_together(stem, origin, files)
    return as_html(table, sentence, decimals, stem.name)


def as_html(
    table: pd.DataFrame, caption: str = "", decimals: int | Mapping[str, int] = 1, name: str = "t"
) -> Styler:
    """Return a table for a notebook; ``name`` tells it apart from others on the same page."""
    shown = _as_text(table, decimals)
    texts = [not shown.iloc[:, i].str.fullmatch(_NUMBER).all() for i in range(shown.shape[1])]
    kinds = np.where(texts, np.where(shown.map(len) > 30, "text long", "text"), "")
    style = _marked(shown, table).set_td_classes(
        pd.DataFrame(kinds, index=shown.index, columns=shown.columns)
    )
    style = style.format(_in_two_lines).format_index(html.escape, axis=1)
    if table.attrs.get("heat"):  # all columns but the first
        values, columns = table.iloc[:, 1:].to_numpy(), shown.columns[1:]
        style = style.background_gradient(
            "Greens", subset=columns, gmap=values, axis=None, high=1.0
        )  # so light that dark numbers stand out
    return style.set_uuid(name).set_caption(html.escape(caption)).set_table_styles(_RULES)


def as_latex(
    table: pd.DataFrame, caption: str, decimals: int | Mapping[str, int], label: str
) -> str:
    """Return a table with booktabs, which adjustbox shrinks to the line where it is too wide."""
    style = _marked(_as_text(table, decimals), table).format(escape="latex")
    text = style.format_index(escape="latex", axis=1).to_latex(
        column_format="l" * table.shape[1],
        position="t",
        position_float="centering",
        hrules=True,
        multicol_align="c",
        convert_css=True,
        caption=caption.translate(_LATEX),
        label=label,
    )
    begin, end = r"\begin{tabular}", r"\end{tabular}"
    text = text.replace(begin, rf"\begin{{adjustbox}}{{max width=\linewidth}}{begin}")
    text = text.replace(end, rf"{end}\end{{adjustbox}}")
    return f"% Needs \\usepackage{{adjustbox, booktabs}} and LuaLaTeX or XeLaTeX.\n{text}"


def as_markdown(table: pd.DataFrame, caption: str, decimals: int | Mapping[str, int]) -> str:
    """Return a table with each head in one line, and its caption below it in italics."""
    align = ["right" if pd.api.types.is_numeric_dtype(kind) else "left" for kind in table.dtypes]
    full = _as_text(table, decimals)
    plain = full.map(lambda text: found[1] or text if (found := _NUMBER.fullmatch(text)) else text)
    caption += _IN_CSV * (not plain.equals(full))
    plain = plain.map(lambda text: text.translate(_MARKDOWN))
    markdown = plain.rename(columns=lambda name: name.translate(_MARKDOWN)).to_markdown(
        index=False, disable_numparse=True, colalign=align
    )
    return f"{markdown}\n\n*{caption.translate(_MARKDOWN)}*\n"


def without_tags(text: str) -> str:
    """Return Markdown in which no name from the data is taken for HTML."""
    return re.sub("<(?=[A-Za-z/!?])", "&lt;", text)


def _marked(shown: pd.DataFrame, table: pd.DataFrame) -> Styler:
    """Return the text of a table with groups named once, references in italics, the best bold."""
    shown = shown.set_axis(_grouped(shown.columns), axis=1)
    marks = pd.DataFrame("", index=shown.index, columns=shown.columns)
    texts = [not pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes]
    names = shown.loc[:, texts].iloc[:, :1]  # the first column of text
    references = names.apply(lambda column: column.str.startswith(REFERENCES)).any(axis=1)
    marks[references] = "font-style: italic"
    if table.attrs.get("best"):  # of the rows that have the same first column
        values = shown.apply(lambda column: column.str.extract(r"^(-?[\d.]+)")[0].astype(float))
        values = values.loc[:, [bool(group) for group, _ in shown.columns]].where(~references)
        best = values == values.groupby(shown.iloc[:, 0], sort=False).transform("max")
        marks[best.columns] = marks[best.columns].mask(best, "font-weight: bold")
    first = shown.iloc[:, 0]
    repeated = (first == first.shift()) & ~pd.api.types.is_float_dtype(table.dtypes.iloc[0])
    shown = shown.copy()
    shown.iloc[:, 0] = first.mask(repeated, "")
    return Table(shown).hide(axis="index").apply(lambda _: marks, axis=None)


def _grouped(names: pd.Index) -> pd.Index:
    """Part heads into group and name, as `_HEADS` does; no other has a group."""
    found = [next(filter(None, (head.fullmatch(name) for head in _HEADS)), None) for name in names]
    if not any(found):
        return names
    parts = [(m["group"], m["name"]) if m else ("", n) for m, n in zip(found, names, strict=True)]
    return pd.MultiIndex.from_tuples(parts)


def _in_two_lines(text: str) -> str:
    """Write a cell as HTML, an interval or a deviation small below its number; link an address."""
    found, safe = _NUMBER.fullmatch(text), html.escape(text)
    if not found or not found[2]:
        return f'<a href="{safe}">{safe}</a>' if safe.startswith("https://") else safe
    return f"{found[1]}<br><small>{found[2].strip()}</small>"


def _six_digits(value: float) -> str:
    """Return a number that is read back as a float even when it is whole."""
    return repr(float(f"{value:.6g}"))


def _as_text(table: pd.DataFrame, decimals: int | Mapping[str, int]) -> pd.DataFrame:
    """Write each value as it is shown, floats with their digits, a missing one as a dash."""
    texts = {}
    for name, column in table.reset_index(drop=True).items():
        column = column.map(lambda value: "; ".join(value) if isinstance(value, list) else value)
        form = "{}"
        if pd.api.types.is_float_dtype(column):
            digits = decimals.get(str(name), 1) if isinstance(decimals, Mapping) else decimals
            form = f"{{:.{digits}f}}"
            column = column.round(digits) + 0.0  # zero takes the sign off -0.0
        text = column.astype(object).map(form.format, na_action="ignore")
        texts[name] = text.fillna("–").replace("", "–")
    return pd.DataFrame(texts)


def intervals(frame: pd.DataFrame) -> pd.Series:
    """Write recalls in percent, a row each, with their intervals if known: "9.0 [8.3, 9.7]"."""
    one = "{:.1f}".format
    ends = " [" + frame["low"].map(one) + ", " + frame["high"].map(one) + "]"
    return frame["recall"].map(one) + ends.where(frame["low"].notna(), "")


def recall_layout(tidy: pd.DataFrame) -> pd.DataFrame:
    """Lay recalls out as the paper does: a column per direction and K; chance has no row.

    Columns that are not in `RECALL_COLUMNS` name a row; the table is sorted by the first of them.
    """
    rows = [name for name in tidy.columns if name not in RECALL_COLUMNS]
    chance = tidy[rows].astype(str).apply(lambda name: name.str.startswith("chance")).any(axis=1)
    frame = tidy[~chance].reindex(columns=[*rows, *RECALL_COLUMNS])
    frame = frame.sort_values(rows[0], kind="stable")
    frame["column"] = frame["direction"] + " R@" + frame["k"].astype(str) + " (%)"
    return spread(frame.assign(cell=intervals(frame)), rows, "column", "cell")


def methods_layout(tidy: pd.DataFrame) -> pd.DataFrame:
    """Lay out recalls of several methods (columns gallery and model): by number of candidates."""
    named = tidy.rename(columns={"gallery": "candidates", "model": "method"})
    table = recall_layout(named[["candidates", *named.columns.drop("candidates")]])
    table.attrs["best"] = True
    return table


def splits_layout(tidy: pd.DataFrame) -> pd.DataFrame:
    """Lay out `xmodal.data.statistics.overview`: means with deviations, and ranges, as text."""
    shown = tidy[["split", "clips", "silent clips", "repeated clips", "labels per clip"]].copy()
    for modality in ("visual", "audio"):
        mean, deviation, low, high = (
            tidy[f"{modality} {name}"] for name in ("norm", "norm deviation", "lowest", "highest")
        )
        shown[f"{modality} norm"] = mean.map("{:.1f}".format) + deviation.map(" ± {:.1f}".format)
        shown[f"{modality} range"] = low.map("{:.2f}".format) + high.map(" to {:.2f}".format)
    return shown


def ablation_layout(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `study_table` with a line a change: mean ± standard deviation over its seeds."""
    spreads = frame["std"].map(" ± {:.1f}".format, na_action="ignore").fillna("")
    named = frame.assign(cell=frame["mean"].map("{:.1f}".format) + spreads)
    named["measure"] = named["measure"].str.replace(",", " (%),", n=1)
    named = named.rename(columns={"step": "best step"})
    return spread(named, ["change", "seeds", "best step"], "measure", "cell")


def grid_layout(grid: pd.DataFrame) -> pd.DataFrame:
    """Lay out `xmodal.evaluation.cca.choose_cca`'s grid, ridge by power, as a heat map."""
    table = grid.pivot(index="ridge", columns="power", values="validation R@1")
    table = table.add_prefix("power ").reset_index().rename_axis(columns=None)
    table.attrs["heat"] = True
    return table


def scaling_layout(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `curve_table` with a line a law and method; name clips needed below a billion."""
    shown = frame.assign(cell=intervals(frame), column=frame["clips"].map("{:,} clips (%)".format))
    shown = shown.rename(columns={"scatter": "residual SD (points)", "sizes": "sizes fitted"})
    table = spread(
        shown, ["law", "method", "sizes fitted", "residual SD (points)"], "column", "cell"
    )
    if "target" in frame:
        once = frame.drop_duplicates(["method", "law"])
        name, recall = once["target"].iloc[0], once["target_recall"].iloc[0]
        table[f"clips for {recall:.1f}% ({name})"] = [
            f"{float(f'{clips:.2g}'):,.0f}" if clips < 1e9 else "" for clips in once["clips_needed"]
        ]
    return table


def spread(frame: pd.DataFrame, rows: list[str], column: str, cell: str) -> pd.DataFrame:
    """Make a column of each value of ``column``, in their order and that of the rows."""
    table = frame.pivot(index=rows, columns=column, values=cell).reset_index()
    ordered = frame[rows].drop_duplicates().merge(table, on=rows)
    return ordered[[*rows, *frame[column].unique()]]
