"""Constraints on translations, before tokens: required phrases, terminology, placeholders."""
