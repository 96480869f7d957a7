"""Embed clips once and save them to be searched; add to them, delete some, export them.

How many of the true nearest an inverted file of faiss finds is measured when it is built.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from xmodal import files
from xmodal.checkpoint import load_run
from xmodal.config import InputError
from xmodal.data import features
from xmodal.data.features import SPLITS, FeatureSet
from xmodal.evaluation import hubness
from xmodal.evaluation.recall import require_fit
from xmodal.model import Embeddings
from xmodal.search import CLIPS, DAMAGED, LARGE, NOTE, SIDES, Gallery, open_gallery
from xmodal.search_options import ExportConfig, IndexConfig

BANK = 8192
"""Training clips, at most, that tell which items are hubs; our choice."""
SAMPLES, FOUND = 256, 0.99
"""Queries that measure an inverted file, and the share of their ten nearest it is to find."""


def build_index(config: IndexConfig) -> Gallery:
    """Embed clips with a run and write its index, unless the same index is there already.

    The hubness correction is that of `xmodal.evaluation.hubness`: training clips are the bank of
    queries, and its strength is what does best on validation clips. An index of more than ``exact``
    clips has an inverted file of faiss for each modality; as many of its cells are looked at as it
    takes to find `FOUND` of the ten true nearest, on average of sample queries, which are other
    halves of its own clips. Clips that are added are corrected as those that are there.

    Raises
    ------
    InputError
        If run and features do not fit each other, another index is there, clips to add are in it,
        clips to delete are not, the folder cannot be written, or none is named for an index of
        weights of the package.
    """
    home = files.find_run(config.run)
    if (home / CLIPS).exists() and not config.out:
        raise InputError(f"{config.run} stays as it is: name a folder for the index with --out")
    folder, made_of = config.out or home / "index", dict[str, dict[str, str]]()
    opened, sets = dict[str, FeatureSet](), list[FeatureSet]()
    changes = config.add or config.replace or bool(config.delete)
    if config.features:
        splits = features.read_manifest(config.features).get("splits", {})
        usual = [*SPLITS, *({features.UNPAIRED} & splits.keys())]
        wanted = config.splits or usual
        every = features.open_splits(config.features, *{*wanted, *SPLITS[:2]})
        opened = {one.split: one for one in every}
        sets = [opened[split] for split in wanted]
        require_fit(config.run, sets[0])
        made_of[str(config.features.resolve())] = {one.split: one.fingerprint for one in sets}
    elif not config.delete:
        raise InputError("the clips are missing: name their feature set with --features")
    settings = config.model_dump(mode="json", include={"correct_hubs", "exact"})
    made_by = {"run": str(home.resolve()), "weights": files.digest(home / files.WEIGHTS)}
    made_from = {**made_by, "config": settings, "changed": changes, "sets": made_of}
    with files.locked(folder):
        files.recover(folder)  # a killed process may have left two
        about, earlier = files.read_json(folder / NOTE), None
        if changes:
            earlier = open_gallery(folder)
            held = {path: about["sets"].get(path, {}) | new for path, new in made_of.items()}
            made_from |= {"config": about["config"], "sets": about["sets"] | held}
        elif {name: about.get(name) for name in made_from} == made_from:
            return open_gallery(folder)
        elif about and not config.overwrite:
            raise InputError(f"{folder} holds another index: name another --out, or --overwrite it")
        elif not about:
            files.require_empty(folder, "an index")
        with files.atomic(folder) as work:
            work.mkdir()
            about = made_from | _write(work, config, sets, opened, earlier, folder)
            text = json.dumps(about, indent=1, ensure_ascii=False)
            (work / NOTE).write_text(text + "\n", encoding="utf-8")
    return open_gallery(folder)


def _stay(config: IndexConfig, new: list[np.ndarray], earlier: Gallery) -> np.ndarray:
    """Return the rows of an index that stay when clips, by ids, are added or others deleted."""
    again = np.isin(earlier.ids, np.concatenate([[], *new]).astype(str))
    for clip in earlier.ids[again][: not config.replace]:
        raise InputError(
            f"{clip} and perhaps others are in the index: --replace them, or leave them"
        )
    again[earlier.rows(config.delete)] = True
    return np.flatnonzero(~again)


def _write(
    work: Path,
    config: IndexConfig,
    sets: list[FeatureSet],
    opened: dict[str, FeatureSet],
    earlier: Gallery | None,
    folder: Path,
) -> dict[str, Any]:
    """Write the arrays of an index to an empty folder; return what is noted of them.

    What stays of an ``earlier`` index, in its ``folder``, comes first. ``opened`` has the splits by
    name that the hubness correction is made of.
    """
    model, _ = load_run(config.run)
    correction, bank, exact = hubness.Correction(0, 0), list[torch.Tensor](), config.exact
    tables = [(np.asarray(some.ids), some.labels, some.label_names) for some in sets]
    stay = np.zeros(0, int)
    if earlier:
        stay = _stay(config, [ids for ids, *_ in tables], earlier)
        tables = [(earlier.ids[stay], earlier.labels[stay], [*earlier.names]), *tables]
        exact = earlier.about["config"]["exact"]
        correction = hubness.Correction(**earlier.about["correction"])
        if correction.weight:
            try:
                bank = [torch.from_numpy(np.load(folder / f"{side}_bank.npy")) for side in SIDES]
            except (OSError, ValueError, EOFError):
                raise InputError(DAMAGED.format(folder)) from None
    elif config.correct_hubs and opened:
        train, validation = (opened[split] for split in SPLITS[:2])
        some = train.take(features.evenly(len(train), BANK))
        bank = [*model.embed(some.visual, some.audio)[:2]]
        embedded = model.embed(validation.visual, validation.audio)
        correction = hubness.choose_correction(embedded, Embeddings(*bank), validation)

    def embedded_clips() -> Iterator[list[np.ndarray]]:
        """Give vectors and penalties of both modalities, some clips at a time."""
        if earlier:
            for start in range(0, len(stay), features.CHUNK):
                rows = stay[start : start + features.CHUNK]
                yield [x[rows] for x in (*earlier.embedded, *earlier.penalty)]
        for one in sets:
            for visual, audio in features.read_chunks(one.visual, one.audio):
                both = model.embed(visual, audio)
                pulls = [torch.zeros(len(visual), 1) for _ in SIDES]
                if correction.weight:
                    pulls = hubness.attraction(both, Embeddings(*bank), correction.sharpness)
                for side, pull in zip(both[:2], pulls, strict=True):
                    pull *= correction.weight
                    lost = ~side.isfinite().all(dim=1)
                    side[lost], pull[lost] = 0, math.inf
                yield [x.numpy() for x in (*both[:2], *(pull[:, 0] for pull in pulls))]

    ids = np.concatenate([ids for ids, *_ in tables])
    if not len(ids):
        raise InputError(f"{folder} would hold no clip: delete fewer, or remove the folder")
    shape, paths = (len(ids), model.dim), [work / f"{side}.npy" for side in SIDES]
    penalties = list[list[np.ndarray]]()
    bar = tqdm(desc="embedding", total=len(ids), unit="clip", disable=None)
    v, a = (features.begin_rows(path, "<f4", shape) for path in paths)
    with bar, v, a:
        for visual, audio, *penalty in embedded_clips():
            v.write(visual.tobytes())
            a.write(audio.tobytes())
            penalties.append(penalty)
            bar.update(len(visual))
    names = [*dict.fromkeys(name for *_, own in tables for name in own)]
    number = {name: at for at, name in enumerate(names)}
    indices = [np.array([number[n] for n in own], np.int32)[t.indices] for _, t, own in tables]
    counts = np.concatenate([[0], *(np.diff(table.indptr) for _, table, _ in tables)])
    arrays = {"ids": ids, "label_indptr": np.cumsum(counts, dtype=np.int64)}
    arrays["label_indices"] = np.concatenate(indices)
    for at, side in enumerate(SIDES):
        arrays[f"{side}_penalty"] = np.concatenate([both[at] for both in penalties])
        arrays |= {f"{side}_bank": bank[at].numpy()} if bank else {}
    for name, values in arrays.items():
        np.save(work / f"{name}.npy", values)
    found = []
    if len(ids) > exact:
        sides = [np.load(path, mmap_mode="r") for path in paths]
        for name, items, queries in zip(SIDES, sides, sides[::-1], strict=True):
            path, lost = work / f"{name}.faiss", arrays[f"{name}_penalty"]
            found.append(write_parts(path, items, lost, queries))
    noted = {"correction": correction._asdict(), "found": found}
    return {"clips": len(ids), "label_names": names, **noted}


def write_parts(path: Path, vectors: np.ndarray, penalty: np.ndarray, queries: np.ndarray) -> float:
    """Write an inverted file of faiss; return the share of the ten true nearest that it finds.

    The penalty is one more dimension, in which a query is −1: the inner product is then what ranks.
    """
    faiss = files.optional("faiss", LARGE)
    present = np.flatnonzero(np.isfinite(penalty))
    cells, size = int(4 * math.sqrt(len(present))), vectors.shape[1] + 1
    index = faiss.index_factory(size, f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
    rng = np.random.default_rng(0)

    def rows(some: np.ndarray) -> np.ndarray:
        return np.hstack([vectors[some], penalty[some, None]]).astype(np.float32)

    index.train(rows(np.sort(rng.choice(present, min(len(present), 64 * cells), replace=False))))
    for start in range(0, len(present), features.CHUNK):
        some = present[start : start + features.CHUNK]
        index.add_with_ids(rows(some), some)
    asked = queries[np.sort(rng.choice(len(queries), min(len(queries), SAMPLES), replace=False))]
    asked = np.hstack([asked, np.full((len(asked), 1), -1)]).astype(np.float32)
    index.nprobe = cells
    _, true = index.search(asked, 10)
    index.nprobe, found = 4, 0.0
    while found < FOUND and index.nprobe < cells:
        index.nprobe = min(cells, 2 * index.nprobe)
        _, near = index.search(asked, 10)
        found = float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(near, true, strict=True)]))
    faiss.write_index(index, str(path))
    return found


def export(config: ExportConfig) -> str:
    """Write the embeddings of an index as NumPy arrays or Parquet; return a sentence on it.

    A row a clip, as `xmodal.data.pairs` reads them: visual, audio (unit vectors, float32; NaN where
    a clip lacks the modality), ids, and labels, lists in Parquet, joined by ``|`` in an array.
    InputError if there is no index, a label holds ``|``, or ``out`` cannot be written.
    """
    if config.out.suffix not in (".npz", ".parquet"):
        raise InputError(f"{config.out} ends neither in .npz nor in .parquet: name another file")
    gallery = open_gallery(config.run)
    labels, arrays = [gallery.labels_of(row) for row in range(len(gallery.ids))], dict[str, Any]()
    for name, side in zip(SIDES, gallery.embedded, strict=True):
        arrays[name] = np.where(side.any(axis=1, keepdims=True), side, np.float32("nan"))
    with files.locked(config.out), files.atomic(config.out) as fresh, fresh.open("wb") as file:
        if config.out.suffix == ".npz":
            for name in [name for name in gallery.names if "|" in name]:
                raise InputError(f"{config.out} cannot hold the label {name!r}: write a .parquet")
            np.savez(file, ids=gallery.ids, labels=[*map("|".join, labels)], **arrays)
        else:
            columns = {name: list(rows) for name, rows in arrays.items()}
            pd.DataFrame({**columns, "ids": gallery.ids, "labels": labels}).to_parquet(file)
    return f"{config.out}: {len(labels):,} clips, {side.shape[1]} dimensions"
