"""The config of a run: its YAML schema, reader and writer, and messages about invalid values."""
