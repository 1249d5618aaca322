"""The settings: the YAML schema, its reader and writer, and the messages about invalid values."""
