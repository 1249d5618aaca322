"""Decoding: translate raw lines, and score or rerank given translations.

`translator` and `loading` connect the subpackages: `engines/` for PyTorch and CTranslate2, `lines/`
for what a line needs before and after the search, `search/` for the search over token ids, and
`constraints/` for text that a translation must contain.
"""
