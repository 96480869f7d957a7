"""Cross-modal embeddings for video and audio retrieval (Surís et al., 2018)."""
