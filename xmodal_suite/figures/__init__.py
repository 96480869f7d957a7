"""Pictures of the data, the training and the results: one function, one figure.

Every function takes tidy frames and returns a matplotlib ``Figure``. Importing this package sets
matplotlib to the house style. Room is kept at the bottom of a figure for the source of the data,
which `style.sign` writes there.
"""
# ruff: noqa: F401

from xmodal_suite.figures import style
from xmodal_suite.figures.ablation import learning_curve, study_rows
from xmodal_suite.figures.architecture import architecture
from xmodal_suite.figures.cards import retrieval
from xmodal_suite.figures.data import correlations, feature_norms, label_frequencies, strips
from xmodal_suite.figures.recall import (
    categories,
    methods,
    recall_against_gallery,
    recall_law,
    recall_readings,
)
from xmodal_suite.figures.space import similarity, spaces, umap
from xmodal_suite.figures.training import circles, plain_curve, training_curves
