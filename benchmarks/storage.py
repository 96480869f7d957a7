"""Does storing features as float16 cost recall? The paper's network on both, seed by seed.

    python benchmarks/storage.py SHARDS VOCABULARY WORK [--steps 500] [--seeds 0 1 2]

Each model is evaluated on 6,000 clips that it was not trained on; the one trained on float32 is
also evaluated on the float16 features. The results go to `benchmarks/storage.json` and `.md`.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xmodal.data.features import open_features
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.evaluation.recall import embed_run, recall_frame
from xmodal.train import TrainConfig, train

HERE = Path(__file__).parent
GALLERIES = (1024, 6000)
CASES = [("float32", "float32"), ("float32", "float16"), ("float16", "float16")]


def measure(told: argparse.Namespace) -> list[dict[str, Any]]:
    """Train and evaluate; one row a seed, case, direction, gallery size and K."""
    for storage in ("float32", "float16"):
        prepare(
            PrepareConfig(
                shards=told.shards,
                vocabulary=told.vocabulary,
                out=told.work / storage,
                storage=storage,
                validation_clips=3000,
            )
        )
    rows: list[dict[str, Any]] = []
    for seed in told.seeds:
        for storage in ("float32", "float16"):
            train(
                TrainConfig(
                    features=told.work / storage,
                    out=told.work / f"run-{storage}-{seed}",
                    steps=told.steps,
                    seed=seed,
                )
            )
        for trained, evaluated in CASES:
            features = open_features(told.work / evaluated, "evaluation")
            embedded = embed_run(told.work / f"run-{trained}-{seed}", features)
            frame = recall_frame([embedded], GALLERIES, resamples=0)
            case = {"seed": seed, "trained on": trained, "evaluated on": evaluated}
            rows += [
                {**case, **row}
                for row in frame[["direction", "gallery", "k", "recall"]].to_dict("records")
            ]
    return rows


def page(rows: list[dict[str, Any]], told: argparse.Namespace) -> str:
    """Write mean and standard deviation over the seeds as Markdown."""
    frame = pd.DataFrame(rows)
    frame["measure"] = "R@" + frame["k"].astype(str) + ", N = " + frame["gallery"].astype(str)
    cases = ["trained on", "evaluated on"]
    both = frame.groupby([*cases, "measure", "seed"], sort=False)["recall"].mean()
    table = both.groupby([*cases, "measure"], sort=False).agg(
        lambda x: f"{x.mean():.2f} ± {x.std():.2f}"
    )
    wide = both.unstack("measure")
    differences = []
    for trained, evaluated in CASES[1:]:
        change = (wide.loc[(trained, evaluated)] - wide.loc[CASES[0]]).to_numpy()
        differences.append(
            f"- trained on {trained}, evaluated on {evaluated}: {change.mean():+.2f} points on "
            f"average, {np.abs(change).max():.2f} at most"
        )
    return f"""# float16 against float32

Recall in percent, mean of both directions, ± standard deviation over {len(told.seeds)} seeds;
the paper's network after {told.steps} steps.

{table.unstack("measure").reset_index().to_markdown(index=False)}

Against training and evaluating on float32, same seed:

{chr(10).join(differences)}
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards", type=Path, help="folder of real shards")
    parser.add_argument("vocabulary", type=Path)
    parser.add_argument("work", type=Path, help="folder for feature sets and runs")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    told = parser.parse_args()
    rows = measure(told)
    (told.out / "storage.json").write_text(json.dumps(rows, indent=1) + "\n")
    (told.out / "storage.md").write_text(page(rows, told))
    print(page(rows, told))
