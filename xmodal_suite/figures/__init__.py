"""Pictures of the data, the training and the results: one function, one figure.

Every function returns a matplotlib ``Figure`` in the house style, leaves matplotlib's own settings
as they were, and raises `xmodal.config.InputError` when a frame lacks a column or has no rows.
``source`` says where the data come from; it is written into a corner.
"""

from xmodal_suite.figures.ablation import learning_curve, study_rows
from xmodal_suite.figures.architecture import architecture
from xmodal_suite.figures.cards import retrieval
from xmodal_suite.figures.data import correlations, feature_norms, label_frequencies
from xmodal_suite.figures.recall import (
    categories,
    methods,
    recall_against_gallery,
    recall_law,
    recall_readings,
)
from xmodal_suite.figures.space import spaces, umap
from xmodal_suite.figures.training import plain_curve, training_curves

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
