"""From runs and recalls to the tables and curves that are shown."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def wide(frame: pd.DataFrame, rows: Sequence[str]) -> pd.DataFrame:
    """Spread a tidy frame of recalls into the paper's layout: a column per direction and K.

    Parameters
    ----------
    frame : DataFrame
        Columns ``rows``, direction, k, recall; optionally low and high, which are then shown too.
    rows : sequence of str
        Columns that name a row of the table; its order is kept.
    """
    shown = frame.assign(column=frame["direction"] + " R@" + frame["k"].astype(str))
    shown["cell"] = [
        f"{value:.1f}" if np.isnan(low) else f"{value:.1f} [{low:.1f}, {high:.1f}]"
        for value, low, high in zip(
            shown["recall"],
            shown.get("low", shown["recall"] * np.nan),
            shown.get("high", shown["recall"] * np.nan),
            strict=True,
        )
    ]
    order = list(dict.fromkeys(shown["column"]))
    table = shown.pivot_table(
        index=list(rows), columns="column", values="cell", aggfunc="first", sort=False
    )
    return table[order].reset_index().rename_axis(columns=None)


def methods_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Spread what `compare` or `against_gallery` gives: a row for each size and method."""
    frame = frame.sort_values("gallery", kind="stable")
    names = {"gallery": "candidates", "model": "method"}
    return wide(frame.rename(columns=names), list(names.values()))
