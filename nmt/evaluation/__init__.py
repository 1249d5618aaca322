"""Evaluate translations: metrics, significance tests, breakdowns, checks of single lines, reports.

Also rerank n-best lists. Nothing here computes attention; the caller passes it in.
"""
