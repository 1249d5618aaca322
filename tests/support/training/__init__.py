"""Tiny trainers, a reference implementation of training, and a torchrun job."""
