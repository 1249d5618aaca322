"""Evaluate translations: metrics, significance tests, breakdowns, checks of single lines, reports.

Nothing here computes attention; the caller passes it in.
"""
