"""Tables: saved as tidy numbers, a row a value, and laid out as text only where they are shown.

A layout may group columns under a common head (`pandas.MultiIndex`: group, then name; "" where a
column stands alone). HTML and LaTeX show such heads in two lines, Markdown in one, as `flat` does.
"""

import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from xmodal_suite.intervals import interval
from xmodal_suite.provenance import Provenance, write_together
from xmodal_suite.render import as_html, as_latex, flat

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

#: What `recall_layout` spreads; every other column names a row of the table.
RECALL_COLUMNS = ["direction", "k", "recall", "low", "high"]
# What Markdown would take for layout.
_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\|*_`<>[]"} | {"\n": " "})
_MEASURE = "(?P<name>.+), (?P<group>N = .+)"  # how `xmodal_suite.study` names a measure


def save_table(
    tidy: pd.DataFrame,
    stem: Path,
    provenance: Provenance,
    caption: str,
    decimals: int | Mapping[str, int] = 1,
    layout: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
) -> "Styler":
    """Write ``stem``.csv (tidy numbers), .md and .tex (booktabs, as shown) and .json.

    The CSV has six significant digits, so that it can be compared, drawn and laid out again.
    Markdown, LaTeX and HTML show the same rounded numbers and carry the caption with the source; a
    missing value is a dash there, and empty in the CSV. LaTeX fits the text width of an article.

    Parameters
    ----------
    tidy
        Numbers and text, a row a value.
    stem
        The files' common path without suffix, its name the LaTeX label; missing folders are made.
    provenance
        Goes into the JSON file, its source into the captions.
    caption
        One sentence, without the source.
    decimals
        Digits after the point of float columns as shown, for all or by column (1 where not named).
    layout
        Turns ``tidy`` into the table as shown; without it, ``tidy`` itself is shown.

    Returns
    -------
    Styler
        The table as shown: as the last expression of a notebook cell it is displayed.

    Raises
    ------
    InputError
        When the files cannot be written there.
    """
    table = layout(tidy) if layout else tidy
    shown = _as_shown(table, decimals)
    align = ["right" if pd.api.types.is_numeric_dtype(kind) else "left" for kind in table.dtypes]
    sentence = f"{caption.rstrip('. ')}. Source: {provenance.source}."
    plain = flat(shown).map(lambda text: text.translate(_MARKDOWN))
    markdown = plain.rename(columns=lambda name: name.translate(_MARKDOWN)).to_markdown(
        index=False, disable_numparse=True, colalign=align
    )
    files = {
        ".md": f"{markdown}\n\n*{sentence.translate(_MARKDOWN)}*\n",
        ".tex": as_latex(shown, sentence, f"tab:{stem.name}"),
        ".csv": tidy.to_csv(index=False, lineterminator="\n", float_format=_six_digits),
        ".json": provenance.as_json(),
    }
    write_together(stem, {suffix: text.encode() for suffix, text in files.items()})
    return as_html(shown, sentence, stem.name)


def styled(
    frame: pd.DataFrame, caption: str = "", decimals: int | Mapping[str, int] = 1
) -> "Styler":
    """Show a frame in a notebook as `save_table` does, without saving it.

    Parameters
    ----------
    frame
        The table, laid out; its index is not shown.
    caption
        Stands above the table as it is.
    decimals
        Digits after the point of float columns, for all or by column (1 where not named).
    """
    shown = _as_shown(frame, decimals)
    return as_html(shown, caption, sha256(f"{caption}{shown.to_csv()}".encode()).hexdigest()[:8])


def _six_digits(value: float) -> str:
    """Return a number that is read back as a float even when it is whole."""
    return repr(float(f"{value:.6g}"))


def _as_shown(table: pd.DataFrame, decimals: int | Mapping[str, int]) -> pd.DataFrame:
    """Return the frame as text, its rows numbered."""
    names = flat(table).columns
    digits = decimals if isinstance(decimals, Mapping) else dict.fromkeys(names, decimals)
    texts = [
        _as_text(column, digits.get(name, 1))
        for name, (_, column) in zip(names, table.reset_index(drop=True).items(), strict=True)
    ]
    shown = pd.concat(texts, axis=1).set_axis(table.columns, axis=1)
    shown.attrs = table.attrs | {"measured": pd.api.types.is_float_dtype(table.iloc[:, 0])}
    return shown


def _as_text(column: pd.Series, decimals: int) -> pd.Series:
    """Write each value as it is shown, floats with ``decimals`` digits, missing as a dash."""
    if pd.api.types.is_float_dtype(column):
        column = column.round(decimals) + 0.0  # adding zero takes the sign off a negative zero
    form = f"{{:.{decimals}f}}" if pd.api.types.is_float_dtype(column) else "{}"
    return column.astype(object).map(form.format, na_action="ignore").fillna("–").replace("", "–")


def _intervals(frame: pd.DataFrame) -> list[str]:
    """Return recalls with their intervals, a row each."""
    return [interval(*row) for row in frame[["recall", "low", "high"]].itertuples(index=False)]


def recall_layout(tidy: pd.DataFrame) -> pd.DataFrame:
    """Lay recalls out as the paper does: a column per direction and K.

    Parameters
    ----------
    tidy : DataFrame
        Columns direction, k, recall (percent), optionally low and high, which are then shown too;
        all others name a row of the table, which is sorted by the first of them.
    """
    rows = [name for name in tidy.columns if name not in RECALL_COLUMNS]
    frame = tidy.reindex(columns=[*rows, *RECALL_COLUMNS]).sort_values(rows[0], kind="stable")
    frame["column"] = frame["direction"] + " R@" + frame["k"].astype(str)
    frame["cell"] = _intervals(frame)
    return _grouped(_spread(frame, rows, "column", "cell"), r"(?P<group>.+) (?P<name>R@\d+)")


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
    return _grouped(shown, "(?P<group>visual|audio) (?P<name>.+)")


def ablation_layout(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `ablation_table` with a line a change: mean ± standard deviation over its seeds."""
    cells = [
        f"{mean:.1f}" if np.isnan(std) else f"{mean:.1f} ± {std:.1f}"
        for mean, std in zip(frame["mean"], frame["std"], strict=True)
    ]
    table = _spread(frame.assign(cell=cells), ["change", "seeds", "step"], "measure", "cell")
    return _grouped(table, _MEASURE)


def runs_layout(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `named_recalls` of several ablations, named by a column study, with a line a run."""
    named = frame.rename(columns={"clips": "training clips"})
    rows = ["study", "row", "change", "seed", "training clips", "step"]
    table = _spread(named, rows, "measure", "recall")
    return _grouped(table.assign(study=table.pop("study")), _MEASURE)


def space_layout(frame: pd.DataFrame) -> pd.DataFrame:
    """Lay out the numbers of a joint space with a line a measure, before and after training."""
    shown = frame.sort_values("measure", kind="stable")
    shown = shown.assign(cell=shown["value"].map("{:.2f}".format))
    return _spread(shown, ["measure", "modality"], "state", "cell")


def scaling_layout(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `curve_table` with a line a law and method, and the clips needed to two digits.

    More than a billion clips are left empty, as is a target that is never reached.
    """
    shown = frame.assign(cell=_intervals(frame), column=frame["clips"].map("{:,} clips".format))
    table = _spread(shown, ["law", "method", "sizes", "scatter"], "column", "cell")
    if "target" in frame:
        once = frame.drop_duplicates(["method", "law"])
        name, recall = once["target"].iloc[0], once["target_recall"].iloc[0]
        table[f"clips for {recall:.1f} ({name})"] = [
            f"{float(f'{clips:.2g}'):,.0f}" if clips < 1e9 else "" for clips in once["clips_needed"]
        ]
    return table


def held_back_layout(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `hold_back` with a line a method: what was measured, and each law's prediction."""
    named = frame.rename(columns={"clips": "training clips"})
    named = named.assign(cell=_intervals(frame), column="predicted by a " + frame["law"])
    return _spread(named, ["method", "training clips", "measured"], "column", "cell")


def _spread(frame: pd.DataFrame, rows: list[str], column: str, cell: str) -> pd.DataFrame:
    """Make a column of each value of ``column``, in their order and that of the rows."""
    table = frame.pivot(index=rows, columns=column, values=cell).reset_index()
    ordered = frame[rows].drop_duplicates().merge(table, on=rows)
    return ordered[[*rows, *frame[column].unique()]]


def _grouped(table: pd.DataFrame, pattern: str) -> pd.DataFrame:
    """Part the heads that match a pattern into their group and their name; no other has a group."""
    heads = [
        (found["group"], found["name"]) if (found := re.fullmatch(pattern, name)) else ("", name)
        for name in table.columns
    ]
    return table.set_axis(pd.MultiIndex.from_tuples(heads), axis=1)


def controls_note(controls: pd.DataFrame) -> str:
    """Say in one sentence what `controls_frame` found, for the footer of a table of recalls."""
    parts = [
        f"{name} {' / '.join(f'{value:.1f}' for value in part['recall'])}"
        for name, part in controls.groupby("control", sort=False)
    ]
    size = controls["gallery"].iloc[0]
    return f"Controls, R@1 / 5 / 10 at N = {size:,}, both directions: {'; '.join(parts)}"
