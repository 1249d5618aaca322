"""Evaluation reports for people: tables for terminals and Markdown, and an HTML page."""
