"""The ablation study: what was measured of its runs, and what each change does to recall."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from xmodal.checkpoint import RunFolder, load_run
from xmodal.config import InputError
from xmodal.data.features import FeatureSet
from xmodal.evaluation.recall import KS, recall_frame
from xmodal.model import Embeddings
from xmodal_suite.profile import Study

APART = "evaluation, scaled apart"
COLUMNS = ["row", "seed", "clips", "step", "split", "gallery", "galleries", "k", "recall"]
RUN = ["study", "row", "seed"]


def study_frame(folder: Path, study: Study, clips: FeatureSet) -> pd.DataFrame:
    """Gather what was measured of a study, whose runs are the folders ``<row>-seed<seed>``.

    Recall is in percent, the mean of both directions. A run that scales both modalities jointly is
    also measured on the evaluation ``clips``, each modality scaled apart.
    """
    parts = [pd.DataFrame(columns=COLUMNS)]
    for name, seed in product(study.rows, study.seeds):
        run = folder / f"{name}-seed{seed}"
        if not all((run / file).exists() for file in ("result.json", "recall.csv")):
            continue
        found, read = pd.read_csv(run / "recall.csv"), RunFolder(run).read
        if read("config.json")["config"]["joint_normalise"]:
            sizes = sorted(found.loc[found["split"] == "evaluation", "gallery"].unique())
            apart = recall_frame([embed_apart(run, clips)], sizes, ~clips.silent, resamples=0)
            found = pd.concat([found, apart.assign(split=APART)])
        keys = ["split", "gallery", "galleries", "k"]
        means = found.groupby(keys, sort=False)["recall"].mean().reset_index()
        result = read("result.json")
        about = {"clips": result["training_clips"], "step": result["best_step"]}
        parts.append(means.assign(row=name, seed=seed, **about)[COLUMNS])
    return pd.concat(parts[1:] or parts, ignore_index=True)


def embed_apart(run: Path, clips: FeatureSet) -> Embeddings:
    """Embed clips with a run that scales both modalities jointly, each scaled by itself instead.

    All features of a modality have the mean length of joint scaling: no half tells the other's.
    """
    model, _ = load_run(run)
    model.config = model.config.model_copy(update={"joint_normalise": False})
    both = [np.asarray(part, np.float32) for part in (clips.visual, clips.audio)]
    lengths = [np.linalg.norm(part, axis=1, keepdims=True).clip(1e-12) for part in both]
    together = np.hypot(*lengths)
    scaled = (x / n * (n / together).mean() for x, n in zip(both, lengths, strict=True))
    return model.embed(*scaled)


def with_kept(found: pd.DataFrame, kept: pd.DataFrame, studies: dict[str, Study]) -> pd.DataFrame:
    """Add the runs that are only kept, in the studies' order; equal numbers keep their commit."""
    numbers = [name for name in kept if name != "commit"]
    again = found.round(9).merge(kept.round(9)[numbers], on=numbers)[RUN].drop_duplicates()
    found = found[~found[RUN].apply(tuple, axis=1).isin(again.apply(tuple, axis=1))]
    kept = kept[~kept[RUN].apply(tuple, axis=1).isin(found[RUN].apply(tuple, axis=1))]
    runs = [(name, *run) for name, one in studies.items() for run in product(one.rows, one.seeds)]
    order = pd.DataFrame(runs, columns=RUN)
    return order.merge(pd.concat([kept, found]), on=RUN)[kept.columns]


def named_recalls(frame: pd.DataFrame, study: Study, gallery: int) -> pd.DataFrame:
    """Pick the recalls of a `study_frame` that are shown, and name them, such as R@1, N = 1,024.

    They are among ``gallery`` candidates, or among all evaluation clips.
    """
    everything = frame[frame["split"] == "evaluation"]["gallery"].max()
    names = {("validation", gallery, 1): f"validation R@1, N = {gallery:,}"}
    names |= {("evaluation", gallery, k): f"R@{k}, N = {gallery:,}" for k in KS}
    names |= {("evaluation", everything, 1): f"R@1, N = {everything:,}"}
    names |= {(APART, gallery, 1): f"scaled apart R@1, N = {gallery:,}"}
    keys = zip(frame["split"], frame["gallery"], frame["k"], strict=True)
    frame = frame.assign(change=[study.rows[row].about for row in frame["row"]])
    named = frame.assign(measure=[names.get(key) for key in keys]).dropna(subset="measure")
    if gallery not in set(named["gallery"]):
        raise InputError(f"no run was measured among {gallery:,} candidates: choose others")
    columns = ["row", "change", "seed", "clips", "step", "measure", "recall"]
    return named[columns].reset_index(drop=True)


def study_table(recalls: pd.DataFrame) -> pd.DataFrame:
    """Summarise the seeds of each change and measure in `named_recalls`; the step is the median."""
    each = recalls.groupby(["change", "measure"], sort=False)
    table = each["recall"].agg(["mean", "std"])
    table.insert(0, "seeds", each["seed"].nunique())
    table.insert(1, "step", each["step"].median())
    return table.reset_index().astype({"step": int})


def apart_table(recalls: pd.DataFrame, gallery: int) -> pd.DataFrame:
    """Return recall with modalities scaled apart, and R@1 beside it, of what exceeds 2 × chance."""
    apart = recalls[recalls["measure"] == f"scaled apart R@1, N = {gallery:,}"]
    apart = apart[apart.groupby("row")["recall"].transform("mean") >= 200 / gallery]
    both = recalls["measure"].str.removeprefix("scaled apart ") == f"R@1, N = {gallery:,}"
    return study_table(recalls[both & recalls["row"].isin(apart["row"])])
