"""Recall of runs, linear CCA, hubness, controls, and relevance by label."""
