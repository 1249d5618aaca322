"""Evaluation reports: the JSON report, tables for terminals and Markdown, and an HTML page."""
