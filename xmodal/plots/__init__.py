"""Pictures of the data, the training and the results: one function, one figure.

Every function returns a matplotlib ``Figure`` in the house style and leaves matplotlib's own
settings as they were. ``source`` says where the data come from; it is written into a corner.
"""

from xmodal.plots.cards import retrieval
from xmodal.plots.categories import categories
from xmodal.plots.features import correlations, feature_norms, label_frequencies
from xmodal.plots.law import recall_law
from xmodal.plots.methods import methods
from xmodal.plots.recall import recall_against_gallery, recall_against_published
from xmodal.plots.schematic import architecture
from xmodal.plots.space import umap
from xmodal.plots.study import learning_curve, study_rows
from xmodal.plots.training import training_curves

__all__ = [
    "architecture",
    "categories",
    "correlations",
    "feature_norms",
    "label_frequencies",
    "learning_curve",
    "methods",
    "recall_against_gallery",
    "recall_against_published",
    "recall_law",
    "retrieval",
    "study_rows",
    "training_curves",
    "umap",
]
