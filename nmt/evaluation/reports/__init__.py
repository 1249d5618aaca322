"""An evaluation as JSON, as tables and as a web page."""
