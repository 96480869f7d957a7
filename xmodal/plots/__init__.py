"""Pictures of the data, the training and the results: one function, one figure.

Every function returns a matplotlib ``Figure`` in the house style and leaves matplotlib's own
settings as they were. ``source`` says where the data come from; it is written into a corner.
"""

from xmodal.plots.cards import retrieval
from xmodal.plots.categories import categories
from xmodal.plots.features import correlations, feature_norms, label_frequencies
from xmodal.plots.recall import recall_against_gallery, recall_against_published
from xmodal.plots.schematic import architecture
from xmodal.plots.space import umap
from xmodal.plots.training import training_curves
from xmodal.provenance import Provenance, save_figure, save_table

__all__ = [
    "Provenance",
    "architecture",
    "categories",
    "correlations",
    "feature_norms",
    "label_frequencies",
    "recall_against_gallery",
    "recall_against_published",
    "retrieval",
    "save_figure",
    "save_table",
    "training_curves",
    "umap",
]
