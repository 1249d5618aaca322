"""Synthetic parallel text: translate, choose, filter, and write a text set in parts."""
