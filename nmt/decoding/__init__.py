"""From a trained model to translations: search, forced decoding, and lines in and out."""
