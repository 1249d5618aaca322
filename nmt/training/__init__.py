"""The training loop with its stream of batches, validation and signals.

`optimization/` computes one optimizer step; `checkpoints/`, `monitoring/` and `planning/` save,
observe and plan a run. This package does not import `nmt.decoding`: it receives functions that
validate and translate.
"""
