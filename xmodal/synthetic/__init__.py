"""The synthetic sample: its labels, its generator, and the likelihood that bounds its recall."""

SOURCE = "synthetic sample"
"""What figures and tables made from it say of where their clips come from."""
