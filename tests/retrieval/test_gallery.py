"""Searching among embedded clips, by id and by label, by hand."""

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from xmodal.config import InputError
from xmodal.data.features import open_features
from xmodal.evaluation.recall import embed_run
from xmodal.model import Embeddings
from xmodal.retrieval.gallery import Gallery, gallery_of, save_gallery, thumbnails
from xmodal.train import TrainConfig, train

NAMES = ("Guitar", "Concert", "Cat", "Flute")


def by_hand(names: tuple[str, ...] = NAMES) -> Gallery:
    """Cosines of the videos (rows) with the sounds (columns), and the labels of the clips.

    ====  ====  ====  =====================
    0.6   0.8   0.0   a: Guitar, Concert
    0.8   0.6   1.0   b: Guitar
    0.0   1.0   0.6   c: Cat
    ====  ====  ====  =====================
    """
    visual = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    audio = torch.tensor([[0.8, 0.6, 0.0], [0.6, 0.8, 0.0], [1.0, 0.0, 0.0]])
    return Gallery(Embeddings(visual, audio), np.array(["a", "b", "c"]), [[0, 1], [0], [2]], names)


def test_the_sounds_of_a_video_with_its_own_one_marked():
    found = by_hand().search(video="a", k=3)
    assert found["id"].tolist() == ["b", "a", "c"]
    assert found["rank"].tolist() == [1, 2, 3]
    assert found["cosine"].tolist() == pytest.approx([0.8, 0.6, 0.0])
    assert found["own"].tolist() == [False, True, False]
    assert found["shared"].tolist() == [1, 2, 0]
    assert found["labels"].tolist() == ["Guitar", "Guitar; Concert", "Cat"]


def test_the_videos_of_a_sound():
    found = by_hand().search(audio="c", k=1)
    assert found.to_dict("records") == [
        {"rank": 1, "id": "b", "labels": "Guitar", "cosine": 1.0, "own": False, "shared": 0}
    ]


@pytest.mark.parametrize(("label", "names"), [("Guitar", NAMES), (0, NAMES), (0, ()), ("0", ())])
def test_a_label_asks_with_the_mean_of_its_clips(label: str | int, names: tuple[str, ...]):
    """Videos of a and b: (0.5, 0.5, 0), of length √0.5; their sounds: (0.7, 0.7, 0)."""
    sounds = by_hand(names).search(label=label, k=3)
    half = 0.5**0.5
    assert sounds["cosine"].tolist() == pytest.approx([1.4 * half, 1.4 * half, half])
    assert set(sounds["id"][:2]) == {"a", "b"}
    assert sounds["shared"].tolist() == [1, 1, 0]
    assert not sounds["own"].any()
    videos = by_hand(names).search(label=label, find="video", k=3)
    assert videos["cosine"].tolist() == pytest.approx([half, half, 0.0])


def test_labels_without_names_are_numbers():
    assert by_hand(()).search(audio="a", k=3)["labels"].tolist() == ["0", "0; 1", "2"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({}, "one query is needed"),
        ({"video": "a", "label": "Cat"}, "one query is needed"),
        ({"video": "A"}, "no clip has the id 'A': the nearest is '[abc]'"),
        ({"label": "guitars"}, "no clip carries the label 'guitars': the nearest is 'Guitar'"),
        ({"label": "Flute"}, "no clip carries the label 'Flute': the nearest is"),
        ({"label": 7}, "no clip carries the label 7"),
        ({"label": "0"}, "no clip carries the label '0'"),
        ({"label": "Cat", "find": "smell"}, "'smell' cannot be found"),
        ({"video": "a", "k": 4}, "asked for 4 neighbours of a gallery of 3"),
    ],
)
def test_a_query_that_cannot_be_answered_is_named_in_one_sentence(query: dict, says: str):
    with pytest.raises(InputError, match=says) as caught:
        by_hand().search(**query)
    assert "\n" not in str(caught.value)


def test_a_name_is_no_label_where_labels_have_numbers():
    with pytest.raises(InputError, match=r"label 'Cat': labels have numbers here, such as '\d'"):
        by_hand(()).search(label="Cat")


def test_clips_of_a_feature_set_keep_their_names(
    related_features: Path, tiny: Callable[..., TrainConfig], tmp_path: Path
):
    train(tiny(tmp_path / "run", steps=20))
    gallery = gallery_of(tmp_path / "run", related_features)
    clips = open_features(related_features, "evaluation")
    embedded = embed_run(tmp_path / "run", clips)
    torch.testing.assert_close(gallery.embedded.visual, embedded.visual)
    found = gallery.search(video=str(clips.ids[5]), k=len(clips)).set_index("id")
    for row, clip in enumerate(clips.ids):
        assert found.loc[clip, "labels"] == "; ".join(clips.labels_of(row))
        both = set(clips.labels_of(5)) & set(clips.labels_of(row))
        assert found.loc[clip, "shared"] == len(both)


def test_an_id_of_two_lines_is_not_shipped(tmp_path: Path):
    both, none = Embeddings(torch.eye(2), torch.eye(2)), np.zeros(3, np.int64)
    with pytest.raises(InputError, match="an id holds a line break"):
        save_gallery(tmp_path, both, np.array(["one", "two\nlines"]), (none, none[:0]))
    assert not list(tmp_path.iterdir())
    save_gallery(tmp_path, both, np.array(["one", "two"]), (none, none[:0]))


def test_thumbnails_of_known_videos_lead_to_them():
    found = by_hand().search(video="a", k=3)
    html = thumbnails(found, {"a": "abcdefghij_", "b": None})
    assert html.count("<img") == 1
    assert '<a href="https://youtu.be/abcdefghij_"><img ' in html
    assert 'src="https://i.ytimg.com/vi/abcdefghij_/mqdefault.jpg" alt="2: Guitar; Concert"' in html


def test_thumbnails_hold_no_html_of_others():
    bad = "\"><script>&'"
    found = pd.DataFrame({"rank": [1], "id": ["a"], "labels": [bad]})
    seen: list[tuple[str, dict]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list) -> None:
            seen.append((tag, dict(attrs)))

    Reader().feed(thumbnails(found, {"a": bad}))
    (_, link), (_, image) = seen
    assert [tag for tag, _ in seen] == ["a", "img"]
    assert image["alt"] == f"1: {bad}"
    assert link["href"] == "https://youtu.be/%22%3E%3Cscript%3E%26%27"
