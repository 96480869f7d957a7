"""What is measured for each notebook: by which function, told what by which configuration."""

from importlib import import_module
from typing import Any

#: Notebook, or a further set that one of that number shows → module, its function that measures,
#: its configuration.
STAGES = {
    "01_data": ("xmodal_suite.describe", "measure_data", "DataConfig"),
    "02_train": ("xmodal_suite.describe", "measure_training", "TrainingConfig"),
    "03_recall": ("xmodal_suite.published", "measure_readings", "RecallConfig"),
    "04_umap": ("xmodal_suite.projection", "measure_map", "ProjectionConfig"),
    "05_retrieval": ("xmodal_suite.examples", "measure_examples", "RetrievalConfig"),
    "05_explorer": ("xmodal_suite.explored", "measure_explorer", "ExplorerConfig"),
    "06_beyond": ("xmodal_suite.methods", "measure_methods", "MethodsConfig"),
    "07_study": ("xmodal_suite.study_runs", "measure_study", "AblationConfig"),
    "08_own_media": ("xmodal_suite.own_media", "measure_own_media", "OwnMediaConfig"),
}


def stage_config(notebook: str, values: dict[str, Any]) -> Any:
    """Return the configuration of what is measured for a notebook; InputError if it is wrong."""
    from xmodal.config import InputError, unknown, validated

    if notebook not in STAGES:
        raise unknown("notebook that measures", notebook, STAGES)
    module, _, config = STAGES[notebook]
    try:
        return validated(getattr(import_module(module), config), values)
    except InputError as error:
        raise InputError(f"{notebook}: {error}") from None


def measure_stage(notebook: str, values: dict[str, Any]) -> None:
    """Measure what a notebook shows, whatever was measured before."""
    from xmodal_suite.measurements import measure_now

    config = stage_config(notebook, values)
    module, function, _ = STAGES[notebook]
    measure_now(notebook, config, getattr(import_module(module), function))
