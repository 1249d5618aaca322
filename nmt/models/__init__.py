"""Encoder-decoder models behind one interface, ensembles, and conversions of their weights.

Modules hold the equations of the papers in plain PyTorch; kernels/ holds hand-written gradients.
"""
