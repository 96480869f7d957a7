"""The synthetic sample: its generator, its labels, and the likelihood that bounds its recall."""
