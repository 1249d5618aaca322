"""The section `tokenizer`: the SentencePiece models and the normalization of text."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nmt.config.sections.base import Count, FilePath, Section
from nmt.config.sections.data import FilePair

RESERVED_PIECES = 64
"""Number of pieces that every trained tokenizer reserves for tags."""
VocabSize = Annotated[int, Field(ge=1, le=10**6)]
NormalizationStep = Literal["entities", "nfc", "nfkc", "quotes", "moses", "spaces"]


class VocabSizes(Section):
    """One vocabulary size per side."""

    src: VocabSize
    """Vocabulary size of the source side, in pieces."""
    tgt: VocabSize
    """Vocabulary size of the target side, in pieces."""


class ExtensionConfig(Section):
    """New pieces of a fine-tuning run, which follow those of its parent."""

    pieces: Annotated[int, Field(ge=0, le=10**6)] = 0
    """Maximum number of pieces with new characters to learn from the training text."""
    characters: str | list[Annotated[str, Field(min_length=1, max_length=1)]] = ""
    """Characters to add in any case, as one text or as a list."""


class TokenizerConfig(Section):
    """SentencePiece tokenizer, trained on the training text unless `model` is set."""

    type: Literal["unigram", "bpe", "char", "word"] = "unigram"
    """Type of the SentencePiece model."""
    vocab_size: VocabSize | VocabSizes = 8000
    """Vocabulary size in pieces, or {src: N, tgt: N}; the default shrinks for a small corpus."""
    joint: bool = True
    """One model for both languages instead of one per language."""
    sample_lines: Count = 1_000_000
    """Maximum number of lines per side, sampled at random, that the tokenizer is trained on."""
    normalization: list[NormalizationStep] = []
    """Normalization steps before tokenization, in training and in use (docs/text.md)."""
    sampling: Annotated[float, Field(gt=0, le=1)] | None = None
    """Subword sampling in each epoch: alpha of unigram (Kudo 2018), dropout rate of bpe."""
    model: FilePath | FilePair | None = None
    """Existing SentencePiece model (or one per side) to use instead of training one."""
    extend: ExtensionConfig | None = None
    """Pieces to add to the tokenizer of `train.from`, for a new script or new letters."""

    def vocab_size_of(self, side: str) -> int:
        """Return the vocabulary size of "src", "tgt" or "joint"."""
        sizes = self.vocab_size
        return getattr(sizes, side) if isinstance(sizes, VocabSizes) else sizes
