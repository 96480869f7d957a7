"""Embeddings for other programs: the same numbers, in the files that these read."""

from pathlib import Path

import numpy as np
import pytest

from xmodal.config import InputError
from xmodal.data.pairs import read_pairs
from xmodal.retrieval.export import ExportConfig, export
from xmodal.retrieval.index import Index

RECIPE = "yt8m-recipe"


@pytest.mark.parametrize("name", ["deep/clips.npz", "clips.parquet"])
def test_arrays_are_those_of_the_index_and_are_pairs_again(tmp_path: Path, name: str) -> None:
    assert "6,000 clips, 256 dimensions" in export(ExportConfig(run=RECIPE, out=tmp_path / name))
    index, pairs = Index.open(RECIPE), read_pairs(tmp_path / name)
    assert pairs.ids.tolist() == index.ids.tolist()
    for ours, theirs in zip(pairs[:2], index.sides, strict=True):
        np.testing.assert_array_equal(ours, theirs.numpy())
    expected = [sorted(map(str, row)) for row in index.labels]
    assert pairs.labels == expected
    assert [path.name for path in (tmp_path / name).parent.iterdir()] == [Path(name).name]


def test_the_projector_has_a_row_for_each_video_and_each_sound(tmp_path: Path) -> None:
    export(ExportConfig(run=RECIPE, out=tmp_path / "projector"))
    index = Index.open(RECIPE)
    tensors = np.loadtxt(tmp_path / "projector/tensors.tsv", delimiter="\t", max_rows=6001)
    np.testing.assert_allclose(tensors[:6000], index.sides[0].numpy(), atol=1e-5)
    np.testing.assert_allclose(tensors[6000], index.sides[1][0].numpy(), atol=1e-5)
    head, *rows = (tmp_path / "projector/metadata.tsv").read_text().splitlines()
    assert head.split("\t") == ["id", "modality", "labels"] and len(rows) == 12_000
    assert rows[6000].split("\t")[:2] == [index.ids[0], "audio"]
    config = (tmp_path / "projector/projector_config.pbtxt").read_text()
    assert 'tensor_path: "tensors.tsv"' in config and 'metadata_path: "metadata.tsv"' in config


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="file.*cannot be written"):
        export(ExportConfig(run=RECIPE, out=tmp_path / "file/clips.npz"))
