"""Scores by label and tests of a difference by hand; files as other programs read them."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from by_hand import incidence, unit
from sklearn.metrics import average_precision_score, ndcg_score
from torchmetrics.functional.retrieval import retrieval_r_precision

from xmodal.config import InputError
from xmodal.evaluation.measure import CompareConfig, MeasureConfig, compare, measure, paired
from xmodal.evaluation.recall import AUDIO_TO_VIDEO, RANKS, VIDEO_TO_AUDIO, recall_frame
from xmodal.evaluation.relevance import MEASURES, label_scores, relevance_frame
from xmodal.model import Embeddings

# --- relevance by label --------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [[1, 0, 1, 0, 0, 1], [0, 1, 0, 0, 1, 0], [1, 1, 1, 1, 1, 0]])
def test_of_ties_all_orders_are_averaged(shared: list[int]):
    """Three items are tied, and two after them; each order is scored without any tie."""
    tied = torch.tensor([[0.9, 0.5, 0.5, 0.5, 0.1, 0.1]])
    wanted = torch.tensor([shared]).bool()
    orders = itertools.product(itertools.permutations(range(3)), itertools.permutations(range(2)))
    untied = [tied - 0.01 * torch.tensor([[0, *three, *two]]) for three, two in orders]
    expected = torch.stack([label_scores(one, wanted, k=3) for one in untied]).mean(dim=0)
    torch.testing.assert_close(label_scores(tied, wanted, k=3), expected)


def test_label_scores_are_those_of_other_libraries():
    generator = torch.Generator().manual_seed(0)
    similarity = torch.randn(20, 40, generator=generator)
    shared = torch.rand(20, 40, generator=generator) < 0.2
    for k, rough in itertools.product((2, 10), (similarity, similarity.round())):  # with ties, too
        expected = [ndcg_score(w[None], v[None], k=k) for v, w in zip(rough, shared, strict=True)]
        assert label_scores(rough, shared, k)[:, 0].tolist() == pytest.approx(expected)
    found = label_scores(similarity, shared)[:, 1:].tolist()
    for scores, values, wanted in zip(found, similarity, shared, strict=True):
        precision = average_precision_score(wanted.numpy(), values.numpy())
        assert scores == pytest.approx([precision, retrieval_r_precision(values, wanted).item()])
    assert label_scores(similarity, shared & False).isnan().all()


def test_relevance_is_measured_within_galleries_for_queries_with_labels():
    """All similarities are 1: a place holds the query's share of relevant items in its gallery."""
    same, labels = torch.ones(6, 1), incidence([[0], [0], [0], [1], [1], []])
    found = relevance_frame(Embeddings(same, same), labels, [6], seed=0, resamples=10)
    assert found["queries"].eq(5).all() and found["measure"].tolist() == [*MEASURES] * 2
    precision = found[found["measure"] == "R-precision"]
    assert precision["value"].tolist() == pytest.approx([100 * (3 / 6 * 3 + 2 / 6 * 2) / 5] * 2)
    pairs = relevance_frame(Embeddings(same, same), labels, [2], seed=0, resamples=10)
    assert (pairs.query("measure == 'mAP'")["value"] > precision["value"].max()).all()


# --- ready-made embeddings -----------------------------------------------------------------------


def leave_embeddings(folder: Path, n: int = 30, seed: int = 0, dim: int = 6) -> dict[str, Any]:
    """Leave embeddings of various lengths, ids and labels, two of the clips without any."""
    folder.mkdir(exist_ok=True)
    lengths = np.random.default_rng(seed).uniform(0.01, 100, (2, n, 1))
    visual = unit(n, 7, dim)
    both = {"visual": visual, "audio": visual + 0.8 * unit(n, seed, dim)}
    for (name, rows), length in zip(both.items(), lengths, strict=True):
        np.save(folder / f"{name}.npy", rows.numpy().astype(np.float64) * length)
    labels = ["", *("guitar" if i % 3 else "drum|song" for i in range(n - 2)), ""]
    (folder / "ids.txt").write_text("".join(f"clip-{i}\n" for i in range(n)))
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
    files = {name: folder / f"{name}.npy" for name in both}
    return files | {name: folder / f"{name}.txt" for name in ("ids", "labels")}


def test_embeddings_are_ranked_by_cosine_whatever_their_lengths(tmp_path: Path):
    files = leave_embeddings(tmp_path)
    config = MeasureConfig(**files, galleries=[10], resamples=20, seed=3, out=tmp_path / "out")
    found, relevance, controls = measure(config)
    sides = (torch.from_numpy(np.load(files[name])).float() for name in ("visual", "audio"))
    rows = Embeddings(*(torch.nn.functional.normalize(side, dim=1) for side in sides))
    expected = recall_frame([rows], [10, 30], seed=3, resamples=20)
    pd.testing.assert_frame_equal(found.drop(columns="split"), expected)
    assert found["recall"].min() > 0 and set(relevance["gallery"]) == {10, 30}
    assert set(controls["control"]) == {"chance", "shuffled pairs", "one embedding for all"}
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out" / "recall.csv"), found)
    assert set(pd.read_parquet(tmp_path / "out" / RANKS)["clip"]) == {
        f"clip-{i}" for i in range(30)
    }


def test_other_programs_find_the_same_in_a_run_and_its_judgements(tmp_path: Path):
    """nDCG@10 from the two files alone, by its definition, is what was measured."""
    files, trec = leave_embeddings(tmp_path), {n: tmp_path / n for n in ("run", "qrels")}
    _, relevance, _ = measure(MeasureConfig(**files, **trec, resamples=5))
    run = pd.read_csv(trec["run"], sep=" ", names=["query", "Q0", "document", "rank", "score", "_"])
    qrels = pd.read_csv(trec["qrels"], sep=" ", names=["query", "zero", "document", "relevant"])
    assert run["Q0"].eq("Q0").all() and qrels["relevant"].eq(1).all()
    best_first = run.sort_values(["query", "score"], ascending=[True, False])
    assert best_first["rank"].tolist() == [*range(1, 31)] * 60
    judged = best_first.merge(qrels, how="left").query("rank <= 10").fillna({"relevant": 0})
    discount = 1 / np.log2(np.arange(2, 12))
    gain = judged.groupby("query")["relevant"].apply(lambda hits: hits @ discount)
    ideal = qrels.groupby("query").size().map(lambda count: discount[:count].sum())
    assert len(ideal) == 2 * 28 and "video:clip-0" not in ideal
    expected = 100 * (gain / ideal).groupby(lambda query: query[:5]).mean()
    measured = relevance.query("measure == 'nDCG@10'").set_index("direction")["value"]
    assert [*expected] == pytest.approx([measured[AUDIO_TO_VIDEO], measured[VIDEO_TO_AUDIO]])


def test_without_labels_the_match_is_the_judgement_and_a_run_may_be_short(tmp_path: Path):
    files = leave_embeddings(tmp_path, n=4)
    np.savez(tmp_path / "both.npz", **{name: np.load(files[name]) for name in ("visual", "audio")})
    trec = {"qrels": tmp_path / "qrels", "run": tmp_path / "run", "depth": 2}
    _, relevance, _ = measure(MeasureConfig(pairs=tmp_path / "both.npz", **trec))
    lines = (tmp_path / "qrels").read_text().splitlines()
    assert lines[:2] == ["audio:0 0 video:0 1", "audio:1 0 video:1 1"] and len(lines) == 8
    assert len((tmp_path / "run").read_text().splitlines()) == 16 and relevance.empty


def test_embeddings_that_do_not_fit_are_refused_before_anything_is_written(tmp_path: Path):
    good = leave_embeddings(tmp_path / "in")
    visual = np.load(good["visual"])
    np.save(tmp_path / "in" / "wide.npy", np.hstack([visual, visual]))
    np.save(tmp_path / "in" / "nan.npy", np.vstack([visual[1:], visual[:1] * np.nan]))
    (tmp_path / "in" / "few.txt").write_text("a\n")
    (tmp_path / "in" / "spaces.txt").write_text("".join(f"clip {i}\n" for i in range(30)))
    for change, word in (
        ({"audio": None}, "--audio"),
        ({"visual": "wide.npy"}, "width"),
        ({"visual": "nan.npy"}, "NaN"),
        ({"visual": "missing.npy"}, "missing"),
        ({"ids": "few.txt"}, "ids"),
        ({"ids": "spaces.txt"}, "--ids"),
    ):
        files = good | {n: value and tmp_path / "in" / value for n, value in change.items()}
        with pytest.raises(InputError, match=word):
            measure(MeasureConfig(**files, run=tmp_path / "run", out=tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


# --- two systems ---------------------------------------------------------------------------------


def test_a_small_test_is_exact_by_hand():
    """A finds all three at once; B second.

    Of the 8 swaps two leave R@1 as far apart: none and all. Of three ranks the median is always
    one system's 1 and the other's 2, and within five results there is no difference.
    """
    hits = np.array([[100.0, 0], [100, 100], [100, 100]])
    ranks = np.array([1.0, 2])
    both = np.stack([np.tile([*hits[:, i], ranks[i]], (3, 1)) for i in range(2)])
    found = paired(both, resamples=8, seed=0).set_index("measure")
    assert found["difference"].tolist() == [100, 0, 0, -1]
    assert found["p"].tolist() == [2 / 8, 1, 1, 1]
    assert found.loc["R@1", ["a", "b", "low", "high"]].tolist() == [100, 0, 100, 100]


def test_an_interval_is_that_of_the_paired_queries():
    """A finds all that B does and every tenth query more: how hard queries are does not matter."""
    easy, more = np.arange(1000) % 2 == 0, np.arange(1000) % 10 == 1
    sides = [np.stack([100.0 * x] * 3 + [2.0 - x], axis=1) for x in (easy | more, easy)]
    found = paired(np.stack(sides), resamples=400, seed=0).set_index("measure").loc["R@1"]
    deviation = 100 * math.sqrt(0.1 * 0.9 / 1000)
    assert [found["low"], found["high"]] == pytest.approx(
        [10 - 1.96 * deviation, 10 + 1.96 * deviation], abs=0.4
    )
    assert found["p"] == 1 / 401


def measured(folder: Path, name: str, **changes: Any) -> Path:
    files = leave_embeddings(folder, seed=changes.pop("system", 0), n=changes.pop("n", 30))
    measure(MeasureConfig(**files, galleries=[10], resamples=2, out=folder / name, **changes))
    return folder / name


def test_swapping_the_systems_negates_the_difference(tmp_path: Path):
    a, b = (measured(tmp_path, f"system{i}", system=i) for i in (0, 1))
    one, other = (compare(CompareConfig(a=x, b=y, resamples=99)) for x, y in ((a, b), (b, a)))
    assert len(one) == 2 * 2 * 4 and one["difference"].abs().max() > 0
    swapped = {"a": other["b"], "b": other["a"], "difference": -other["difference"]}
    swapped |= {"low": -other["high"], "high": -other["low"]}
    pd.testing.assert_frame_equal(one, other.assign(**swapped))
    assert ((one["low"] <= one["difference"]) & (one["difference"] <= one["high"])).all()
    recall = pd.read_csv(a / "recall.csv").set_index(["direction", "gallery", "k"])["recall"]
    for line in one[one["measure"] != "median rank"].to_dict("records"):
        expected = recall[line["direction"], line["gallery"], int(line["measure"][2:])]
        assert line["a"] == pytest.approx(expected)
    same = compare(CompareConfig(a=a / RANKS, b=a, resamples=9))
    assert same["difference"].eq(0).all() and same["p"].eq(1).all()


def test_ranks_of_other_clips_or_galleries_are_refused(tmp_path: Path):
    ours = measured(tmp_path, "ours")
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(b"PAR1")
    for other, word in (
        (measured(tmp_path, "seed", seed=1), "--seed"),
        (measured(tmp_path, "more", n=31), "clips"),
        (measured(tmp_path, "without", n=20), "clips"),
        (damaged, "damaged"),
        (tmp_path / "nowhere", "nowhere"),
    ):
        with pytest.raises(InputError, match=word):
            compare(CompareConfig(a=ours, b=other))
