"""What is seen in tables and figures, in words made from their numbers, whatever the data."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from xmodal.config import InputError
from xmodal_suite.intervals import interval
from xmodal_suite.study import ablation_table


def _percent(share: float) -> str:
    """Write a share of 1 in percent, with a digit after the point where it is small."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.1f} %"


def _plus(points: float) -> str:
    """Write a difference in points with its sign."""
    return f"{points:+.1f}".replace("-", "−")


UNLABELLED = "No clip has a label here, so there is nothing to say of them."
FOUND = "Every query finds its own clip first, so there is no miss to speak of."


def _ends(frame: pd.DataFrame, column: str) -> tuple[pd.Series, pd.Series]:
    """Return the rows with the highest and the lowest value of a column."""
    order = frame.sort_values(column, ascending=False)
    return order.iloc[0], order.iloc[-1]


# --- 01: the data ---------------------------------------------------------------------------------


def splits(frame: pd.DataFrame) -> str:
    """Say how many clips there are, and how many of them are silent or repeated."""
    train, test = (frame[frame["split"] == name].iloc[0] for name in ("train", "evaluation"))
    silent, repeated = test["silent clips"], test["repeated clips"]
    return (
        f"{train['clips']:,} clips to learn from and {test['clips']:,} to be judged by, with "
        f"{test['labels per clip']:.1f} labels each. Of the latter {silent:,} "
        f"({_percent(silent / test['clips'])}) are silent and "
        + (f"{repeated:,} repeated." if repeated else "none is repeated.")
    )


def labels(frame: pd.DataFrame, carried: pd.DataFrame) -> str:
    """Say how uneven the labels are."""
    if frame.empty:
        return UNLABELLED
    clips = carried["clips"].sum()
    first, middle = frame.iloc[0], frame["clips"].median()
    half = int((frame["clips"].cumsum() < frame["clips"].sum() / 2).sum()) + 1
    return (
        f"The most frequent label, {first['name']}, is on {_percent(first['clips'] / clips)} of "
        f"the training clips; half of the {len(frame):,} labels in use are each on no "
        f"more than {middle:,.0f} of them, while the {half} most frequent make up half of all that "
        "are given."
    )


def lengths(frame: pd.DataFrame) -> str:
    """Say how much the length of one modality tells of that of the other."""
    if frame["visual"].nunique() < 2 or frame["audio"].nunique() < 2:
        return "The clips do not differ in both lengths, so one tells nothing of the other."
    r = float(np.corrcoef(frame["visual"], frame["audio"])[0, 1])
    shown = f"{r:.2f}".replace("-", "−")
    return (
        f"The two lengths correlate with r = {shown}: one explains {_percent(r * r)} of the "
        "variance of the other."
    )


def components(frame: pd.DataFrame) -> str:
    """Say how many directions the two modalities share, and how their variance is spread."""
    kinds = {kind: part["value"].to_numpy() for kind, part in frame.groupby("kind")}
    shared = kinds["canonical"]
    half = {
        name: int(np.searchsorted(np.cumsum(kinds[name]) / kinds[name].sum(), 0.5)) + 1
        for name in ("visual", "audio")
    }
    return (
        f"The best pair of directions correlates with {shared[0]:.2f}, the tenth with "
        f"{shared[min(9, len(shared) - 1)]:.2f}; {int((shared > 0.1).sum())} of {len(shared)} lie "
        f"above 0.1. Half of the visual variance is in {half['visual']} of "
        f"{len(kinds['visual']):,} components, half of the audio variance in {half['audio']} of "
        f"{len(kinds['audio'])}."
    )


# --- 02: one training -----------------------------------------------------------------------------


def plain(frame: pd.DataFrame) -> str:
    """Say what a training in a dozen lines reaches, beside chance."""
    first, last = frame.iloc[0], frame.iloc[-1]
    recall, size = last["recall_at_1"], int(last["gallery"])
    return (
        f"In {int(last['step']):,} steps the loss falls from {first['loss']:.2f} to "
        f"{last['loss']:.2f}, and validation Recall@1 among {size:,} candidates reaches "
        f"{recall:.1f} %, {recall * size / 100:.0f} times chance."
    )


def training(frame: pd.DataFrame, history: pd.DataFrame) -> str:
    """Say where a training was at its best, what the loss did after that, and when λ came."""
    run = frame.iloc[0]
    mine = history[history["run"] == run["run"]].set_index("step")
    best, last = mine.loc[run["best step"]], mine.iloc[-1]
    text = (
        f"Validation Recall@1 is best at step {run['best step']:,} of {run['steps']:,}: "
        f"{run['validation R@1']:.1f} % among {run['validation N']:,} candidates."
    )
    if run["best step"] < mine.index[-1]:
        text += (
            f" From there to the last step the cosine loss goes from {best['cosine']:.3f} to "
            f"{last['cosine']:.3f} and recall to {last['recall_at_1']:.1f} %."
        )
    if run["λ from step"] < run["steps"]:
        late = mine[mine.index > run["λ from step"]]["recall_at_1"]
        before = mine[mine.index <= run["λ from step"]]["recall_at_1"]
        if len(late) and len(before):
            text += (
                f" λ is switched on at step {run['λ from step']:,}: recall, {before.iloc[-1]:.1f} "
                f"% just before, is {late.min():.1f} % at its lowest after."
            )
    else:
        text += f" The step {run['λ from step']:,}, where λ is switched on, is never reached."
    return text


# --- 03: Tables 1 and 2 ---------------------------------------------------------------------------


def level(frame: pd.DataFrame) -> str:
    """Say how Recall@1 in the last row compares with the published one, rows being galleries."""
    last = frame[(frame["row"] == frame["row"].max()) & (frame["k"] == 1)]
    table = last.pivot(index="direction", columns="reading", values="recall")
    if "rows are galleries" not in table:
        return ""
    ours, theirs = table["rows are galleries"].mean(), table["published"].mean()
    ratio = ours / theirs
    bounds = {0.45: "well below half of", 0.55: "about half of", 0.9: "below", 1.1: "near"}
    words = next((words for bound, words in bounds.items() if ratio < bound), "above")
    return (
        f"Among {frame['row'].max():,} candidates the paper's method, as its text describes it, "
        f"reaches a Recall@1 of {ours:.1f} % on these clips, mean of both directions: {words} the "
        f"published {theirs:.1f} % ({ratio:.2f} of it)."
    )


def against_published(frame: pd.DataFrame, reading: str = "rows are galleries") -> str:
    """Say how far our table, of one direction or both, lies from the published one."""
    keys = ["direction", "row", "k"]
    table = frame.pivot(index=keys, columns="reading", values="recall")
    if reading not in table or table[reading].isna().any():
        return ""
    ratio, lead = table[reading] / table["published"], table[reading] - table["published"]
    inside = frame[frame["reading"] == reading].set_index(keys)
    held = (inside["low"] <= table["published"]) & (table["published"] <= inside["high"])
    return (
        f"If the {reading}, ours is between {ratio.min():.2f} and {ratio.max():.2f} times the "
        f"published recall, {_plus(lead.mean())} points on average; {int(held.sum())} of "
        f"{len(held)} published numbers lie within our intervals."
    )


def law(pairs: pd.DataFrame) -> str:
    """Say how nearly two recalls of the same K/N are equal, in the paper and here."""
    means = pairs.drop(columns=["direction", "first", "second"]).abs().mean()
    said = [f"{value:.1f} points ({name})" for name, value in means.items()]
    return f"Two recalls with the same K/row differ on average by {', '.join(said)}."


def candidates(frame: pd.DataFrame) -> str:
    """Say how fast Recall@1 falls with the number of candidates."""
    first = frame[frame["k"] == 1].groupby("gallery")["recall"].mean()
    few, many = first.index.min(), first.index.max()
    each = (first[many] / first[few]) ** (1 / np.log2(many / few))
    return (
        f"Recall@1 is {first[few]:.1f} % among {few:,} candidates and {first[many]:.1f} % among "
        f"{many:,}: each doubling of the candidates leaves {_percent(each)} of it."
    )


def silence(frame: pd.DataFrame) -> str:
    """Say what leaving out silent clips changes."""
    first = frame[(frame["k"] == 1)].groupby(["clips", "gallery"])["recall"].mean().unstack(0)
    both = first.dropna()
    if both.empty:
        return ""
    change = both["not silent"] - both["all"]
    return f"Without silent clips Recall@1 moves by {_plus(change.mean())} points on average."


# --- 04: the joint space --------------------------------------------------------------------------


def pairs_on_map(points: pd.DataFrame) -> str:
    """Say how often the two points of a clip are closer on the map than a strange pair."""
    after = points[points["map"] == "after training"]
    visual, audio = (
        after[after["modality"] == name].sort_values("clip")[["x", "y"]].to_numpy()
        for name in ("visual", "audio")
    )
    own, strange = (
        np.linalg.norm(visual - other, axis=1) for other in (audio, np.roll(audio, 1, axis=0))
    )
    return (
        "The picture and the sound of a clip lie closer on the map than those of two different "
        f"clips in {_percent((own < strange).mean())} of cases; by chance it would be 50 %."
    )


def space(frame: pd.DataFrame) -> str:
    """Say what training did to the space."""
    table = frame.groupby(["measure", "state"], sort=False)["value"].mean().unstack()
    before, after = table["before training"], table["after training"]
    closer = "closer together" if after["alignment"] < before["alignment"] else "further apart"
    return (
        f"Training moves the two halves of a clip {closer} (alignment {before['alignment']:.2f} → "
        f"{after['alignment']:.2f}) and takes the gap between the modalities from "
        f"{before['modality gap']:.2f} to {after['modality gap']:.2f}. Of the ten nearest items of "
        f"the other modality {_percent(after['label agreement'])} share a label with the query, "
        f"against {_percent(before['label agreement'])} before training and "
        f"{_percent(after['label agreement by chance'])} by chance."
    )


# --- 05: retrieval --------------------------------------------------------------------------------


def examples(frame: pd.DataFrame) -> str:
    """Say how often an item shown shares a label with its query, or is its own clip."""
    if frame.empty:
        return "No example was asked for."
    others = frame[~frame["own"]]
    found = frame.groupby(["direction", "query_id", "kind"])["own"].any()
    return (
        f"Of {len(found)} queries shown {found.sum()} have their own clip among the items beside "
        f"them; of the other items {int((others['shared'] > 0).sum())} of {len(others)} share a "
        "label with the query."
    )


def near_misses(frame: pd.DataFrame) -> str:
    """Say for which labels the first item is of the right kind, though not the right clip."""
    if frame.empty:
        return UNLABELLED
    frame = frame.dropna(subset="same label first")
    if frame.empty:
        return FOUND
    best, worst = _ends(frame, "same label first")
    return (
        f"Where the own clip does not come first, the item that does shares the label most often "
        f"for {best['label']} ({best['same label first']:.0f} %, by chance "
        f"{best['same label by chance']:.0f} %) and least often for {worst['label']} "
        f"({worst['same label first']:.0f} %, by chance {worst['same label by chance']:.0f} %)."
    )


# --- 06: beyond -----------------------------------------------------------------------------------


def cca(grid: pd.DataFrame) -> str:
    """Say which ridge and power did best, and what weighting gains over plain CCA."""
    best, plain = grid.iloc[0], grid[grid["power"] == 0].iloc[0]
    gain = best["validation R@1"] - plain["validation R@1"]
    return (
        f"The best on validation clips has a ridge of {best['ridge']:g} and the power "
        f"{best['power']:g}, with a Recall@1 of {best['validation R@1']:.1f} %; plain CCA at its "
        f"best is {gain:.1f} points below."
    )


def methods(frame: pd.DataFrame, gallery: int) -> str:
    """Put the methods in the order of their Recall@1 among so many candidates."""
    mine = frame[(frame["gallery"] == gallery) & (frame["k"] == 1)]
    means = mine.groupby("model", sort=False)["recall"].mean().sort_values()
    if means.empty:
        raise InputError(f"nothing was measured among {gallery:,} candidates: choose another")
    said = ", ".join(f"{name} {value:.1f} %" for name, value in means.items())
    return f"Recall@1 among {gallery:,} candidates, mean of both directions, rising: {said}."


def errors(frame: pd.DataFrame) -> str:
    """Say how many misses share a label with the query, and what correcting hubs did."""
    lines = frame.set_index("method")
    *_, before, last, chance = (line for _, line in lines.iterrows())
    name, hubs = "misses with a shared label", "hubs, skewness"
    fell = "falls" if last[hubs] < before[hubs] else "does not fall"
    misses = FOUND
    if pd.notna(last[name]):
        misses = (
            f"Of what “{last.name}” retrieves first instead of the match, {last[name]:.0f} % share "
            f"a label with the query; by chance it would be {chance[name]:.0f} %."
        )
    return (
        f"{misses} Beside "
        f"“{before.name}”, the items never found go from {before['never found']:.1f} to "
        f"{last['never found']:.1f} % and R@1 from {before['R@1']:.1f} to {last['R@1']:.1f} %; the "
        f"skewness {fell} ({before[hubs]:.2f} → {last[hubs]:.2f})."
    )


def categories(frame: pd.DataFrame) -> str:
    """Name the frequent labels whose clips find their own match most and least often."""
    if frame.empty:
        return UNLABELLED
    easy, hard = _ends(frame, "recall")
    return (
        f"Of the {len(frame)} most frequent labels, {easy['label']} has the highest R@10 "
        f"({easy['recall']:.0f} %) and {hard['label']} the lowest ({hard['recall']:.0f} %)."
    )


# --- 07: the study --------------------------------------------------------------------------------


def changes(recalls: pd.DataFrame, gallery: int, alone: Sequence[str] = (), most: int = 3) -> str:
    """Name the changes that move Recall@1 on the evaluation clips most, up and down.

    A change counts as seen where it moves the mean by more than twice the standard deviations of
    both rows together; a row of one seed is given the mean deviation of the others. Of the rows
    ``alone``, which make a single change each, all that were measured are named first.
    """
    shown = recalls[recalls["measure"] == f"R@1, N = {gallery:,}"]
    table = ablation_table(shown).set_index("change")
    scatter = table["std"].fillna(table["std"].mean())
    base, moved = table.iloc[0], (table["mean"] - table["mean"].iloc[0])[1:]
    if scatter.isna().any():
        return f"The first line reaches {base['mean']:.1f} %; one seed each tells no scatter."
    doubt = 2 * np.hypot(scatter[1:], scatter.iloc[0])
    up = moved[moved > doubt].sort_values(ascending=False)
    down = moved[moved < -doubt].sort_values()
    parts = [f"The first line reaches {base['mean']:.1f} % ({table.index[0]})."]
    single = shown[shown["row"].isin(alone)]["change"].unique()
    if len(single):
        marks = {what: "" if abs(moved[what]) > doubt[what] else ", within" for what in single}
        said = "; ".join(
            f"{what} ({_plus(points)}{marks[what]})"
            for what, points in moved[single].sort_values(ascending=False).items()
        )
        parts.append(f"Changed alone, in points (within: at most twice the scatter): {said}.")
    for words, some in (("gains", up), ("loses", down)):
        if len(some):
            said = "; ".join(f"{what} ({_plus(points)})" for what, points in some[:most].items())
            parts.append(f"What {words} most: {said}.")
    within = len(moved) - len(up) - len(down)
    parts.append(
        f"{within} of {len(moved)} changes move it by no more than twice the scatter of the seeds."
    )
    return " ".join(parts)


def apart(table: pd.DataFrame) -> str:
    """Say what scaling each clip with its own other half is worth at evaluation."""
    means = table.pivot_table(index="change", columns="measure", values="mean", sort=False)
    if means.empty:
        return ""
    alone = [name for name in means if str(name).startswith("scaled apart")]
    gain = means.drop(columns=alone).iloc[:, 0] - means[alone[0]]
    said = "; ".join(f"{what}: {_plus(points)}" for what, points in gain.items())
    return f"Points that scaling with the own other half gives at evaluation: {said}."


def held_back(table: pd.DataFrame) -> str:
    """Say how far each law's prediction of the largest training is off, and how far it reaches."""
    if table.empty:
        return "No method has enough sizes to hold one back."
    off = (table["recall"] - table["measured"]).abs().groupby(table["law"], sort=False).mean()
    said = " and ".join(f"the {law} by {value:.1f} points" for law, value in off.items())
    reach = table["clips"] / table["fitted to"]
    return (
        f"On average over {table['method'].nunique()} methods the predictions are off: {said}. "
        f"They are for {reach.min():.1f} to {reach.max():.1f} times as many clips as they were "
        "fitted to."
    )


# --- 08: own media --------------------------------------------------------------------------------


def own_media(recalls: pd.DataFrame, k: int = 5) -> str:
    """Say how often matches are found that no model has seen, beside the control and chance."""
    mine = recalls[(recalls["gallery"] == recalls["gallery"].min()) & (recalls["k"] == k)]
    shown = mine[mine["model"].isin(mine["model"].unique()[-3:])]
    said = [
        f"{direction}, "
        + ", ".join(
            f"{line.model} {interval(line.recall, line.low, line.high)}"
            for line in part.itertuples()
        )
        for direction, part in shown.groupby("direction", sort=False)
    ]
    return (
        f"Of {mine['gallery'].iloc[0]} clips that no model has seen, the match is among the first "
        f"{k}, in percent of queries: {'; '.join(said)}."
    )
