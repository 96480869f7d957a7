"""What the study measured, run by run; a run that is no longer there keeps what it was."""

import pandas as pd

from xmodal.config import InputError
from xmodal.data.features import open_features
from xmodal.evaluation.cca import LINEAR, choose_cca, embed_cca
from xmodal.evaluation.controls import controls_frame
from xmodal_suite.measurements import read_measured
from xmodal_suite.provenance import project_commit
from xmodal_suite.scaling import cca_points
from xmodal_suite.study import AblationConfig, ablation_frame, read_ablations

RUN = ["study", "row", "seed"]


def measure_study(config: AblationConfig) -> dict[str, pd.DataFrame]:
    """Gather what was measured of the runs of every ablation of a profile, and fit linear CCA.

    A day of trainings need not be at hand: a run that is not in the runs folder has the numbers
    that are kept in the folder of results, with the commit that measured them, if they were
    measured on the same evaluation clips.

    The frames are ``runs``, the `ablation_frame` of all, with columns study and commit; ``cca``,
    see `cca_points`; and ``controls``.
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
        again = found.round(9).merge(earlier.round(9)[numbers], on=numbers)
        found = _without(found, again)  # measured again to the same numbers: the commit stays
        found = pd.concat([_without(earlier, found), found])
    if found.empty:
        raise InputError(f"{config.runs_folder} holds no measured run of a study: make study")
    order = [
        (name, row, seed)
        for name, ablation in ablations.items()
        for row in ablation.rows
        for seed in ablation.seeds
    ]
    found = pd.DataFrame(order, columns=RUN).merge(found, on=RUN)[found.columns]
    cca, power = choose_cca(config.features)[0][LINEAR]
    return {
        "runs": found,
        "cca": cca_points(config, sorted(found["clips"].unique())),
        "controls": controls_frame(clips, embed_cca(cca, clips, power), [config.gallery]),
    }


def _without(frame: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Leave some runs out."""
    known, others = (pd.MultiIndex.from_frame(some[RUN]) for some in (frame, runs))
    return frame[~known.isin(others)]
