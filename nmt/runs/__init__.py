"""Read run folders without loading models: listings, learning curves, comparisons, model cards."""
