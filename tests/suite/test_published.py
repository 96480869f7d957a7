"""The two readings of the published tables, by hand."""

import pandas as pd
import pytest

from xmodal.evaluation.recall import AUDIO_TO_VIDEO, VIDEO_TO_AUDIO
from xmodal_suite.published import DIMENSIONS, GALLERIES, compare_readings, published, same_share


@pytest.fixture
def rows() -> pd.DataFrame:
    """Galleries 2 points above the published numbers, dimensions 10 below, of 6,000 clips."""
    paper = published().assign(low=0.0, high=100.0)
    galleries = paper.assign(recall=paper["recall"] + 2).rename(columns={"row": "gallery"})
    more = galleries.assign(gallery=galleries["gallery"] + 1)  # no row of the paper
    dimensions = paper.assign(recall=paper["recall"] - 10, gallery=6000)
    return compare_readings(
        dimensions.rename(columns={"row": "embedding_dim"}), pd.concat([galleries, more])
    )


def test_readings_stand_beside_the_published_numbers_and_chance(rows: pd.DataFrame):
    frame = rows.set_index(["row", "direction", "k", "reading"])["recall"].sort_index()
    assert frame[512, VIDEO_TO_AUDIO, 5].to_dict() == {
        "published": 38.0,
        GALLERIES: 40.0,
        DIMENSIONS: 28.0,
        "chance, galleries": pytest.approx(100 * 5 / 512),
        "chance, all clips": pytest.approx(100 * 5 / 6000),
    }
    assert len(frame) == 5 * 18 and set(rows["row"]) == {256, 512, 1024}


def test_pairs_of_the_same_share_by_hand(rows: pd.DataFrame):
    table = same_share(rows)
    assert table[["first", "second"]].drop_duplicates().values.tolist() == [
        ["R@5, row 256", "R@10, row 512"],
        ["R@5, row 512", "R@10, row 1024"],
    ]
    # the paper: 52.0, 52.0 and 39.5, 39.6 one way, 51.7, 51.5 and 38.0, 40.3 the other
    assert table["direction"].tolist() == [AUDIO_TO_VIDEO] * 2 + [VIDEO_TO_AUDIO] * 2
    assert table.columns[3:].tolist() == ["published", GALLERIES, DIMENSIONS]
    for reading in table.columns[3:]:
        assert table[reading].tolist() == pytest.approx([0, 0.1, -0.2, 2.3])
