"""Read Marian's own models, the .npz files that it trains."""
