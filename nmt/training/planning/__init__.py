"""Before a run: its sizes and schedule, its cost, and the batch size that fits into memory."""
