"""Read run folders: listings, learning curves, comparisons, model cards."""
