"""Own pairs by folds: how they are assigned, what notebook 08 measures of them, what it finds."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import no_umap
import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

import xmodal.media.encoders
import xmodal.media.extract
from xmodal.config import InputError
from xmodal.data.features import SPLITS, open_features
from xmodal.data.pairs import Pairs
from xmodal.evaluation.recall import AUDIO_TO_VIDEO
from xmodal.model import Embeddings
from xmodal_suite.own_media import deal_folds, normalised_rank, own_files, write_fold

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


def test_normalised_rank_is_worked_out_by_hand():
    """Sound 2 lies on picture 0. Ranks of sounds: 1, 1, 2.5 (a tie); of pictures: 1.5, 1, 2."""
    visual = torch.eye(3)
    found = normalised_rank(Embeddings(visual, visual[[0, 1, 0]]), np.arange(3))
    assert found == pytest.approx(0.25)


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
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    for cell in nbformat.read(ROOT / "notebooks/08_own_media.ipynb", 4).cells:
        if cell.cell_type == "code":
            shell.run_cell(cell.source).raise_error()
        if "parameters" in cell.metadata.get("tags", []):
            shell.user_ns |= {"folds": 3, "steps": 10, "batch_size": 8, "resamples": 20, "k": 3}
            folders = ("features", "media", "results", "figures")
            shell.user_ns |= {name: str(folder / name) for name in folders}
            shell.user_ns["pairs"] = str(folder / "pairs.npz")
    yield shell.user_ns
    InteractiveShell.clear_instance()
    here.undo()


def test_a_planted_relation_is_found_by_folds_and_not_by_the_control(notebook: dict[str, Any]):
    among = notebook["wide"].loc[12, AUDIO_TO_VIDEO]
    assert among["linear CCA"] < 0.05 < 0.25 < among["recipe, shuffled pairs"]
    counts = notebook["ranks"].groupby(["model", "gallery", "direction"])["clip"].nunique()
    assert (counts == 36).all()  # each once
    assert notebook["fold_sizes"]["clips"].tolist() == [12] * 9
    by_clip = notebook["ranks"].set_index(["model", "gallery", "direction", "clip"])["better"]
    for number, fold in enumerate(notebook["dealt"]()):
        held_out = open_features(notebook["fold_features"](number), "evaluation")
        assert held_out.ids.tolist() == PAIRS.ids[fold].tolist()
        name = notebook["chosen"]()[number]
        for clip in fold:
            best, same = (by_clip[m, 36, AUDIO_TO_VIDEO, clip] for m in (notebook["CHOSEN"], name))
            assert best == same == notebook["points"][AUDIO_TO_VIDEO][clip] - 1
    assert notebook["neighbours"].groupby(["direction", "query"])["rank"].max().eq(3).all()
    assert notebook["found"]["clip"][0] == "folder2/7" and len(notebook["found"]) == 3


def test_own_files_are_named_relative_to_the_page(tmp_path: Path):
    for name in ("cow.png", "cow.wav", "hen.wav"):
        (tmp_path / name).touch()
    cow, hen = {"picture": "../cow.png", "sound": "../cow.wav"}, {"sound": "../hen.wav"}
    assert own_files(tmp_path, tmp_path / "figures" / "page.html") == {"cow": cow, "hen": hen}


def test_a_silent_copy_has_the_same_pictures_and_no_sound(tmp_path: Path):
    from media_files import av, sine, steady, write_media  # skips where decoding is not installed

    video, out = write_media(tmp_path / "a.mp4", steady(1), tone=sine(1)), tmp_path / "silent.mp4"
    subprocess.run([sys.executable, ROOT / "data/silent_copy.py", video, out], check=True)
    with av.open(str(video)) as before, av.open(str(out)) as after:
        assert [stream.type for stream in after.streams] == ["video"]
        (a, b) = ([f.to_ndarray() for f in one.decode(video=0)] for one in (before, after))
    assert len(a) == 25 and np.array_equal(a, b)
