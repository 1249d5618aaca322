"""Commands that prepare and check text."""
