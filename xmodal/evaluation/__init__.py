"""Recall of runs and of ready-made embeddings, CCA, hubness, controls, relevance by label."""
