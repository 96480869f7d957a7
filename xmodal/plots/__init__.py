"""Pictures of the data, the training and the results: one function, one figure.

Every function returns a matplotlib ``Figure`` in the house style, leaves matplotlib's own settings
as they were, and raises `xmodal.config.InputError` when a frame lacks a column or has no rows.
``source`` says where the data come from; it is written into a corner.
"""

from xmodal.plots.ablation import learning_curve, study_rows
from xmodal.plots.architecture import architecture
from xmodal.plots.cards import retrieval
from xmodal.plots.data import correlations, feature_norms, label_frequencies
from xmodal.plots.recall import (
    categories,
    methods,
    recall_against_gallery,
    recall_law,
    recall_readings,
)
from xmodal.plots.space import spaces, umap
from xmodal.plots.training import plain_curve, training_curves

__all__ = [
    "architecture",
    "categories",
    "correlations",
    "feature_norms",
    "label_frequencies",
    "learning_curve",
    "methods",
    "plain_curve",
    "recall_against_gallery",
    "recall_law",
    "recall_readings",
    "retrieval",
    "spaces",
    "study_rows",
    "training_curves",
    "umap",
]
