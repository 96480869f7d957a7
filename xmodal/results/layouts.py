"""How tidy frames of `xmodal.evaluation` are laid out in the tables that are shown."""

import numpy as np
import pandas as pd


def ablation_layout(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `ablation_table` with a line a change: mean ± standard deviation over its seeds."""
    cells = [
        f"{mean:.1f}" if np.isnan(std) else f"{mean:.1f} ± {std:.1f}"
        for mean, std in zip(frame["mean"], frame["std"], strict=True)
    ]
    return _spread(frame.assign(cell=cells), ["change", "seeds", "step"], "measure", "cell")


def runs_layout(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `named_recalls` of several ablations, named by a column study, with a line a run."""
    named = frame.rename(columns={"clips": "training clips"})
    rows = ["study", "row", "change", "seed", "training clips", "step"]
    table = _spread(named, rows, "measure", "recall")
    return table.assign(study=table.pop("study"))


def scaling_layout(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `curve_table` with a line a law and method, and the clips needed to two digits.

    More than a billion clips are left empty, as is a target that is never reached.
    """
    cells = [
        f"{recall:.1f}" if np.isnan(low) else f"{recall:.1f} [{low:.1f}, {high:.1f}]"
        for recall, low, high in zip(frame["recall"], frame["low"], frame["high"], strict=True)
    ]
    shown = frame.assign(cell=cells, column=frame["clips"].map("{:,} clips".format))
    table = _spread(shown, ["method", "law", "scatter"], "column", "cell")
    if "target" in frame:
        once = frame.drop_duplicates(["method", "law"])
        name, recall = once["target"].iloc[0], once["target_recall"].iloc[0]
        table[f"clips for {recall:.1f} ({name})"] = [
            f"{float(f'{clips:.2g}'):,.0f}" if clips < 1e9 else "" for clips in once["clips_needed"]
        ]
    return table


def _spread(frame: pd.DataFrame, rows: list[str], column: str, cell: str) -> pd.DataFrame:
    """Make a column of each value of ``column``, in their order and that of the rows."""
    order = pd.MultiIndex.from_frame(frame[rows].drop_duplicates())
    table = frame.pivot(index=rows, columns=column, values=cell)
    return table.reindex(order)[frame[column].unique()].reset_index().rename_axis(columns=None)
