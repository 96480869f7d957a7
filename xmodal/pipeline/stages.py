"""What is measured for each notebook: by which function, told what by which configuration."""

from importlib import import_module
from typing import Any

#: Notebook, or a further set that one of that number shows → module, its function that measures,
#: its configuration.
STAGES = {
    "01_data": ("xmodal.pipeline.describe", "measure_data", "DataConfig"),
    "02_train": ("xmodal.pipeline.describe", "measure_training", "TrainingConfig"),
    "03_recall": ("xmodal.evaluation.published", "measure_readings", "RecallConfig"),
    "04_umap": ("xmodal.retrieval.projection", "measure_map", "ProjectionConfig"),
    "05_retrieval": ("xmodal.retrieval.examples", "measure_examples", "RetrievalConfig"),
    "05_explorer": ("xmodal.retrieval.explorer", "measure_explorer", "ExplorerConfig"),
    "06_beyond": ("xmodal.evaluation.methods", "measure_methods", "MethodsConfig"),
    "07_study": ("xmodal.results.study", "measure_study", "AblationConfig"),
    "08_own_media": ("xmodal.retrieval.own_media", "measure_own_media", "OwnMediaConfig"),
}


def measure_stage(notebook: str, values: dict[str, Any]) -> None:
    """Measure what a notebook shows, whatever was measured before."""
    from xmodal.pipeline.options import unknown, validated
    from xmodal.results.measurements import measure_now

    if notebook not in STAGES:
        raise unknown("notebook that measures", notebook, STAGES)
    name, function, config = STAGES[notebook]
    module = import_module(name)
    measure_now(notebook, validated(getattr(module, config), values), getattr(module, function))
