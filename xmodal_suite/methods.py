"""The paper's method beside the recipe, CCA and the best there can be (notebook 06)."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pydantic import Field, PositiveInt
from tqdm import tqdm

from xmodal.config import InputError
from xmodal.data.features import SPLITS, FeatureSet, open_features
from xmodal.evaluation import hubness
from xmodal.evaluation.cca import choose_cca, embed_cca
from xmodal.evaluation.controls import controls_frame
from xmodal.evaluation.recall import embed_run, joined, rank_frame
from xmodal.evaluation.relevance import by_category, errors
from xmodal.model import Embeddings
from xmodal.synthetic.likelihood import log_likelihood_ratio
from xmodal.synthetic.sample import SampleConfig
from xmodal_suite.figure_config import RunFigureConfig

PAPER, RECIPE = "the paper's method", "recipe"

Methods = dict[str, list[Embeddings]]
"""By name: the embeddings of the evaluation clips, several where only the seed differs."""


class MethodsConfig(RunFigureConfig):
    """What is compared with the paper's method, which is ``run``; all is our choice."""

    recipe: list[Path] = Field(
        [Path(f"runs/sample/best/member-seed{seed}") for seed in (0, 1)],
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

    def trained(self) -> list[Path]:
        """Return the paper's run and the recipe's."""
        return [self.run, *self.recipe]


def learned(config: MethodsConfig) -> tuple[Methods, hubness.Correction]:
    """Embed the evaluation clips with the paper's run and with the recipe's.

    Returns the paper's method, the recipe (one entry a seed), its runs joined, and those with their
    hubs corrected, all by name; and the correction, which validation clips choose. InputError if a
    run is missing.
    """
    train, validation, clips = (open_features(config.features, split) for split in SPLITS)
    paper, *members = (embed_run(run, clips) for run in (config.run, *config.recipe))
    bank, held_out = (
        joined([embed_run(run, part) for run in config.recipe]) for part in (train, validation)
    )
    correction = hubness.choose_correction(held_out, bank, validation)
    ensemble, name = joined(members), f"{RECIPE}, {len(members)} joined"
    attractions = hubness.attraction(ensemble, bank, correction.sharpness)
    methods = {
        PAPER: [paper],
        RECIPE: members,
        name: [ensemble],
        f"{name}, hubs corrected": [hubness.corrected(ensemble, attractions, correction.weight)],
    }
    return methods, correction


def ceiling(config: MethodsConfig, clips: FeatureSet) -> Methods:
    """Return the best ranking there can be, by the likelihood of the sample's own generator.

    It is empty for real clips, whose generator nobody knows.
    """
    if config.sample_shared is None:
        return {}
    sample = SampleConfig(shared=config.sample_shared, seed=config.sample_seed)
    ratio = log_likelihood_ratio(sample, clips.visual, clips.audio)
    return {"ceiling, by likelihood": [embed_scores(ratio)]}


def embed_scores(scores: np.ndarray) -> Embeddings:
    """Return embeddings whose products are these scores of each video (row) with each sound."""
    return Embeddings(torch.from_numpy(scores).float(), torch.eye(len(scores)))


def measure_methods(config: MethodsConfig) -> dict[str, pd.DataFrame]:
    """Rank every query by every method, silent clips left out, and look at what is retrieved.

    Returns
    -------
    dict of DataFrame
        ``ranks``, `rank_frame` with a column model, the method's name, at each gallery size and
        over all clips; ``cca``, the grid of `choose_cca`; ``correction`` of hubs as chosen;
        ``errors`` and ``categories`` of `xmodal.evaluation.relevance`; ``controls``.

    Raises
    ------
    InputError
        If a run is missing, a control is off, or nothing is ranked among ``headline`` candidates.
    """
    clips = open_features(config.features, "evaluation")
    keep = ~clips.silent
    sizes = [*config.galleries, int(keep.sum())]
    if config.headline not in [size for size in sizes if size <= keep.sum()]:
        raise InputError(
            f"nothing would be measured among headline={config.headline:,} candidates: choose one "
            f"of galleries that the {keep.sum():,} evaluation clips with sound are enough for"
        )
    found, correction = learned(config)
    fitted, grid = choose_cca(config.features)
    linear = {name: [embed_cca(cca, clips, power)] for name, (cca, power) in fitted.items()}
    ours = {PAPER: found[PAPER], **linear, **found}
    methods = {**ours, **ceiling(config, clips)}
    bar = tqdm(methods.items(), "ranking", disable=None)
    ranked = [
        rank_frame(m, sizes, keep, config.seed, cosine=False).assign(model=name) for name, m in bar
    ]
    (best,) = list(found.values())[-1]
    return {
        "ranks": pd.concat(ranked, ignore_index=True),
        "cca": grid,
        "correction": pd.DataFrame([correction]),
        "errors": errors({name: models[0] for name, models in ours.items()}, clips),
        "categories": by_category(best.audio, best.visual, clips),
        "controls": controls_frame(clips, found[PAPER][0], [config.headline], config.seed),
    }
