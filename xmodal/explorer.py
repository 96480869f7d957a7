"""The explorer: one page, whole in itself, that shows a joint space and searches it."""

import html
import json
import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from xmodal.config import InputError, StageConfig
from xmodal.data.features import FeatureSet
from xmodal.evaluation.recall import AUDIO_TO_VIDEO, VIDEO_TO_AUDIO, directions, nearest
from xmodal.evaluation.relevance import frequent_labels
from xmodal.files import atomic, locked
from xmodal.metrics import ranks
from xmodal.model import Embeddings
from xmodal.search import Gallery, open_gallery
from xmodal.search_options import RUN
from xmodal.youtube8m.resolve import YOUTUBE_ID

PAGE = Path(__file__).with_name("explorer.html")
MOST = 200_000
"""Clips that a page can hold."""
COLOURS = 8
"""Labels that have a colour of their own on the page."""
FREEBASE = "/m/"
"""How the names begin that are ids of Freebase, which say nothing to a reader."""


class ExplorerConfig(StageConfig):
    """What the explorer shows."""

    run: str = Field(description=RUN)
    out: Path = Field(Path("explorer.html"), description="Page to write")
    beside: str | None = Field(None, description="Second run with an index of the same clips")
    clips: int = Field(6000, gt=1, le=MOST, description="Clips on the page, at most")
    k: int = Field(20, gt=0, description="Items that the page holds for each query")
    seed: int = Field(0, ge=0, description="Seed of the clips drawn and of UMAP")


class Space(NamedTuple):
    """What the explorer shows of one model.

    ``points`` has a line a clip: columns clip (its id), labels (a list of names), label (a frequent
    one, or "other"), visual_x, visual_y, audio_x, audio_y (places on the map), cosine (of
    its two halves), audio→video and video→audio (rank of the true match). ``neighbours`` has
    columns direction, query and item (lines of ``points``), rank (from 1) and cosine.
    """

    points: pd.DataFrame
    neighbours: pd.DataFrame


def write_page(config: ExplorerConfig) -> str:
    """Write the explorer of an index, or of two with the same clips; return a sentence on it.

    Clips that lack a modality are left out. InputError if there is no index, fewer than two clips
    remain, or ``out`` cannot be written.
    """
    runs = dict.fromkeys([config.run, config.beside or config.run])
    galleries = {run: open_gallery(run) for run in runs}
    whole = [np.all([s.any(axis=1) for s in g.embedded], axis=0) for g in galleries.values()]
    held = [pd.Index(g.ids[row]) for g, row in zip(galleries.values(), whole, strict=True)]
    ids = held[0].intersection(held[-1], sort=False)
    if len(ids) < 2:
        raise InputError(f"{' and '.join(runs)}: fewer than two whole clips, too few for a map")
    rows = np.random.default_rng(config.seed).permutation(len(ids))[: config.clips]
    drawn = ids[np.sort(rows)]
    spaces = {run: _space(gallery, drawn, config) for run, gallery in galleries.items()}
    page = render_page(spaces, Path(config.run).name, galleries[config.run].youtube)
    with locked(config.out), atomic(config.out) as fresh:
        fresh.write_text(page, encoding="utf-8")
    return f"{config.out}: {len(drawn):,} clips; open it in a browser"


def _space(gallery: Gallery, ids: pd.Index, config: ExplorerConfig) -> Space:
    """Lay out some clips of a gallery, and find the neighbours of each."""
    rows = pd.Index(gallery.ids).get_indexer(ids)
    visual, audio = (side[rows] for side in gallery.embedded)
    embedded = Embeddings(torch.from_numpy(visual), torch.from_numpy(audio))
    carried, names = gallery.labels[rows], [*gallery.names]
    clips = FeatureSet(visual, audio, gallery.ids[rows], carried, names, "", "", "")
    points = points_frame(layout(embedded, config.seed), clips, COLOURS)
    return Space(points.join(match_frame(embedded)), neighbours_frame(embedded, config.k))


def layout(embedded: Embeddings, seed: int = 0) -> np.ndarray:
    """Lay embeddings out in a plane, (2 · clips, 2), all videos first, then all sounds.

    By UMAP, or, where umap-learn is not installed, by the first two principal components.
    """
    vectors = torch.cat(list(embedded[:2]))
    try:
        from umap import UMAP  # compiles for a while on import
    except ImportError:
        centred = vectors - vectors.mean(dim=0)
        axes = torch.linalg.svd(centred, full_matrices=False).Vh[:2]
        return (centred @ axes.T).numpy().round(4)
    options = {"metric": "cosine", "random_state": seed, "n_jobs": 1}
    fit = UMAP(n_neighbors=min(15, len(vectors) - 1), min_dist=0.1, **options)
    return fit.fit_transform(vectors.numpy()).round(4)


def points_frame(plane: np.ndarray, clips: FeatureSet, labels: int) -> pd.DataFrame:
    """Name the points of a map, (2 · clips, 2), all videos first, then all sounds.

    A row a clip: clip (id), labels (a list of names), label (a frequent one, or "other"), visual_x,
    visual_y, audio_x, audio_y.
    """
    points = pd.DataFrame({"clip": [*map(str, clips.ids)]})
    points["labels"] = [clips.labels_of(row) for row in range(len(clips))]
    points["label"] = frequent_labels(clips, labels)
    points[["visual_x", "visual_y", "audio_x", "audio_y"]] = np.hstack(np.split(plane, 2))
    return points


def match_frame(embedded: Embeddings) -> pd.DataFrame:
    """Return the cosine of each clip's own pair, and the rank of its match in both directions."""
    cosine = (embedded.visual * embedded.audio).sum(dim=1).numpy().round(4)
    to_video, to_audio = (own.average() for own in ranks(embedded.audio, embedded.visual))
    return pd.DataFrame({"cosine": cosine, AUDIO_TO_VIDEO: to_video, VIDEO_TO_AUDIO: to_audio})


def neighbours_frame(embedded: Embeddings, k: int, rows: np.ndarray | None = None) -> pd.DataFrame:
    """Return the k nearest items of each clip, or of some rows, in both directions.

    Columns direction, query and item (rows of the clips), rank (1 is nearest), cosine.
    """
    rows = np.arange(len(embedded.visual)) if rows is None else rows
    found = []
    for direction, query, gallery in directions(embedded):
        k = min(k, len(gallery))
        cosine, item = (part.numpy().ravel() for part in nearest(query[rows], gallery, k))
        columns = {"direction": direction, "query": rows.repeat(k)}
        columns |= {"rank": np.tile(np.arange(1, k + 1), len(rows)), "item": item}
        found.append(pd.DataFrame(columns | {"cosine": cosine.round(4)}))
    return pd.concat(found).sort_values(["direction", "query", "rank"], ignore_index=True)


def render_page(
    spaces: Mapping[str, Space],
    source: str,
    youtube_ids: Mapping[str, str | None] | None = None,
    media: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    """Return the explorer as HTML: a map, a search, results and players, in one file.

    It opens from disk and asks for nothing. Pictures and players of YouTube are loaded only when
    the reader allows it.

    Parameters
    ----------
    spaces : mapping
        Name of a model → what is shown of it. The first is shown; a switch shows the others, which
        have the same clips in the same order.
    source : str
        What the data is called.
    youtube_ids : mapping, optional
        Clip id → YouTube id, as `xmodal.youtube8m.resolve.read_youtube_ids` returns it.
    media : mapping, optional
        Clip id → files of your own, played instead: "picture" (an image or a video) and "sound",
        paths relative to the page.

    Raises
    ------
    InputError
        If there are more clips than a page can hold.
    """
    points = next(iter(spaces.values())).points
    if len(points) > MOST:
        raise InputError(f"the explorer holds {MOST:,} clips, not {len(points):,}: draw fewer")
    page = PAGE.read_text(encoding="utf-8")
    known = {clip: youtube_ids.get(clip) for clip in points["clip"]} if youtube_ids else {}
    data = _clips(points) | {
        "spaces": [{"name": name, **_packed_space(space)} for name, space in spaces.items()],
        "youtube": {c: y for c, y in known.items() if y and re.fullmatch(YOUTUBE_ID, y)},
        "media": media
        and {c: {role: quote(path) for role, path in files.items()} for c, files in media.items()},
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    filled = {
        "policy": html.escape(_policy(page, media is not None)),
        "source": html.escape(source),
        "clips": f"{len(points):,}",
        "data": text.replace("<", "\\u003c"),  # no browser takes it for the end of the script
    }
    return re.sub(r"\{\{ (\w+) \}\}", lambda found: filled[found[1]], page)


def _clips(points: pd.DataFrame) -> dict:
    """Return the ids and labels of the clips, and the frequent labels, which have a colour."""
    carried = points["labels"]
    labels = [[name for name in some if not name.startswith(FREEBASE)] for some in carried]
    names = sorted({name for some in labels for name in some})
    number = {name: place for place, name in enumerate(names)}
    frequent = points["label"].where(~points["label"].str.startswith(FREEBASE), "other")
    legend = frequent[frequent != "other"].value_counts().index[:COLOURS].tolist()
    group = frequent.map({name: place for place, name in enumerate(legend)})
    return {
        "ids": points["clip"].tolist(),
        "names": names,
        "labels": [[number[name] for name in some] for some in labels],
        "legend": legend,
        "group": _packed(group.fillna(len(legend)), "u1"),
    }


def _packed_space(space: Space) -> dict:
    """Return what the page shows of a model: arrays of few bytes a number, in base64."""
    points = space.points
    sides = [["visual_x", "visual_y"], ["audio_x", "audio_y"]]
    places = np.concatenate([points[columns].to_numpy(float) for columns in sides])
    places -= places.min(axis=0)
    data: dict = {
        "k": int(space.neighbours["rank"].max()),
        "places": _packed((places / (places.max() or 1) * 65_535).round(), "<u2"),
        "own": _cosines(points["cosine"]),
        **{what: {} for what in ("near", "far", "cosine", "rank")},
    }
    for direction, found in space.neighbours.groupby("direction", sort=False, observed=True):
        found = found.sort_values(["query", "rank"])
        third, low = np.divmod(found["item"].to_numpy(np.int64), 65_536)
        data["near"][direction] = _packed(low, "<u2")
        data["far"][direction] = _packed(third if third.any() else third[:0], "u1")
        data["cosine"][direction] = _cosines(found["cosine"])
        data["rank"][direction] = _packed(points[direction], "<f4")
    return data


def _packed(values: pd.Series | np.ndarray, kind: str) -> str:
    """Return numbers of this kind, little-endian, as base64."""
    return b64encode(np.asarray(values).astype(kind).tobytes()).decode()


def _cosines(values: pd.Series) -> str:
    """Return cosines in two bytes each: −1 is 0 and 1 is 65,535."""
    return _packed(((values.clip(-1, 1) + 1) / 2 * 65_535).round(), "<u2")


def _policy(page: str, local: bool) -> str:
    """Return what the page may load: its own script and style, YouTube, or files beside it."""
    allowed = ["default-src 'none'"]
    for kind in ("script", "style"):
        (own,) = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digest = b64encode(sha256(own.encode()).digest()).decode()
        allowed.append(f"{kind}-src 'sha256-{digest}'")
    files = "img-src 'self' file:; media-src 'self' file:"
    youtube = "frame-src https://www.youtube-nocookie.com; img-src https://i.ytimg.com"
    allowed.append(files if local else youtube)
    return "; ".join([*allowed, "base-uri 'none'", "form-action 'none'"])
