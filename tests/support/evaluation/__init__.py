"""System outputs, explanations, evaluation pages, and a baseline of word alignment."""
