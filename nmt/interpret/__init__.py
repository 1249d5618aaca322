"""Explain translations by attention: explanations, word alignments, heat maps and HTML pages."""
