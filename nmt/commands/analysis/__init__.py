"""Commands that evaluate and explain."""
