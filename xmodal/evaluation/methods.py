"""What these features allow: CCA, the recipe and controls beside the paper's method (notebook 06).

All is measured on clips that are not silent. Everything here is our choice.
"""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pandas as pd
from pydantic import Field, PositiveInt

from xmodal.config import InputError, RunFigureConfig
from xmodal.data.features import SPLITS, FeatureSet, open_features
from xmodal.data.moments import moments
from xmodal.evaluation import controls, hubness
from xmodal.evaluation.cca import embed_cca, fit_cca
from xmodal.evaluation.recall import embed_run, joined, recall_frame
from xmodal.metrics import gallery_ranks, recall
from xmodal.model import Embeddings
from xmodal.synthetic.likelihood import log_likelihood_ratio
from xmodal.synthetic.sample import SampleConfig

PAPER, LINEAR, RECIPE = "the paper's method", "linear CCA", "recipe"
RIDGES, POWERS = (0.01, 0.03, 0.1, 0.3, 1.0), (0.0, 0.5, 1.0)

Methods = dict[str, list[Embeddings]]


class BeyondConfig(RunFigureConfig):
    """What is compared; ``run`` is the paper's method."""

    recipe: list[Path] = Field(
        [Path(f"runs/sample/recipe/recipe-seed{seed}") for seed in (0, 1)],
        min_length=1,
        description="runs of the recipe, a seed each",
    )
    galleries: list[PositiveInt] = Field(
        [16, 64, 256, 512, 1024, 2048], description="candidates per query; all clips are added"
    )
    headline: int = Field(1024, gt=0, description="candidates per query in the headline table")
    resamples: int = Field(1000, gt=0, description="of the bootstrap")
    seed: int = Field(0, ge=0, description="draws the galleries, and shuffles pairs")
    tolerance: float = Field(2, ge=0, description="points a recall may differ when made again")
    sample_shared: float | None = Field(
        SampleConfig.model_fields["shared"].default,
        description="of the synthetic sample, for its ceiling; None: real clips",
    )
    sample_seed: int = Field(0, ge=0, description="of the synthetic sample")


def mean_recall(embedded: Embeddings, features: FeatureSet, gallery: int = 1024) -> float:
    """Return Recall@1, the mean of both directions, percent: what is chosen by on validation."""
    keep = ~features.silent
    size = min(gallery, int(keep.sum()))
    both = [
        recall(gallery_ranks(query[keep], items[keep], size), ks=(1,), resamples=0).recall[0]
        for query, items in (embedded[:2], embedded[1::-1])
    ]
    return 50 * sum(both)


def linear(features: Path, clips: int | None = None) -> tuple[Methods, pd.DataFrame]:
    """Fit linear CCA with several ridges, weight it in several ways, embed the evaluation clips.

    Parameters
    ----------
    features : Path
        Feature set.
    clips : int, optional
        Fit to the first so many training clips; all if not given.

    Returns
    -------
    methods : dict
        By name: the best that plain CCA and weighted CCA do on validation clips.
    grid : DataFrame
        Columns ridge, power (of the correlations that weight the coordinates; 0: plain CCA) and
        validation R@1 in percent, the best first.
    """
    train, validation, evaluation = (open_features(features, split) for split in SPLITS)
    seen = moments(train, clips)
    fitted = {ridge: fit_cca(seen, ridge) for ridge in RIDGES}
    rows = [
        (ridge, power, mean_recall(embed_cca(fitted[ridge], validation, power), validation))
        for ridge, power in product(RIDGES, POWERS)
    ]
    grid = pd.DataFrame(rows, columns=["ridge", "power", "validation R@1"])
    grid = grid.sort_values("validation R@1", ascending=False, ignore_index=True)
    methods = {}
    for name, part in {f"{LINEAR}, plain": grid[grid["power"] == 0], LINEAR: grid}.items():
        best = part.iloc[0]
        methods[name] = [embed_cca(fitted[best["ridge"]], evaluation, best["power"])]
    return methods, grid


def learned(config: BeyondConfig) -> tuple[Methods, hubness.Correction]:
    """Embed the evaluation clips with the paper's run and with the recipe's.

    Returns
    -------
    methods : dict
        By name: the paper's method, the recipe (one entry a seed), its members joined, and those
        with their hubs corrected.
    correction : Correction
        Chosen on validation clips.

    Raises
    ------
    InputError
        If a run is missing.
    """
    for run in (config.run, *config.recipe):
        if not (run / "result.json").exists():
            raise InputError(f"{run} holds no finished training run: make paper trains it")
    train, validation, clips = (open_features(config.features, split) for split in SPLITS)
    members = [embed_run(run, clips) for run in config.recipe]
    bank, held_out = (
        joined([embed_run(run, part) for run in config.recipe]) for part in (train, validation)
    )
    how = hubness.choose(held_out, bank, lambda found: mean_recall(found, validation))
    both = joined(members)
    pulled = hubness.attraction(both, bank, how.sharpness)
    together = f"{RECIPE}, {len(members)} joined"
    methods = {
        PAPER: [embed_run(config.run, clips)],
        RECIPE: members,
        together: [both],
        f"{together}, hubs corrected": [hubness.corrected(both, pulled, how.weight)],
    }
    return methods, how


def ceiling(config: BeyondConfig, clips: FeatureSet) -> Methods:
    """Return the best ranking there can be, by the likelihood of the sample's own generator.

    Nothing for real clips, whose generator nobody knows.
    """
    if config.sample_shared is None:
        return {}
    sample = SampleConfig(shared=config.sample_shared, seed=config.sample_seed)
    ratio = log_likelihood_ratio(sample, clips.visual, clips.audio)
    return {"ceiling, by likelihood": [controls.similarity(ratio)]}


def compare(methods: Methods, clips: FeatureSet, config: BeyondConfig) -> pd.DataFrame:
    """Return `recall_frame` of every method, at each gallery size and over all clips.

    A column ``model`` names the method. Silent clips are left out.
    """
    keep = ~clips.silent
    sizes = [*config.galleries, int(keep.sum())]
    parts = [
        recall_frame(models, sizes, keep, config.seed, config.resamples).assign(model=name)
        for name, models in methods.items()
    ]
    return pd.concat(parts, ignore_index=True)


def controls_note(
    clips: FeatureSet, embedded: Embeddings, galleries: Sequence[int], seed: int = 0
) -> str:
    """Say in one sentence what the controls score, for the footer of a table of recalls.

    Raises
    ------
    InputError
        If a control that must score as chance does not: no recall measured so would mean anything.
    """
    size = max(n for n in [16, *galleries] if n <= len(clips))
    told = [f"chance {' / '.join(f'{100 * k / size:.1f}' for k in (1, 5, 10))}"]
    for name, control in controls.controls(clips, embedded).items():
        frame = recall_frame([control], [size], None, seed, resamples=0)
        found, queries = frame.groupby("k")["recall"].mean(), frame["queries"].iloc[0]
        chance = 100 * found.index / size
        # both directions, four standard errors
        allowed = 4 * (chance * (100 - chance) / queries) ** 0.5 + 0.01
        if name in controls.CHANCE and (abs(found - chance) > allowed).any():
            raise InputError(
                f"the control {name!r} scores {found.iloc[0]:.2f} % where chance is "
                f"{chance[0]:.2f} %: the ranking leaks, so no recall was written"
            )
        told.append(f"{name} {' / '.join(f'{value:.1f}' for value in found)}")
    return f"Controls, R@1 / 5 / 10 at N = {size:,}, both directions: {'; '.join(told)}"
