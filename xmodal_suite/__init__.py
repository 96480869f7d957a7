"""What notebooks and batch share: pictures, tables, provenance, the batch itself."""
