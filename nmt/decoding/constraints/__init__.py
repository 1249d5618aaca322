"""Constraints on translations: required phrases, terminology, placeholders, shortlists."""
