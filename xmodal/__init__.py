"""Cross-modal embeddings for video and audio retrieval (Surís et al., 2018)."""

from importlib.metadata import version

__version__ = version("xmodal")
