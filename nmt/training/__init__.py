"""The training loop, the loss, the optimizer and validation.

This package does not import `nmt.decoding`: it receives functions that validate and translate.
"""
