"""What is said of numbers is what they say."""

import numpy as np
import pandas as pd
import pytest

from xmodal.config import InputError
from xmodal_suite import findings


def test_splits():
    frame = pd.DataFrame(
        {
            "split": ["train", "validation", "evaluation"],
            "clips": [9000, 1000, 2000],
            "silent clips": [9, 1, 30],
            "repeated clips": [1, 0, 0],
            "labels per clip": [3.0, 3.0, 2.96],
        }
    )
    assert findings.splits(frame) == (
        "9,000 clips to learn from and 2,000 to be judged by, with 3.0 labels each. Of the latter "
        "30 (1.5 %) are silent and none is repeated."
    )
    frame.loc[2, "repeated clips"] = 2
    assert findings.splits(frame).endswith("silent and 2 repeated.")


def test_labels():
    frame = pd.DataFrame({"name": ["Game", "Car", None], "clips": [60, 30, 10]})
    said = findings.labels(frame, pd.DataFrame({"labels": [1, 2], "clips": [50, 50]}))
    assert "Game, is on 60 % of the training clips" in said
    assert "half of the 3 labels in use are each on no more than 30 of them" in said
    assert "while the 1 most frequent make up half" in said


def test_lengths_of_one_slope():
    frame = pd.DataFrame({"visual": [1.0, 2, 3], "audio": [3.0, 2, 1]})
    assert findings.lengths(frame) == (
        "The two lengths correlate with r = −1.00: one explains 100 % of the variance of the other."
    )
    assert findings.lengths(frame.assign(audio=2.0)).endswith("so one tells nothing of the other.")


def test_components():
    frame = pd.DataFrame(
        {
            "kind": ["canonical"] * 2 + ["visual"] * 4 + ["audio"] * 2,
            "value": [0.8, 0.05, 4.0, 3, 2, 1, 9, 1],
        }
    )
    said = findings.components(frame)
    assert "correlates with 0.80, the tenth with 0.05; 1 of 2 lie above 0.1" in said
    assert "in 2 of 4 components, half of the audio variance in 1 of 2" in said


def test_a_training_that_reaches_the_switch_and_one_that_does_not():
    history = pd.DataFrame(
        {
            "run": "a",
            "step": [10, 20, 30],
            "cosine": [0.4, 0.3, 0.2],
            "recall_at_1": [5.0, 9.0, 3.0],
        }
    )
    run = {"run": "a", "steps": 30, "λ from step": 20, "best step": 20, "validation R@1": 9.0}
    said = findings.training(pd.DataFrame([{**run, "validation N": 256}]), history)
    assert "best at step 20 of 30: 9.0 % among 256" in said
    assert "cosine loss goes from 0.300 to 0.200 and recall to 3.0 %" in said
    assert "recall, 9.0 % just before, is 3.0 % at its lowest after" in said
    late = pd.DataFrame([{**run, "λ from step": 10_000, "validation N": 256}])
    assert "step 10,000, where λ is switched on, is never reached" in findings.training(
        late, history
    )


def test_a_dozen_lines_beside_chance():
    frame = pd.DataFrame(
        {
            "step": [1, 2],
            "loss": [0.4, 0.1],
            "recall_at_1": [float("nan"), 5.0],
            "gallery": [200, 200],
        }
    )
    assert findings.plain(frame) == (
        "In 2 steps the loss falls from 0.40 to 0.10, and validation Recall@1 among 200 candidates "
        "reaches 5.0 %, 10 times chance."
    )


def readings(ours: float) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"row": 1024, "direction": "a", "k": 1, "reading": "published", "recall": 10.0},
            {
                **{"row": 1024, "direction": "a", "k": 1, "reading": "rows are galleries"},
                **{"recall": ours, "low": ours - 1, "high": ours + 1},
            },
        ]
    )


@pytest.mark.parametrize(
    "ours, words",
    [
        (3.0, "well below half of"),
        (5.0, "about half of"),
        (8, "below"),
        (10, "near"),
        (12, "above"),
    ],
)
def test_the_level_is_told_plainly(ours: float, words: str):
    assert f"{words} the published 10.0 % ({ours / 10:.2f} of it)" in findings.level(readings(ours))


def test_a_table_beside_the_published_one():
    said = findings.against_published(readings(9.5))
    assert "between 0.95 and 0.95 times the published recall, −0.5 points on average" in said
    assert "1 of 1 published numbers lie within" in said
    assert findings.against_published(readings(9.5), "rows are dimensions") == ""


def test_the_law_of_equal_shares():
    pairs = pd.DataFrame(
        {"direction": ["a"] * 2, "first": "x", "second": "y", "published": [0.1, -0.3]}
    )
    assert findings.law(pairs) == (
        "Two recalls with the same K/row differ on average by 0.2 points (published)."
    )


def test_candidates_that_halve_recall_when_they_double():
    frame = pd.DataFrame({"gallery": [16, 64], "k": [1, 1], "recall": [40.0, 10.0]})
    assert "each doubling of the candidates leaves 50 % of it" in findings.candidates(frame)


def test_methods_rise_and_a_gallery_that_was_not_measured_is_refused():
    frame = pd.DataFrame(
        {"gallery": [64] * 3, "k": [1] * 3, "model": ["b", "b", "a"], "recall": [4.0, 6, 2]}
    )
    assert findings.methods(frame, 64).endswith("rising: a 2.0 %, b 5.0 %.")
    with pytest.raises(InputError, match="nothing was measured among 128"):
        findings.methods(frame, 128)


def test_changes_beyond_the_scatter_of_the_seeds():
    rows = {"base": [9.9, 10.1], "up": [14.9, 15.1], "down": [4.9, 5.1], "same": [10.0, 10.2]}
    frame = pd.DataFrame(
        [
            {"row": change, "change": change, "measure": "R@1, N = 64", "recall": recall}
            | {"seed": seed, "step": 9}
            for change, recalls in rows.items()
            for seed, recall in enumerate(recalls)
        ]
    )
    assert findings.changes(frame, 64) == (
        "The first line reaches 10.0 % (base). What gains most: up (+5.0). What loses most: down "
        "(−5.0). 1 of 3 changes move it by no more than twice the scatter of the seeds."
    )
    assert "(within: at most twice the scatter): up (+5.0); same (+0.1, within)." in (
        findings.changes(frame, 64, alone=["same", "up", "not measured"])
    )
    # a row of one seed has the scatter of the others, and no scatter at all judges nothing
    once = frame[(frame["change"] != "same") | (frame["seed"] == 1)]
    assert "1 of 3 changes" in findings.changes(once, 64)
    assert findings.changes(frame[frame["seed"] == 0], 64) == (
        "The first line reaches 9.9 %; one seed each tells no scatter."
    )


def test_laws_that_were_put_to_the_test():
    frame = pd.DataFrame(
        {"method": ["m", "m"], "law": ["power", "log"], "recall": [9.0, 10], "measured": [10.0, 10]}
    ).assign(**{"clips": [400, 600], "fitted to": 200})
    assert findings.held_back(frame) == (
        "On average over 1 methods the predictions are off: the power by 1.0 points and the log by "
        "0.0 points. They are for 2.0 to 3.0 times as many clips as they were fitted to."
    )
    assert findings.held_back(frame[:0]) == "No method has enough sizes to hold one back."


def test_the_space_before_and_after():
    values = {
        "alignment": (2.0, 1.0),
        "modality gap": (0.4, 0.1),
        "label agreement": (0.09, 0.5),
        "label agreement by chance": (0.09, 0.09),
    }
    frame = pd.DataFrame(
        [
            {"state": state, "measure": measure, "modality": modality, "value": value + shift}
            for measure, both in values.items()
            for state, value in zip(("before training", "after training"), both, strict=True)
            for modality, shift in (("audio", 0.01), ("visual", -0.01))
        ]
    )
    assert findings.space(frame) == (
        "Training moves the two halves of a clip closer together (alignment 2.00 → 1.00) and "
        "takes the gap between the modalities from 0.40 to 0.10. Of the ten nearest items of the "
        "other modality 50 % share a label with the query, against 9.0 % before training and 9.0 % "
        "by chance."
    )


def test_pairs_on_the_map():
    frame = pd.DataFrame(
        {
            "map": "after training",
            "modality": ["visual", "audio"] * 3,
            "clip": ["a", "a", "b", "b", "c", "c"],
            "x": [0.0, 1, 5, 9, 9, 5],
            "y": 0.0,
        }
    )  # own distances 1, 4, 4; to the sound of the clip before: 5, 4, 0
    assert "in 33 % of cases" in findings.pairs_on_map(frame)


def test_errors_and_what_correcting_hubs_did():
    frame = pd.DataFrame(
        {
            "method": ["paper", "joined", "corrected", "chance"],
            "R@1": [1.0, 6.0, 7.0, 0.1],
            "misses with a shared label": [40.0, 53.0, 51.0, 9.0],
            "hubs, skewness": [2.2, 2.07, 2.15, None],
            "never found": [7.0, 7.4, 3.6, None],
        }
    )
    said = findings.errors(frame)
    assert said == (
        "Of what “corrected” retrieves first instead of the match, 51 % share a label with the "
        "query; by chance it would be 9 %. Beside “joined”, the items never found go from 7.4 to "
        "3.6 % and R@1 from 6.0 to 7.0 %; the skewness does not fall (2.07 → 2.15)."
    )
    frame.loc[2, "hubs, skewness"] = 1.0
    assert findings.errors(frame).endswith("the skewness falls (2.07 → 1.00).")
    frame.loc[2, "misses with a shared label"] = np.nan
    assert findings.errors(frame).startswith(f"{findings.FOUND} Beside “joined”")


def test_categories_are_named_by_their_recall():
    frame = pd.DataFrame({"label": ["Game", "Car"], "recall": [20.0, 60.0]})
    assert findings.categories(frame) == (
        "Of the 2 most frequent labels, Car has the highest R@10 (60 %) and Game the lowest (20 %)."
    )


def test_near_misses_and_examples():
    frame = pd.DataFrame(
        {
            "label": ["Game", "Car", "Found"],
            "same label first": [60.0, 5.0, np.nan],
            "same label by chance": [20.0, 10.0, 5.0],
        }
    )
    assert findings.near_misses(frame[2:]) == findings.FOUND
    assert findings.near_misses(frame).endswith(
        "most often for Game (60 %, by chance 20 %) and least often for Car (5 %, by chance 10 %)."
    )
    shown = pd.DataFrame(
        {
            "direction": "a",
            "kind": "best",
            "query_id": ["q", "q", "r"],
            "own": [True, False, False],
            "shared": [2, 1, 0],
        }
    )
    assert findings.examples(shown) == (
        "Of 2 queries shown 1 have their own clip among the items beside them; of the other items "
        "1 of 2 share a label with the query."
    )


def test_cca():
    grid = pd.DataFrame({"ridge": [0.3, 0.1], "power": [0.5, 0.0], "validation R@1": [13.7, 13.0]})
    assert "ridge of 0.3 and the power 0.5" in findings.cca(grid)
    assert "plain CCA at its best is 0.7 points below" in findings.cca(grid)
