"""Read models of Hugging Face's transformers, and run the originals to compare with them."""
