"""Public parallel text: the catalogue, downloads, and the archives that hold it."""
