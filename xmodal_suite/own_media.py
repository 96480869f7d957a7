"""Pairs of one's own, where they are few: a joint space by folds, measured and shown (notebook 08).

Every clip is evaluated once, by a model of its fold that has not seen it. All of it is our choice.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field
from scipy.sparse import csr_array

from xmodal.checkpoint import load_run
from xmodal.config import InputError, TrainConfig
from xmodal.data.features import SPLITS, FeatureSet, read_manifest
from xmodal.data.pairs import Pairs, numbered, read_pairs, together
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.evaluation.cca import LINEAR, choose_cca, embed_cca
from xmodal.evaluation.recall import KS, joined, nearest, rank_frame
from xmodal.media.encoders import open_encoders
from xmodal.media.extract import ExtractConfig, embed_file, find_media
from xmodal.metrics import ranks
from xmodal.model import Embeddings
from xmodal.train import train
from xmodal_suite.explored import ExplorerConfig, explore
from xmodal_suite.figure_config import FigureConfig
from xmodal_suite.methods import RECIPE

CHOSEN, SHUFFLED, CHANCE = "chosen by validation", "shuffled pairs", "chance"

Embed = Callable[[Pairs], Embeddings]


class OwnMediaConfig(FigureConfig):
    """Which pairs are measured, how, and for which video sounds are looked for."""

    features: Path = Field(Path("data/media/features"), description="feature set of the pairs")
    results: Path = Field(Path("data/results/media"), description="folder for what is measured")
    figures: Path = Field(Path("figures/media"), description="folder for pictures and tables")
    pairs: Path = Field(Path("data/media/features.npz"), description="as `xmodal extract` wrote it")
    media: Path = Field(
        Path("/usr/share/tuxpaint/stamps"), description="folder that it was extracted from"
    )
    encoders: Literal["packaged", "yt8m"] = Field("packaged", description="likewise")
    encoder_files: Path | None = Field(None, description="folder with the files yt8m needs")
    video: Path | None = Field(Path("data/media/silent.mp4"), description="sounds are found for it")
    folds: int = Field(5, ge=3, description="each is evaluated on once, and chosen on once")
    folders_apart: bool = Field(True, description="what lies in one folder is in one fold")
    steps: int = Field(100, gt=0, description="of each training")
    batch_size: int = Field(32, gt=1, description="likewise")
    resamples: int = Field(1000, gt=0, description="of the bootstrap")
    k: int = Field(10, gt=0, description="neighbours that are kept of each query")
    seed: int = Field(0, ge=0, description="of folds, trainings and the map")


def measure_own_media(config: OwnMediaConfig) -> dict[str, pd.DataFrame]:
    """Measure retrieval among pairs by folds, and look for the sounds that fit a video.

    In each fold, linear CCA and the recipe are fitted to the other folds but one, on which the
    better of the two is chosen. The shuffled control is the recipe, trained with the sounds of the
    training clips in another order.

    Returns
    -------
    dict
        ``folds``: fold, split and clips; ``choice``: fold, model and its mean normalised rank on
        the validation fold; ``ranks``: `rank_frame` with a column model, among as many clips of the
        own fold as the smallest has, and among all; ``points`` and ``neighbours``: `explore`;
        ``found``: rank, clip and cosine of the sounds nearest to the video.

    Raises
    ------
    InputError
        If the pairs cannot be read or are too few for the folds, or the video cannot be embedded.
    """
    pairs = read_pairs(config.pairs)
    whole = np.flatnonzero(pairs.whole)
    labels = [pairs.labels[row] for row in whole]
    visual, audio, ids = (part[whole] for part in pairs[:3])
    pairs = Pairs(visual, audio, ids, labels, pairs.group[whole])
    members = deal_folds(pairs, config)
    fewest = min(map(len, members))
    sizes, choices, ranked, models, held_out = [], [], [], [], []
    for number, rows in enumerate(members):
        validation = members[(number + 1) % config.folds]
        fold = write_fold(pairs, rows, validation, config, f"fold{number}")
        manifest = read_manifest(fold / "features")["splits"]
        sizes += [(number, split, manifest[split]["clips"]) for split in SPLITS]
        methods = {LINEAR: fit_linear(fold), RECIPE: fit_recipe(fold, config)}
        embedded = {name: embed(pairs) for name, embed in methods.items()}
        scores = {name: normalised_rank(found, validation) for name, found in embedded.items()}
        choices += [(number, name, score) for name, score in scores.items()]
        chosen = min(scores, key=lambda name: scores[name])
        embedded[CHOSEN] = embedded[chosen]
        control = write_fold(pairs, rows, validation, config, f"shuffled{number}", shuffle=True)
        embedded[f"{RECIPE}, {SHUFFLED}"] = fit_recipe(control, config)(pairs)
        keep = np.isin(np.arange(len(pairs.ids)), rows)
        for name, found in embedded.items():
            among = rank_frame([found], [fewest], keep, config.seed)
            among_all = rank_frame([found], [len(keep)], None, config.seed)
            both = pd.concat([among, among_all[keep[among_all["clip"]]]])
            ranked.append(both.assign(model=name))
        models.append(methods[chosen])
        held_out.append((rows, embedded[CHOSEN]))
    everything = joined([found for _, found in held_out])
    shown = ExplorerConfig(k=config.k, seed=config.seed)
    return {
        "folds": pd.DataFrame(sizes, columns=["fold", "split", "clips"]),
        "choice": pd.DataFrame(choices, columns=["fold", "model", "normalised rank"]),
        "ranks": pd.concat(ranked, ignore_index=True),
        **explore(everything, as_features(pairs, config), shown, held_out),
        "found": find_sounds(pairs, models, everything, config),
    }


def deal_folds(pairs: Pairs, config: OwnMediaConfig) -> list[np.ndarray]:
    """Return the rows of each fold: what belongs together is together, the largest lot first."""
    alone = np.arange(len(pairs.ids))
    lots = together(pairs if config.folders_apart else pairs._replace(group=alone))
    order = np.random.default_rng(config.seed).permutation(len(lots))
    folds: list[list[int]] = [[] for _ in range(config.folds)]
    for lot in sorted(order, key=lambda number: -len(lots[number])):
        min(folds, key=len).extend(lots[lot])
    if min(map(len, folds)) < 2:
        raise InputError(
            f"{config.pairs}: {len(pairs.ids)} pairs in {len(lots)} lots that belong together are "
            f"too few for {config.folds} folds; lower folds, or set folders_apart=false."
        )
    return [np.sort(fold) for fold in folds]


def write_fold(
    pairs: Pairs,
    rows: np.ndarray,
    validation: np.ndarray,
    config: OwnMediaConfig,
    name: str,
    shuffle: bool = False,
) -> Path:
    """Prepare the features of a fold, the sounds of its training clips shuffled if so wished."""
    work = config.features.parent / "folds" / name
    split = np.full(len(pairs.ids), "train", "<U10")
    split[rows], split[validation] = "evaluation", "validation"
    audio = np.array(pairs.audio)
    if shuffle:
        training = np.flatnonzero(split == "train")
        audio[training] = audio[np.random.default_rng(config.seed).permutation(training)]
    arrays = {"visual": pairs.visual, "audio": audio, "ids": pairs.ids, "split": split}
    work.mkdir(parents=True, exist_ok=True)
    np.savez(work / "pairs.npz", **arrays)  # type: ignore[arg-type]
    prepare(PrepareConfig(shards=work / "pairs.npz", out=work / "features", source="a fold"))
    return work


def fit_linear(fold: Path) -> Embed:
    """Fit linear CCA to a fold; return what embeds pairs with it."""
    cca, power = choose_cca(fold / "features")[0][LINEAR]
    return lambda pairs: embed_cca(cca, pairs, power)


def fit_recipe(fold: Path, config: OwnMediaConfig) -> Embed:
    """Train the recipe on a fold; return what embeds pairs with it."""
    train(
        TrainConfig(
            recipe="best",
            features=fold / "features",
            out=fold / "run",
            steps=config.steps,
            batch_size=config.batch_size,
            warmup_steps=max(config.steps // 20, 1),
            validate_every=max(config.steps // 5, 1),
            validation_gallery=16,
            seed=config.seed,
            overwrite=True,
            progress=False,
        )
    )
    model = load_run(fold / "run")[0]
    return lambda pairs: model.embed(pairs.visual, pairs.audio)


def normalised_rank(embedded: Embeddings, rows: np.ndarray) -> float:
    """Return where the match stands among some clips, both ways: 0 first, 1 last, 0.5 by chance."""
    some = Embeddings(embedded.visual[rows], embedded.audio[rows])
    averages = [way.average().mean().item() for way in ranks(some.audio, some.visual)]
    return (sum(averages) / 2 - 1) / (len(rows) - 1)


def find_sounds(
    pairs: Pairs, models: list[Embed], everything: Embeddings, config: OwnMediaConfig
) -> pd.DataFrame:
    """Find the sounds nearest to a video, by the models of all folds joined."""
    if config.video is None:
        return pd.DataFrame({"rank": [], "clip": [], "cosine": []})
    encoders = open_encoders(config.encoders, config.encoder_files)
    visual = embed_file(config.video, "visual", encoders)[None]
    if visual.shape[1] != pairs.visual.shape[1]:
        raise InputError(
            f"{config.pairs} has {pairs.visual.shape[1]} visual features and encoders="
            f"{config.encoders} give {visual.shape[1]}: name those that it was extracted with"
        )
    query = pairs._replace(visual=visual, audio=pairs.audio[:1])
    k = min(config.k, len(pairs.ids))
    cosine, row = nearest(joined([embed(query) for embed in models]).visual, everything.audio, k)
    columns = {"rank": np.arange(1, k + 1), "clip": pairs.ids[row[0]], "cosine": cosine[0].numpy()}
    return pd.DataFrame(columns)


def with_chance(recalls: pd.DataFrame) -> pd.DataFrame:
    """Add what chance gives to recalls of several models."""
    places = recalls[["direction", "gallery", "k"]].drop_duplicates()
    share = 100 * (places["k"] / places["gallery"]).clip(upper=1)
    rank = (places["gallery"] + 1) / 2
    chance = places.assign(model=CHANCE, recall=share, mean_rank=rank, median_rank=rank)
    return pd.concat([recalls, chance], ignore_index=True)


def normalised_ranks(recalls: pd.DataFrame) -> pd.DataFrame:
    """Return the mean normalised rank of each model and gallery, a column a direction."""
    once = recalls[recalls["k"] == KS[0]]
    rank = (once["mean_rank"] - 1) / (once["gallery"] - 1)
    wide = once.assign(rank=rank).pivot(
        index=["gallery", "model"], columns="direction", values="rank"
    )
    order = once[["gallery", "model"]].drop_duplicates()
    return wide.reindex(pd.MultiIndex.from_frame(order)).reset_index().rename_axis(columns=None)


def as_features(pairs: Pairs, config: OwnMediaConfig) -> FeatureSet:
    """Return all pairs as one set of clips."""
    names = pairs.label_names
    starts, indices = numbered(pairs.labels, names)
    ones, shape = np.ones(len(indices), np.float32), (len(pairs.ids), len(names))
    labels = csr_array((ones, indices, starts.astype(np.int32)), shape)
    manifest = read_manifest(config.features)
    noted = (manifest.get("fingerprint", ""), manifest.get("source", config.pairs.stem), "pairs")
    return FeatureSet(pairs.visual, pairs.audio, pairs.ids, labels, names, *noted)


def own_files(config: OwnMediaConfig, page: Path) -> dict[str, dict[str, str]]:
    """Return picture and sound of each clip, relative to a page; {} if they are not here."""
    if not config.media.is_dir():
        return {}
    clips, _ = find_media(ExtractConfig(folder=config.media))
    roles = {"picture": "visual", "sound": "audio"}
    return {
        clip: {
            role: os.path.relpath(files[modality][0], page.parent)
            for role, modality in roles.items()
            if files[modality]
        }
        for clip, files in clips.items()
    }
