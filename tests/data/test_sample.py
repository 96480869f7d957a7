"""The sample: its files, and its statistics against what was measured on YouTube-8M."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kurtosis

from xmodal.config import InputError
from xmodal.data.sample import Generator, SampleConfig, write_sample
from xmodal.data.schema import FEATURE_RANGE, read_shard
from xmodal.data.vocabulary import read_vocabulary


@pytest.fixture(scope="module")
def drawn():
    """Return model, labels, visual and audio features of 3,000 clips."""
    model = Generator(0)
    subject, labels = model.draw_labels(3000, np.random.default_rng(1))
    visual, audio = model.draw_features(subject, np.random.default_rng(2))
    return model, labels, visual, audio


def silent(model, audio) -> np.ndarray:
    return (audio == model.silence).all(axis=1)


def share_held(features: np.ndarray, first: int) -> float:
    spectrum = np.linalg.eigvalsh(np.cov(features.T))[::-1]
    return float(spectrum[:first].sum() / spectrum.sum())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> SampleConfig:
    config = SampleConfig(out=tmp_path_factory.mktemp("sample"), clips=70, clips_per_shard=30)
    write_sample(config)
    return config


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_shards_hold_what_the_schema_says(written: SampleConfig) -> None:
    shards = sorted((written.out / "shards").iterdir())
    clips = [[*read_shard(shard, 3862)] for shard in shards]
    assert [len(some) for some in clips] == [30, 30, 10]
    flat = [clip for some in clips for clip in some]
    assert len({clip.id for clip in flat}) == 70
    for clip in flat:
        assert len(clip.labels) >= 1 and (np.diff(clip.labels) > 0).all()
        for feature in (clip.visual, clip.audio):
            assert FEATURE_RANGE[0] <= feature.min() and feature.max() <= FEATURE_RANGE[1]
    names = read_vocabulary(written.out / "vocabulary.csv")
    assert len(set(names)) == 3862 and all(names)
    assert "Music" in names[:12] and "Piano lesson" in names
    assert {"sample.json", "shards/sample0002.tfrecord"} < content(written.out).keys()


def test_only_what_is_missing_or_another_sample_is_written_again(
    written: SampleConfig, tmp_path: Path
) -> None:
    write_sample(SampleConfig(out=tmp_path, clips=90, clips_per_shard=10, seed=1))
    there, here = content(tmp_path), content(written.out)
    assert all(there[name] != here[name] for name in here)
    config = written.model_copy(update={"out": tmp_path})
    write_sample(config)
    assert content(tmp_path) == here
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    write_sample(config)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    (tmp_path / "shards" / "sample0001.tfrecord").unlink()
    write_sample(config)
    assert content(tmp_path) == here


def test_foreign_shards_are_refused(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    with pytest.raises(InputError, match="sample"):
        write_sample(SampleConfig(out=tmp_path, clips=20))
    assert not content(tmp_path)


# --- statistics: the targets are those measured on YouTube-8M ------------------------------------


def test_labels_are_like_those_of_youtube_8m(drawn) -> None:
    model, labels, _, _ = drawn
    count = np.array([len(some) for some in labels])
    assert count.mean() == pytest.approx(3.0, abs=0.1)
    assert (count == 1).mean() == pytest.approx(0.25, abs=0.03)
    frequency = np.bincount(np.concatenate(labels), minlength=3862) / len(labels)
    assert frequency[0] == pytest.approx(0.19, abs=0.03)
    assert 100 * frequency[50:150].mean() == pytest.approx(0.4, rel=0.2)  # about 0.4 / rank
    assert all(len(set(model.topic[some])) == 1 for some in labels)


def test_visual_statistics(drawn) -> None:
    visual = drawn[2]
    norm = np.linalg.norm(visual, axis=1)
    assert norm.mean() == pytest.approx(13.7, abs=0.7)
    assert norm.std() == pytest.approx(5.5, abs=0.5)
    assert visual[:, :2].std() == pytest.approx(0.81, abs=0.05)
    assert visual[:, -50:].std() == pytest.approx(0.40, abs=0.02)
    assert kurtosis(visual, fisher=False).mean() == pytest.approx(4.4, abs=0.6)
    assert np.abs(visual.mean(axis=0)).max() < 0.06
    # 3,000 clips in 1,024 dimensions: noise adds 0.07 to the 0.23 of many clips
    assert 0.23 < share_held(visual, 100) < 0.32


def test_audio_statistics(drawn) -> None:
    model, _, _, audio = drawn
    is_silent = silent(model, audio)
    assert is_silent.mean() == pytest.approx(0.014, abs=0.007)
    audio = audio[~is_silent]
    norm = np.linalg.norm(audio, axis=1)
    assert norm.mean() == pytest.approx(7.5, abs=0.4)
    assert norm.std() == pytest.approx(2.1, abs=0.25)
    assert audio[:, 0].std() == pytest.approx(0.96, abs=0.06)
    assert audio[:, -12:].std() == pytest.approx(0.61, abs=0.03)
    assert kurtosis(audio, fisher=False).mean() == pytest.approx(2.9, abs=0.3)
    # 3,000 clips in 128 dimensions: noise adds 0.02 to the 0.56 of many clips
    assert share_held(audio, 50) == pytest.approx(0.58, abs=0.03)


def test_norms_of_the_modalities_correlate(drawn) -> None:
    model, _, visual, audio = drawn
    heard = ~silent(model, audio)
    logs = [np.log(np.linalg.norm(some[heard], axis=1)) for some in (visual, audio)]
    assert np.corrcoef(logs)[0, 1] == pytest.approx(0.37, abs=0.06)


def test_latents_are_white_and_correlate_as_stated() -> None:
    model = Generator(0)
    subject, _ = model.draw_labels(10_000, np.random.default_rng(3))
    x, y, _ = model.draw_latents(subject, np.random.default_rng(4))
    x = x[:, : y.shape[1]]
    assert model.prior.sum() == pytest.approx(1)
    for some in (x, y):
        assert some.T @ some / len(some) == pytest.approx(np.eye(128), abs=0.08)
    cross = x.T @ y / len(x)
    assert np.diag(cross) == pytest.approx(model.rho, abs=0.06)
    assert np.abs(cross - np.diag(np.diag(cross))).max() < 0.06
