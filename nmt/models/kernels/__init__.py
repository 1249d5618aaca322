"""Hand-written forward and backward passes, each tested against the plain equation it replaces.

`selection.py` decides which kernels run; NMT_KERNELS=reference switches all of them off.
benchmarks/kernels.md records the gain of each kernel.
"""
