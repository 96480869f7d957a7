"""What the study measured, run by run; a run that is no longer there keeps what it was."""

import pandas as pd

from xmodal.config import InputError
from xmodal.data.features import open_features
from xmodal.evaluation.ablation import AblationConfig, ablation_frame, read_ablations
from xmodal.evaluation.cca import LINEAR, choose_cca
from xmodal.evaluation.controls import controls_frame
from xmodal.evaluation.scaling import cca_points
from xmodal.results.measurements import read_measured
from xmodal.results.provenance import project_commit

RUN = ["study", "row", "seed"]


def measure_study(config: AblationConfig) -> dict[str, pd.DataFrame]:
    """Gather what was measured of the runs of every ablation of a profile, and fit linear CCA.

    A day of trainings need not be at hand: a run that is not in the runs folder has the numbers
    that are kept in the folder of results, with the commit that measured them, if they were
    measured on the same evaluation clips.

    Returns
    -------
    dict of DataFrame
        ``runs``: `ablation_frame` of all, with columns study and commit; ``cca``: the learning
        curve of linear CCA, see `cca_points`; ``controls``.

    Raises
    ------
    InputError
        If there is no such profile, or no run was measured, now or earlier.
    """
    ablations, clips = read_ablations(config.profile), open_features(config.features, "evaluation")
    kept = config.results / "07_study"
    parts = [
        ablation_frame(config.runs_folder / name, ablation).assign(
            study=name, commit=project_commit()
        )
        for name, ablation in ablations.items()
    ]
    found = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    before = read_measured(kept) if (kept / "manifest.json").exists() else None
    if before and before.origin.fingerprint == clips.fingerprint:
        earlier = before["runs"]
        numbers = [name for name in earlier if name != "commit"]
        same = found.round(9).merge(
            earlier.round(9)[numbers], on=numbers, how="left", indicator=True
        )
        again = same.loc[same["_merge"] == "both", RUN].drop_duplicates()
        found = _without(found, again)  # measured again to the same numbers: the commit stays
        found = pd.concat([_without(earlier, found[RUN].drop_duplicates()), found])
    if found.empty:
        raise InputError(f"{config.runs_folder} holds no measured run of a study: make study")
    order = [
        (name, row, seed)
        for name, ablation in ablations.items()
        for row in ablation.rows
        for seed in ablation.seeds
    ]
    places = {run: place for place, run in enumerate(order)}
    at = [places.get(run, -1) for run in found[RUN].itertuples(index=False, name=None)]
    found = found.assign(at=at).query("at >= 0").sort_values("at", kind="stable")
    found = found.drop(columns="at").reset_index(drop=True)
    linear, _ = choose_cca(config.features)
    return {
        "runs": found,
        "cca": cca_points(config, sorted(found["clips"].unique())),
        "controls": controls_frame(clips, linear[LINEAR][0], [config.gallery]),
    }


def _without(frame: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Leave some runs out."""
    marked = frame.merge(runs.assign(gone=True), on=RUN, how="left")
    return marked[marked["gone"].isna()].drop(columns="gone")
