"""Plan a run: recipes for its sizes, its cost, and the micro-batch size that fits into memory."""
