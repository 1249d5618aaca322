"""Commands that download, check, clean and prepare text."""
