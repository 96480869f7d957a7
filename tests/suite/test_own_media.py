"""Own pairs by folds: how they are assigned, what notebook 08 measures of them, what it finds."""

import json
import os
import re
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
import no_umap
import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from PIL import Image
from test_graph import Project

import xmodal.media.encoders
import xmodal.media.extract
import xmodal_suite.own_media
from xmodal.config import InputError
from xmodal.data.features import SPLITS, open_features
from xmodal.data.pairs import Pairs
from xmodal.media.decode import NoTrackError, pictures, sound
from xmodal.model import Embeddings
from xmodal_suite.own_media import (
    KIND,
    MATCH,
    answers,
    deal_folds,
    film,
    own_files,
    seen_and_heard,
    write_fold,
)
from xmodal_suite.toys import KINDS, SECONDS, SIDE, frames, samples, toy_of, variations, write_toys

ROOT = Path(__file__).parents[2]


def some_pairs(groups: list[str]) -> Pairs:
    """Pairs whose two sides are linear in the same three numbers."""
    random = np.random.default_rng(0)
    common = random.normal(size=(len(groups), 3))
    visual, audio = ((common @ random.normal(size=(3, n))).astype(np.float32) for n in (5, 4))
    names = np.array([f"{group}/{row}" for row, group in enumerate(groups)])
    return Pairs(visual, audio, names, [[group] for group in groups], np.array(groups))


#: 36 pairs in 12 folders.
PAIRS = some_pairs([f"folder{row // 3}" for row in range(36)])


def test_equal_sounds_stay_together_and_too_few_groups_are_refused():
    pairs = some_pairs(["a"] * 6)
    pairs.audio[3] = pairs.audio[0]
    with pytest.raises(InputError, match="folds"):
        deal_folds(pairs, 3, seed=0)
    folds = deal_folds(pairs._replace(group=np.arange(6)), 3, seed=0)
    assert [len(fold) for fold in folds] == [2, 2, 2]
    assert any({0, 3} <= set(fold) for fold in folds)


def test_ranks_of_the_match_and_of_its_kind_are_worked_out_by_hand():
    """Picture 0 is as near to sound 2, of another kind, as to its own; picture 2 to sound 1."""
    visual = torch.eye(3)
    audio = torch.stack([visual[0], visual[2], visual[0]])
    found = answers(Embeddings(visual, audio), np.array([0, 2]), np.array(["a", "a", "b"]))
    found = found[found["direction"] == "video→audio"].set_index(["sought", "clip"])
    assert found.loc[MATCH, ["better", "tied"]].to_numpy().tolist() == [[0, 2], [1, 2]]
    assert found.loc[KIND, ["better", "tied"]].to_numpy().tolist() == [[0, 2], [1, 2]]
    assert found["right"].tolist() == [1, 1, 2, 1]


@pytest.mark.parametrize("shuffle", [None, 0])
def test_the_control_is_trained_alone_on_other_sounds(tmp_path: Path, shuffle: int | None):
    split = np.repeat(SPLITS, 12)
    write_fold(PAIRS, split, tmp_path, shuffle)
    for name in SPLITS:
        clips = open_features(tmp_path / "features", name)
        rows = [PAIRS.ids.tolist().index(clip) for clip in clips.ids]
        assert set(rows) == set(np.flatnonzero(split == name))
        assert set(map(bytes, clips.audio)) == set(map(bytes, PAIRS.audio[rows]))
        kept = (clips.audio == PAIRS.audio[rows]).all(axis=1).mean()
        assert kept < 0.5 if shuffle == 0 and name == "train" else kept == 1


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Run notebook 08 on the pairs, with the pictures of pair 7 as the video; give its names."""
    folder, here = tmp_path_factory.mktemp("own"), pytest.MonkeyPatch()
    arrays = {name: getattr(PAIRS, name) for name in ("visual", "audio", "ids", "group")}
    np.savez(folder / "pairs.npz", **arrays, labels=PAIRS.group)
    here.chdir(folder)
    here.setitem(sys.modules, "umap", no_umap)
    here.setenv("IPYTHONDIR", str(folder / "ipython"))
    here.setattr(xmodal.media.encoders, "open_encoders", lambda *_: None)
    here.setattr(xmodal.media.extract, "embed_file", lambda *_: PAIRS.visual[7])
    Image.new("RGB", (8, 2)).save(strip := BytesIO(), "PNG")
    none = {"webm": "", "strip": b64encode(strip.getvalue()).decode()}
    here.setattr(xmodal_suite.own_media, "seen_and_heard", lambda *_: none)
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    for cell in nbformat.read(ROOT / "notebooks/08_own_media.ipynb", 4).cells:
        if cell.cell_type == "code":
            shell.run_cell(cell.source).raise_error()
        if "parameters" in cell.metadata.get("tags", []):
            shell.user_ns |= {"folds": 3, "resamples": 20, "k": 3}
            folders = ("features", "media", "results", "figures")
            shell.user_ns |= {name: str(folder / name) for name in folders}
            shell.user_ns["pairs"] = str(folder / "pairs.npz")
    yield shell.user_ns
    InteractiveShell.clear_instance()
    here.undo()


def test_a_planted_relation_is_found_by_folds_and_not_by_the_control(notebook: dict[str, Any]):
    match = notebook["match"].query("direction == 'audio→video' and k == 10")
    recall = match.set_index("model")["recall"]
    for way in ("kinds seen", "kinds not seen"):
        assert recall[f"linear CCA, {way}"] > 90 > recall[f"shuffled pairs, {way}"]
        held_out = [notebook["fold_features"](way, number) for number in range(3)]
        for fold, rows in zip(held_out, notebook["dealt"](way), strict=True):
            assert open_features(fold, "evaluation").ids.tolist() == PAIRS.ids[rows].tolist()
    together = [set(notebook["kinds"]()[rows]) for rows in notebook["dealt"]("kinds not seen")]
    assert [len(kinds) for kinds in together] == [4, 4, 4] and len(set.union(*together)) == 12
    counts = notebook["ranks"].groupby(["model", "sought", "direction"])["clip"].nunique()
    assert (counts == 36).all() and len(counts) == 24  # each once
    assert notebook["neighbours"].groupby(["direction", "query"])["rank"].max().eq(3).all()
    assert "folder2/7" in set(notebook["found"]["clip"]) and len(notebook["found"]) == 3


def test_own_files_are_named_relative_to_the_page(tmp_path: Path):
    for name in ("cow.png", "cow.wav", "hen.wav"):
        (tmp_path / name).touch()
    cow, hen = {"picture": "../cow.png", "sound": "../cow.wav"}, {"sound": "../hen.wav"}
    assert own_files(tmp_path, tmp_path / "figures" / "page.html") == {"cow": cow, "hen": hen}


def test_toys_are_seen_and_heard(tmp_path: Path):
    """At one pitch and tempo the taps of a ball are heard where it is seen on the ground."""
    pytest.importorskip("av", reason="the extra media is not installed")
    write_toys(tmp_path / "toys", 1)
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.webm"))
    assert found == ["silent.webm", *(f"toys/{kind}/00.webm" for kind in sorted(KINDS))]
    for path in (tmp_path / "toys").rglob("*.webm"):
        heard = np.concatenate(list(sound(path, 16_000)))
        assert len(heard) == SECONDS * 16_000 and np.abs(heard).max() > 0.1
        assert len(list(pictures(path))) == SECONDS
    with pytest.raises(NoTrackError):
        list(sound(tmp_path / "silent.webm", 16_000))
    both = seen_and_heard(tmp_path / "toys", tmp_path / "silent.webm", "bird/00")
    (tmp_path / "dubbed.webm").write_bytes(b64decode(both["webm"]))
    assert np.abs(np.concatenate(list(sound(tmp_path / "dubbed.webm", 16_000)))).max() > 0.1


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_variations_of_a_kind_differ_in_picture_and_sound(kind: str):
    low, high = toy_of(0.1, 0.5, 0), toy_of(0.9, 0.5, 0)
    one, two = (np.stack(list(frames(kind, toy))[:12]).astype(int) for toy in (low, high))
    assert one.shape == (12, SIDE, SIDE, 3) and np.abs(one - two).max() > 100
    middle = []
    for toy in (low, high):
        heard = np.abs(np.fft.rfft(samples(kind, toy))) ** 2
        middle.append(heard.cumsum().searchsorted(heard.sum() / 2) / SECONDS)
    assert middle[1] > 2 * middle[0]  # hertz
    assert len({(toy.hertz, toy.rate) for toy in variations(kind, 12)}) == 12


def test_own_files_that_change_are_embedded_again_and_all_that_follows(tmp_path: Path):
    """What a batch left is put in place and touched, which Snakemake notes as if it had run."""
    project, media = Project(tmp_path / "project"), tmp_path / "my dog's"
    media.mkdir()
    (media / "a.mp4").write_bytes(b"1")
    run = "runs/own/best/member-seed0/result.json"
    executed = "figures/own/notebooks/08_own_media.ipynb"
    for left in ("data/own/features.npz", "data/own/features/manifest.json", run, executed):
        (project.folder / left).parent.mkdir(parents=True, exist_ok=True)
        (project.folder / left).touch()
    words = ["--configfile", "profiles/media.yaml", "--cores", "1", "--config", "name=own"]
    words += ["parameters={08_own_media: {video: ''}}"]
    words += [f"extract={{folder: {json.dumps(str(media))}}}"]

    def planned(*options: str) -> set[str]:
        told = project.run(*project.command(*words, *options, "--", "all", run))
        assert told.returncode == 0, told.stderr
        return set(re.findall(r"^(?:local)?rule (\w+):", told.stderr + told.stdout, re.MULTILINE))

    planned("--touch", "--forceall")
    assert planned("--dry-run") == set()
    (media / "b.mp4").write_bytes(b"2")
    os.utime(media / "b.mp4", (0, 0))  # as old as a copy may be
    assert planned("--dry-run") == {"extract", "features", "train", "execute", "all"}


def test_a_file_is_shown_as_a_film_of_so_many_pictures(tmp_path: Path):
    from media_files import RED, write_media, write_picture

    times = [Fraction(n, 10) for n in (0, 5, 6, 7, 8, 9)]
    colours = [(40 * n, 250 - 40 * n, 100) for n in range(6)]
    path = write_media(tmp_path / "varying.mp4", times, colours)
    reds = [picture[..., 0].mean() for picture in film(path, 4, 2)]
    assert np.abs(np.array(reds) - [0, 0, 40, 100, 200, 200, 200, 200]).max() < 28
    still = write_picture(tmp_path / "a.png", np.full((4, 6, 4), (*RED, 255), np.uint8))
    assert [picture.tolist() for picture in film(still, 2, 1)] == [[[list(RED)] * 6] * 4] * 2
