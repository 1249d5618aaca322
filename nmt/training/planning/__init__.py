"""Plan a run: its recipe, its cost, the micro-batch size that fits into memory, and its end."""
