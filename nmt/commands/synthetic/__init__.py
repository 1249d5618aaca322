"""Commands that write synthetic parallel text."""
