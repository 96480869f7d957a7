"""Looking into the joint space: examples of retrieval, and its map."""
