"""Hand-written forward and backward passes, each tested against the plain equation it replaces.

`selection.py` decides which of them run. benchmarks/LOG.md records what each of them gains.
"""
