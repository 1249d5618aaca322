"""Engines that a translator can use in place of the beam search of nmt."""
