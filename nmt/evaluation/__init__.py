"""Scores of translations, their significance, and a breakdown of where systems are good."""
