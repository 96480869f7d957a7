"""Answer the searches of the command line, and say what a run and its index hold."""

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xmodal.config import InputError
from xmodal.data.features import read_manifest
from xmodal.files import atomic, files_below, find_run, locked, spreadsheet
from xmodal.search import DISTINCT, NOTE, SIDE_OF, SIDES, Gallery, open_gallery
from xmodal.search_options import InfoConfig, SearchConfig


def answer(config: SearchConfig) -> str:
    """Return what `Gallery.search` finds for the queries that are asked on the command line.

    They are text, or a sentence on the file that they are written to. InputError if there is not
    exactly one kind of query, or it cannot be answered.
    """
    queries = (config.video, config.audio, config.ids, config.label, config.features)
    if [*queries, config.file or None].count(None) != len(queries):
        raise InputError("one query is needed: an id, a file of ids, a label, features, or files")
    if config.out and config.out.suffix not in (".csv", ".json", ".parquet"):
        raise InputError(f"{config.out} ends neither in .csv, .json nor .parquet")
    gallery = open_gallery(config.run)
    if config.youtube_ids:
        from xmodal.youtube8m.resolve import read_youtube_ids

        gallery = replace(gallery, youtube=read_youtube_ids(config.youtube_ids))
    asked: dict[str, Any] = {"video": config.video, "audio": config.audio, "label": config.label}
    names, features = list[str](), None
    if config.ids:
        asked["video" if config.find == "audio" else "audio"] = read_lines(config.ids)
    elif config.features:
        features = read_query(config.features)
    elif config.file:
        names, features = embed_files(gallery, config)
    found = gallery.search(
        **asked,
        k=config.k,
        find=config.find,
        features=features,
        where=config.where,
        exclude_own=config.exclude_own,
        distinct=DISTINCT if config.distinct else None,
    )
    if config.mux:
        put_under(names, found, config, gallery)
    if len(names) > 1:
        found["query"] = [names[at] for at in found["query"]]
    elif names:
        found = found.drop(columns="query")
    if config.distinct:
        print(f"left out as nearly the same: {found.attrs['repeated']}", file=sys.stderr)
    found = found.assign(**found[["score", "cosine"]].astype(float).round(4))
    plain = found.assign(labels=found["labels"].map("; ".join))
    forms: dict[str, Callable[[], Any]] = {
        "": lambda: plain.to_string(index=False),
        ".csv": lambda: spreadsheet(plain),
        ".json": lambda: found.to_json(orient="records", force_ascii=False, indent=1),
        ".parquet": lambda: found.to_parquet(index=False),
    }
    if not config.out:
        return forms[".json" if config.as_json else ".csv" if config.as_csv else ""]()
    with locked(config.out), atomic(config.out) as fresh:
        content = forms[config.out.suffix]()
        fresh.write_bytes(content if isinstance(content, bytes) else content.encode())
    return f"{config.out}: {len(found):,} items"


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file that are not empty; InputError if there are none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as text") from error
    if not (found := [line.strip() for line in lines if line.strip()]):
        raise InputError(f"{path}: holds no line")
    return found


def read_query(path: Path) -> np.ndarray:
    """Read features that are queries from an ``.npy`` file; InputError if it holds none."""
    try:
        return np.load(path).astype(np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read as an .npy array of features") from error


def embed_files(gallery: Gallery, config: SearchConfig) -> tuple[list[str], np.ndarray]:
    """Return the names and the features of media files; one that cannot be used is told.

    InputError if none can be used.
    """
    from xmodal.checkpoint import RunFolder
    from xmodal.media.encoders import open_encoders
    from xmodal.media.extract import KINDS, embed_file

    models, needed = (config.visual_model, config.audio_model), RunFolder(gallery.run).encoder()
    encoders = open_encoders(config.encoders, config.encoder_files, models, needed)
    paths = [
        path
        for given in config.file
        for path in (files_below(given) if given.is_dir() else [given])
        if path == given or path.suffix.lower() in KINDS
    ]
    found: dict[str, np.ndarray] = {}
    for path in paths:
        try:
            found[str(path)] = embed_file(path, SIDES[1 - SIDE_OF[config.find]], encoders)
        except InputError as error:
            if len(paths) == 1:
                raise
            print(f"skipped: {error}", file=sys.stderr)
    if not found:
        raise InputError(f"{', '.join(map(str, config.file))}: no file can be a query")
    return [*found], np.stack([*found.values()])


def put_under(
    names: list[str], found: pd.DataFrame, config: SearchConfig, gallery: Gallery
) -> None:
    """Write the file that was the query with the best sound under it, or, with -k, with the k best.

    InputError if the query is not one video, or the sounds' files are not there.
    """
    from xmodal.media.extract import ExtractConfig, find_media
    from xmodal.media.mux import mux

    assert config.mux
    if len(names) != 1 or config.find != "audio":
        raise InputError("--mux needs one --file, a video, and sounds to be found")
    noted = [read_manifest(Path(one)).get("folder") for one in gallery.about.get("sets", {})]
    folder = config.sounds or next(filter(None, noted), None)
    if not folder:
        raise InputError("the clips' files are not known: name their folder with --sounds")
    clips, *_ = find_media(ExtractConfig(folder=folder))
    best = found["id"][: config.k if "k" in config.model_fields_set else 1]
    for rank, clip in enumerate(best, start=1):
        if not clips.get(clip, {}).get("audio"):
            raise InputError(f"{folder} has no sound of {clip}: name another folder with --sounds")
        out = config.mux if rank == 1 else config.mux.with_stem(f"{config.mux.stem}-{rank}")
        mux(Path(names[0]), clips[clip]["audio"][0], out)
        print(f"{out}: with the sound of {clip}", file=sys.stderr)


def described(config: InfoConfig) -> str:
    """Describe a run, and its index if it has one, in lines: sizes, recall, clips, labels."""
    from xmodal.checkpoint import RunFolder, load_run

    run, lines = config.run, dict[str, str]()
    home = None if (Path(run) / NOTE).exists() else find_run(run)
    if home:
        model, trained = load_run(run)
        result, sizes = (RunFolder(home).read(f"{name}.json") for name in ("result", "config"))
        recall, step = 100 * result.get("best_recall", math.nan), result["best_step"] or 0
        lines = {
            "run": run,
            "features": "{visual_dim:,} visual, {audio_dim:,} audio".format(**sizes["sizes"]),
            "embedding": f"{model.dim:,} dimensions",
            "weights": f"{sum(weight.numel() for weight in model.parameters()):,}",
            "training": f"{trained.objective}, seed {trained.seed}, best at step {step:,}",
            "validation": f"Recall@1 {recall:.1f}% among {trained.validation_gallery:,}",
        }
        if (home / "recall.csv").exists():
            measured = pd.read_csv(home / "recall.csv").query("k == 1")
            means = measured.groupby(["split", "gallery"])["recall"].mean()
            told = [
                f"{value:.1f}% among {size:,} ({split})" for (split, size), value in means.items()
            ]
            lines["recall"] = f"Recall@1 {', '.join(told)}"
    try:
        gallery = open_gallery(run)
    except InputError as error:
        if not home:
            raise
        return _lines(lines | {"index": f"none that can be used: {error}"})
    counts = pd.Series(np.asarray(gallery.labels.sum(axis=0)).ravel(), gallery.names).astype(int)
    most = counts[counts > 0].sort_values(ascending=False, kind="stable")
    lines["index"] = str(gallery)
    lines["ids"] = ", ".join(map(str, gallery.ids[:5])) + ", …"
    lines["labels"] = f"{len(most):,}; the most frequent, with their clips:"
    return _lines(lines | {f"  {name}": f"{count:,}" for name, count in most.head(10).items()})


def _lines(values: dict[str, str]) -> str:
    """Return a line for each value, its name before it."""
    width = max(map(len, values)) + 2
    return "\n".join(f"{name:{width}}{value}" for name, value in values.items())
