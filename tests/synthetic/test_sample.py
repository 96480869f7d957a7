"""The sample: its files, its statistics against the stated targets, and its ceiling."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from xmodal.config import InputError
from xmodal.data.schema import FEATURE_RANGE, read_shard
from xmodal.data.vocabulary import read_vocabulary
from xmodal.synthetic import likelihood, sample
from xmodal.synthetic.generator import Generator
from xmodal.synthetic.likelihood import log_likelihood_ratio
from xmodal.synthetic.sample import SampleConfig, write_sample

CLIPS = 3000


def draw(shared: float, clips: int = CLIPS):
    """Return model, labels, visual and audio features of one drawing."""
    model = Generator(shared, 0, 3862)
    subject, labels = model.draw_labels(clips, np.random.default_rng(1))
    visual, audio = model.draw_features(subject, np.random.default_rng(2))
    return model, labels, visual, audio


@pytest.fixture(scope="module")
def drawn():
    return draw(14.0)


@pytest.fixture(scope="module")
def other():
    return draw(60.0)


def silent(model, audio) -> np.ndarray:
    return (audio == model.silence).all(axis=1)


def kurtosis(features: np.ndarray) -> float:
    z = features - features.mean(axis=0)
    return float(((z**4).mean(axis=0) / (z**2).mean(axis=0) ** 2).mean())


def share_held(features: np.ndarray, first: int) -> float:
    spectrum = np.linalg.eigvalsh(np.cov(features.T))[::-1]
    return float(spectrum[:first].sum() / spectrum.sum())


def recall_at_1(ratio: np.ndarray) -> float:
    return float((ratio.argmax(axis=1) == np.arange(len(ratio))).mean())


# --- files ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> SampleConfig:
    config = SampleConfig(out=tmp_path_factory.mktemp("sample"), clips=70, clips_per_shard=30)
    write_sample(config, progress=False)
    return config


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_shards_hold_what_the_schema_says(written: SampleConfig) -> None:
    shards = sorted((written.out / "shards").iterdir())
    clips = [[*read_shard(shard, written.classes)] for shard in shards]
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
    assert sorted(content(written.out)) == [
        "sample.json",
        "shards/sample0000.tfrecord",
        "shards/sample0001.tfrecord",
        "shards/sample0002.tfrecord",
        "vocabulary.csv",
    ]


def test_same_configuration_gives_same_bytes(written: SampleConfig, tmp_path: Path) -> None:
    write_sample(written.model_copy(update={"out": tmp_path}), progress=False)
    assert content(tmp_path) == content(written.out)


def test_other_seed_gives_other_clips(written: SampleConfig, tmp_path: Path) -> None:
    write_sample(written.model_copy(update={"out": tmp_path, "seed": 1}), progress=False)
    there, here = content(tmp_path), content(written.out)
    assert there.keys() == here.keys()
    assert all(there[name] != here[name] for name in here)


def test_written_sample_is_left_alone(written: SampleConfig) -> None:
    before = {p: p.stat().st_mtime_ns for p in written.out.rglob("*")}
    write_sample(written, progress=False)
    assert {p: p.stat().st_mtime_ns for p in written.out.rglob("*")} == before


def test_another_sample_is_replaced_whole(written: SampleConfig, tmp_path: Path) -> None:
    write_sample(SampleConfig(out=tmp_path, clips=90, clips_per_shard=10), progress=False)
    write_sample(written.model_copy(update={"out": tmp_path}), progress=False)
    assert content(tmp_path) == content(written.out)


def test_interrupted_rewrite_keeps_the_old_sample(tmp_path: Path, monkeypatch) -> None:
    write_sample(SampleConfig(out=tmp_path, clips=20, clips_per_shard=10), progress=False)
    before = content(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sample, "write_records", full)
    with pytest.raises(InputError, match="No space left"):
        write_sample(SampleConfig(out=tmp_path, clips=30), progress=False)
    assert content(tmp_path) == before


def test_as_few_classes_as_can_be_asked_for_make_a_sample(tmp_path: Path) -> None:
    """Their means must span the 128 audio dimensions, less one for each of the 12 topics."""
    (fewest,) = (m.ge for m in SampleConfig.model_fields["classes"].metadata if hasattr(m, "ge"))
    write_sample(SampleConfig(out=tmp_path, clips=20, classes=fewest))
    assert len(read_vocabulary(tmp_path / "vocabulary.csv")) == fewest


def test_foreign_shards_are_refused(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "real.tfrecord").write_bytes(b"precious")
    with pytest.raises(InputError, match="not a sample"):
        write_sample(SampleConfig(out=tmp_path, clips=20), progress=False)
    assert content(tmp_path) == {"shards/real.tfrecord": b"precious"}


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="file"):
        write_sample(SampleConfig(out=tmp_path / "file" / "sample", clips=20), progress=False)


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
    assert kurtosis(visual) == pytest.approx(4.4, abs=0.6)
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
    assert kurtosis(audio) == pytest.approx(2.9, abs=0.3)
    # 3,000 clips in 128 dimensions: noise adds 0.02 to the 0.56 of many clips
    assert share_held(audio, 50) == pytest.approx(0.58, abs=0.03)


def test_norms_of_the_modalities_correlate(drawn) -> None:
    model, _, visual, audio = drawn
    heard = ~silent(model, audio)
    logs = [np.log(np.linalg.norm(some[heard], axis=1)) for some in (visual, audio)]
    assert np.corrcoef(logs)[0, 1] == pytest.approx(0.37, abs=0.06)


def test_marginals_do_not_depend_on_shared(drawn, other) -> None:
    for modality in (2, 3):
        one, two = drawn[modality], other[modality]
        norms = [np.linalg.norm(some, axis=1) for some in (one, two)]
        assert norms[0].mean() == pytest.approx(norms[1].mean(), rel=0.03)
        assert norms[0].std() == pytest.approx(norms[1].std(), rel=0.08)
        assert kurtosis(one) == pytest.approx(kurtosis(two), rel=0.08)
        assert share_held(one, 50) == pytest.approx(share_held(two, 50), abs=0.02)


@pytest.mark.parametrize("shared", [14.0, 60.0])
def test_latents_are_white_and_correlate_as_stated(shared: float) -> None:
    model = Generator(shared, 0, 3862)
    subject, _ = model.draw_labels(10_000, np.random.default_rng(3))
    x, y, _ = model.draw_latents(subject, np.random.default_rng(4))
    x = x[:, : y.shape[1]]
    assert model.prior.sum() == pytest.approx(1)
    for some in (x, y):
        assert some.T @ some / len(some) == pytest.approx(np.eye(128), abs=0.08)
    cross = x.T @ y / len(x)
    assert np.diag(cross) == pytest.approx(model.rho, abs=0.06)
    assert np.abs(cross - np.diag(np.diag(cross))).max() < 0.06


def test_labels_say_something_about_both_modalities(other) -> None:
    """Means of one half's topics fit the other half better than means of shuffled topics."""
    model, labels, visual, audio = other
    topic = model.topic[[some[0] for some in labels]]
    shuffled = np.random.default_rng(6).permutation(topic)
    half = np.arange(len(topic)) < len(topic) // 2
    for features, explained in ((visual, 0.01), (audio, 0.05)):
        left = []
        for by in (topic, shuffled):
            means = np.stack([features[half & (by == t)].mean(axis=0) for t in range(12)])
            left.append(((features[~half] - means[by[~half]]) ** 2).sum())
        assert 1 - left[0] / left[1] > explained


# --- the ceiling ---------------------------------------------------------------------------------


def log_density(point: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    return float(multivariate_normal(mean, covariance).logpdf(point))


def test_gaussian_ratio_of_one_pair() -> None:
    """Correlation 0.6, x = 1, y = 2: (2.4 − 0.36 · 5) / (2 · 0.64) − ln 0.8 = 0.69189."""
    ratio = likelihood._gaussian_ratio(
        np.array([[1.0]]), np.array([[2.0]]), np.ones(1), np.array([0.6])
    )
    assert ratio == pytest.approx(np.array([[0.6 / 1.28 - np.log(0.8)]]))


@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
def test_mixture_ratio_is_that_of_the_densities(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rho = rng.uniform(0.1, 0.9, 3)
    beta = rho * rng.uniform(0.1, 0.95)
    means, prior = rng.standard_normal((4, 3)), rng.dirichlet(np.ones(4))
    x, y = rng.standard_normal((2, 3)), rng.standard_normal((5, 3))
    ratio = likelihood._mixture_ratio(x, y, rho, beta, means, prior)
    one = np.diag(1 - beta)
    both = np.block([[one, np.diag(rho - beta)], [np.diag(rho - beta), one]])
    mu = np.sqrt(beta) * means
    for i in range(2):
        for j in range(5):
            joint, left, right = 0.0, 0.0, 0.0
            for m, p in zip(mu, prior, strict=True):
                pair = np.concatenate([x[i], y[j]])
                joint += p * np.exp(log_density(pair, np.concatenate([m, m]), both))
                left += p * np.exp(log_density(x[i], m, one))
                right += p * np.exp(log_density(y[j], m, one))
            assert ratio[i, j] == pytest.approx(np.log(joint / left / right), abs=1e-9)


def test_latents_are_found_again(drawn) -> None:
    model = drawn[0]
    subject = np.zeros(200, int)
    x, y, g = model.draw_latents(subject, np.random.default_rng(5))
    for modality, latent, truth, error in (
        (model.visual, x, g[:, 0], 0.1),
        (model.audio, y, g[:, 1], 0.6),
    ):
        features = modality.features(latent * modality.scale(truth[:, None]))
        found, scale = modality.latent(features)
        assert np.median(np.abs(scale - truth)) < error
        direction = (found * latent).sum(axis=1)
        direction /= np.linalg.norm(found, axis=1) * np.linalg.norm(latent, axis=1)
        assert direction.min() > 0.98


def test_ceiling_is_monotone_in_shared_and_far_above_chance(drawn, other) -> None:
    found = []
    for shared, (model, _, visual, audio) in ((14.0, drawn), (60.0, other)):
        rows = np.flatnonzero(~silent(model, audio))[:400]
        ratio = log_likelihood_ratio(SampleConfig(shared=shared), visual[rows], audio[rows])
        found.append(recall_at_1(ratio))
    assert 0.4 < found[0] < found[1] - 0.1


def test_ceiling_beats_linear_cca(drawn) -> None:
    """Also a CCA that knows the true directions and correlations of the latent vectors."""
    model, _, visual, audio = drawn
    rows = np.flatnonzero(~silent(model, audio))[:1000]
    x = model.visual.latent(visual[rows])[0][:, :128] * model.rho
    y = model.audio.latent(audio[rows])[0] * model.rho
    cosine = (x / np.linalg.norm(x, axis=1)[:, None]) @ (y / np.linalg.norm(y, axis=1)[:, None]).T
    ratio = log_likelihood_ratio(SampleConfig(shared=14.0), visual[rows], audio[rows])
    assert recall_at_1(ratio) > recall_at_1(cosine) + 0.02


def test_silence_says_nothing(drawn) -> None:
    model, _, visual, audio = drawn
    both = np.stack([model.silence, audio[~silent(model, audio)][0]])
    ratio = log_likelihood_ratio(SampleConfig(shared=14.0), visual[:5], both)
    assert (ratio[:, 0] == 0).all() and (ratio[:, 1] != 0).all()


def test_wrong_shape_is_refused(drawn) -> None:
    with pytest.raises(InputError, match="audio features have the shape"):
        log_likelihood_ratio(SampleConfig(), drawn[2][:3], drawn[2][:3])
