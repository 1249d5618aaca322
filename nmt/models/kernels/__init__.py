"""Hand-written forward and backward passes for CPUs, each tested against the plain equation."""
