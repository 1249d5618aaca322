"""The sections of the YAML config, one pydantic model per module.

The docstring of a field is user documentation: it appears in the JSON schema and in editors.
"""
