"""Recall of runs, beside the published tables, controls and other methods."""
