"""The trainings and fits of `make paper` in one process, with nothing drawn: seconds, as JSON.

    python benchmarks/bare.py WORK

WORK is an empty folder. `benchmarks/fast.py` compares the whole batch with this.
"""

import argparse
import json
import os
import time
from contextlib import redirect_stdout
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from sys import stderr

from xmodal.config import TrainConfig, validated
from xmodal.train import train
from xmodal_suite.dataset import DataConfig, make_data
from xmodal_suite.profile import Profile
from xmodal_suite.stages import STAGES, stage_config
from xmodal_suite.study import read_profile

PROFILE = Path(__file__).resolve().parents[1] / "profiles/sample.yaml"


def bare(profile: Profile) -> dict[str, float]:
    """Make a profile's data, trainings and measurements; return the seconds of each."""
    features, runs = Path("data/features"), Path("runs")
    times = [time.perf_counter()]
    make_data(validated(DataConfig, {**profile.data, "features": features}))
    times.append(time.perf_counter())
    for run, fields in (profile.model_runs() | profile.recipe_runs()).items():
        given = {"features": features, "out": runs / run, "progress": False}
        train(validated(TrainConfig, {**fields, **given}))
    times.append(time.perf_counter())
    models = [runs / model for model in profile.model_runs()]
    recipe = [runs / run for run in profile.recipe_runs()]
    asked = {
        "01_data": profile.data,
        "02_train": {**profile.model_runs()[models[0].name], "out": models[0]},
        "03_recall": {**profile.recall, "runs": models, "dimension": profile.dimension},
        "04_umap": {**profile.projection, "run": models[0]},
        "05_retrieval": {"explorer_run": recipe[0], **profile.retrieval, "run": models[0]},
        "05_explorer": {"run": recipe[0]},
        "06_beyond": {**profile.methods, "run": models[0], "recipe": recipe},
    }
    for name, values in asked.items():
        module, function, _ = STAGES[name]
        getattr(import_module(module), function)(
            stage_config(name, {**values, "features": features})
        )
    times.append(time.perf_counter())
    spent = [end - begun for begun, end in pairwise(times)]
    return dict(zip(("data", "trainings", "fits"), spent, strict=True))


def main() -> None:
    """Print the seconds as the last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    work = parser.parse_args().work
    work.mkdir(parents=True, exist_ok=True)
    os.chdir(work)
    with redirect_stdout(stderr):
        spent = bare(validated(Profile, read_profile(PROFILE)))
    print(json.dumps(spent))


if __name__ == "__main__":
    main()
