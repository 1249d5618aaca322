"""Documents: text to translate with its markup, which follows the words of the translation."""
