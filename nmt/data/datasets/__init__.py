"""Public parallel text: the catalogue, resumable downloads, and extraction from archives."""
