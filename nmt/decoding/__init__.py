"""Decoding: search for translations, forced decoding, and translation of raw lines.

`beam_search` advances hypotheses; logits processors, candidate selectors and output vocabularies
decide which tokens may follow. `constraints/` holds required phrases and shortlists, `engines/` the
PyTorch and CTranslate2 engines, and `lines/` what a line needs before and after the search.
"""
