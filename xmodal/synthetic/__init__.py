"""The synthetic sample: its labels, its generator, and the likelihood that bounds its recall."""
