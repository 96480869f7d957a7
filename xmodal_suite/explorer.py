"""The explorer: one page, whole in itself, that shows the joint space and searches it."""

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import jinja2
import numpy as np
import pandas as pd

from xmodal.config import InputError
from xmodal.youtube8m.resolve import YOUTUBE_ID
from xmodal_suite.figures.space import label_colours
from xmodal_suite.figures.style import INK

PAGE = Path(__file__).with_name("explorer.html")
MOST = 65_535
"""Clips that a page can hold: rows are written in two bytes."""


def explorer_page(
    points: pd.DataFrame,
    neighbours: pd.DataFrame,
    source: str,
    youtube_ids: Mapping[str, str | None] | None = None,
    media: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    """Return the explorer as HTML: a map, a search, results and players, in one file.

    It opens from disk and asks for nothing. Players of YouTube are loaded only when the reader
    allows it.

    Parameters
    ----------
    points : DataFrame
        A line a clip. Columns clip (its id), labels (names, joined by "; "), label (a frequent one,
        or "other"), visual_x, visual_y, audio_x, audio_y (places on the map), cosine (of its two
        halves), audio→video and video→audio (rank of the true match).
    neighbours : DataFrame
        Columns direction, query and item (lines of ``points``), rank (from 1) and cosine.
    source : str
        What the data is called.
    youtube_ids : mapping, optional
        Clip id → YouTube id, as `xmodal.youtube8m.resolve.read_youtube_ids` returns it.
    media : mapping, optional
        Clip id → files of your own, played instead: "picture" (an image or a video) and "sound",
        paths relative to the page.
    """
    if len(points) > MOST:
        raise InputError(f"the explorer holds {MOST:,} clips, not {len(points):,}: draw fewer")
    page = PAGE.read_text(encoding="utf-8")
    data = _data(points, neighbours)
    known = {clip: youtube_ids.get(clip) for clip in points["clip"]} if youtube_ids else {}
    data["youtube"] = {c: y for c, y in known.items() if y and re.fullmatch(YOUTUBE_ID, y)}
    data["media"] = media and {
        clip: {role: quote(path) for role, path in files.items()} for clip, files in media.items()
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    template = jinja2.Environment(autoescape=True, keep_trailing_newline=True).from_string(page)
    return template.render(
        policy=_policy(page, media is not None),
        source=source,
        clips=f"{len(points):,}",
        data=text.replace("<", "\\u003c"),  # no browser takes it for the end of the script
    )


def _data(points: pd.DataFrame, neighbours: pd.DataFrame) -> dict:
    """Return what the page shows: arrays of few bytes a number, in base64, and texts."""
    labels = [text.split("; ") if text else [] for text in points["labels"]]
    names = sorted({name for some in labels for name in some})
    number = {name: place for place, name in enumerate(names)}
    colours = label_colours(points, 8)  # as on the static map
    group = {name: place for place, name in enumerate(colours)}
    maps = [["visual_x", "visual_y"], ["audio_x", "audio_y"]]
    places = np.concatenate([points[columns].to_numpy(float) for columns in maps])
    places -= places.min(axis=0)
    data = {
        "ids": points["clip"].tolist(),
        "names": names,
        "labels": [[number[name] for name in some] for some in labels],
        "legend": [
            {"name": name, "colour": "" if colour == INK else colour}  # ink is pale on a dark page
            for name, colour in colours.items()
        ],
        "group": _packed(points["label"].map(group).fillna(len(group)), "u1"),
        "places": _packed((places / (places.max() or 1) * 65535).round(), "<u2"),
        "own": _cosines(points["cosine"]),
        "k": int(neighbours["rank"].max()),
        "near": {},
        "cosine": {},
        "rank": {},
    }
    for direction, found in neighbours.groupby("direction", sort=False, observed=True):
        found = found.sort_values(["query", "rank"])
        data["near"][direction] = _packed(found["item"], "<u2")
        data["cosine"][direction] = _cosines(found["cosine"])
        data["rank"][direction] = _packed(points[direction], "<f4")
    return data


def _packed(values: pd.Series | np.ndarray, kind: str) -> str:
    """Return numbers of this kind, little-endian, as base64."""
    return b64encode(np.asarray(values).astype(kind).tobytes()).decode()


def _cosines(values: pd.Series) -> str:
    """Return cosines in two bytes each: −1 is 0 and 1 is 65,535."""
    return _packed(((values.clip(-1, 1) + 1) / 2 * 65535).round(), "<u2")


def _policy(page: str, local: bool) -> str:
    """Return what the page may load: its own script and style, players, and files beside it."""
    allowed = ["default-src 'none'"]
    for kind in ("script", "style"):
        (own,) = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digest = b64encode(sha256(own.encode()).digest()).decode()
        allowed.append(f"{kind}-src 'sha256-{digest}'")
    files = "img-src 'self' file:; media-src 'self' file:"
    allowed.append(files if local else "frame-src https://www.youtube-nocookie.com")
    return "; ".join([*allowed, "base-uri 'none'", "form-action 'none'"])
