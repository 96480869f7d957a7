"""Controls: each must score what is known beforehand, and a ranking that leaks is refused."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from by_hand import by_hand

from xmodal.config import InputError
from xmodal.data.features import FeatureSet, open_features
from xmodal.data.schema import read_columns
from xmodal.evaluation import controls
from xmodal.evaluation.controls import frame_counts
from xmodal.metrics import ranks, recall
from xmodal.model import Embeddings


def clips(
    visual: np.ndarray, audio: np.ndarray, labels: Sequence[Sequence[int]] = ()
) -> FeatureSet:
    return by_hand(labels or [[0]] * len(visual), visual, audio)


def recall_at_1(embedded: Embeddings) -> float:
    return recall(ranks(embedded.visual, embedded.audio)[0], ks=(1,), resamples=0).recall[0]


def test_shuffled_pairs_score_chance():
    unit = torch.nn.functional.normalize(torch.randn(3000, 8), dim=1)
    assert recall_at_1(Embeddings(unit, unit)) == 1
    found = controls.shuffled(Embeddings(unit, unit))
    assert recall_at_1(found) < 5 / 3000
    assert sorted(found.audio.sum(dim=1).tolist()) == sorted(unit.sum(dim=1).tolist())


def test_norms_match_clips_whose_lengths_have_the_same_order():
    lengths = np.random.default_rng(0).permutation(50)[:, None] + 1.0
    features = clips(lengths * [0.6, 0.8], lengths**2 * [0, 1])  # another scale, the same order
    assert recall_at_1(controls.norms(features)) == 1
    unrelated = clips(lengths * [0.6, 0.8], np.random.default_rng(1).permutation(lengths))
    assert recall_at_1(controls.norms(unrelated)) < 0.2


def test_labels_find_a_clip_among_those_that_share_them_all():
    """By hand: two clips share {0}, one has {0, 1}, one {2}, and one none at all."""
    features = clips(np.ones((5, 2)), np.ones((5, 2)), [[0], [0], [0, 1], [2], []])
    found = controls.labels(features)
    chance = ranks(found.visual, found.audio)[0].hits(1).tolist()
    assert chance == pytest.approx([1 / 2, 1 / 2, 1, 1, 1 / 5])


def averaged(frames: Sequence[int], width: int, seed: int) -> np.ndarray:
    """Means over so many frames of values stored in 8 bits, as YouTube-8M makes them."""
    rng = np.random.default_rng(seed)
    means = [rng.integers(0, 256, (count, width)).mean(axis=0) for count in frames]
    return (np.array(means) * 4 / 255 - 1.9921875).astype(np.float32)


def test_the_number_of_frames_is_read_from_either_modality():
    counts = [2, 7, 60, 119, 120, 121, 150, 240, 299, 300]
    visual, audio = averaged(counts, 1024, 0), averaged(counts, 128, 1)
    assert frame_counts(visual).tolist() == counts
    assert frame_counts(audio).tolist() == counts
    assert recall_at_1(controls.frames(clips(visual, audio))) == 1
    noise = np.random.default_rng(2).uniform(-1.9, 1.9, (10, 128))
    assert frame_counts(noise).tolist() != counts


def test_real_clips_have_as_many_frames_to_see_as_to_hear(real_shards):
    some = read_columns(min((real_shards / "validate").glob("*.tfrecord")))
    seen, heard = frame_counts(some.visual), frame_counts(some.audio)
    sound = heard > 1  # silence is the same number in every frame
    assert sound.mean() > 0.9
    assert (seen == heard)[sound].all()
    assert len(set(seen.tolist())) > 20 and seen.max() <= 360
    rounded = frame_counts(some.visual.astype(np.float16))  # a model that still finds its match
    assert (rounded == seen).mean() < 0.05  # does not count frames: benchmarks/storage.md


@pytest.fixture(scope="module")
def evaluation(related_features: Path) -> FeatureSet:
    return open_features(related_features, "evaluation")


def random_pairs(n: int) -> Embeddings:
    draw = torch.randn(2, n, 8, generator=torch.Generator().manual_seed(0))
    return Embeddings(*torch.nn.functional.normalize(draw, dim=2))


def test_every_control_is_measured_and_chance_is_chance(evaluation: FeatureSet):
    found = controls.controls_frame(evaluation, random_pairs(len(evaluation)), [16, 1024])
    assert len(found) == 6 * 3 and set(found["gallery"]) == {16}
    chance = found[found["control"] == "chance"]
    assert chance["recall"].tolist() == pytest.approx([100 / 16, 500 / 16, 1000 / 16])
    assert set(controls.CHANCE) < set(found["control"])


def test_a_ranking_that_leaks_is_refused(evaluation: FeatureSet, monkeypatch: pytest.MonkeyPatch):
    """As if shuffling did not shuffle: a perfect model then passes for chance."""
    perfect = random_pairs(len(evaluation))
    perfect = Embeddings(perfect.visual, perfect.visual)
    monkeypatch.setattr(controls, "shuffled", lambda embedded: embedded)
    with pytest.raises(InputError, match="shuffled pairs"):
        controls.controls_frame(evaluation, perfect, [16])


@pytest.mark.parametrize("n", [1, 2, 12])
def test_fewer_clips_than_the_smallest_gallery_are_all_ranked(n: int):
    numbers = np.random.default_rng(0).normal(size=(n, 4))
    embedded = Embeddings(*(torch.eye(n),) * 2)
    found = controls.controls_frame(clips(numbers, numbers), embedded, [1024])
    assert set(found["gallery"]) == {n}
    chance = found[found["control"].isin(["chance", "one embedding for all"])]
    assert chance["recall"].to_numpy() == pytest.approx(100 * (chance["k"] / n).clip(upper=1))
