"""Train SentencePiece models."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import sentencepiece

from nmt.config.sections.tokenizer import RESERVED_PIECES, TokenizerConfig
from nmt.data.tokenizer import validation
from nmt.data.tokenizer.long_lines import split_trainable_lines
from nmt.data.tokenizer.tokenizer import BOS, EOS, PAD, UNK, Tokenizer
from nmt.errors import DataError

SPECIAL_PIECES = 4
"""Number of special pieces: pad, unk, bos, eos."""
BYTE_PIECES = 256
"""Number of byte pieces."""


class VocabSizeError(DataError):
    """A vocabulary size that the training text does not allow."""

    def __init__(self, limits: Sequence[str], advice: str) -> None:
        """Store the limit of each side, so that a caller can report both sides together."""
        self.limits, self.advice = list(limits), advice
        super().__init__(f"tokenizer.vocab_size: {'; '.join(limits)} ({advice})")


def train_tokenizer(
    lines: Sequence[str], config: TokenizerConfig, exact: bool, name: str, side: str = "joint"
) -> bytes:
    """Train a SentencePiece model on `lines` and return it, serialized.

    With `exact`, raises VocabSizeError with the largest possible size if the text is too small for
    the configured vocabulary size. Otherwise the largest possible size is used. `side` selects the
    size if the config has one per side. `name` is used in error messages.
    """
    if not any(line.strip() for line in lines):
        raise DataError(f"{name}: expected training text for a tokenizer, got empty lines only")
    vocab_size = config.vocab_size_of(side)
    try:
        model = _train_sentencepiece(lines, config.type, vocab_size, exact)
        max_size = Tokenizer(model).vocab_size  # a char model ignores the configured size
    except (RuntimeError, OSError) as error:
        size_limit = re.search(r"value <= (\d+)", str(error))
        max_size = int(size_limit[1]) if size_limit else vocab_size
        min_size = _min_vocab_size(lines, config.type)
        if vocab_size < min_size:
            raise VocabSizeError(
                [f"expected at least {min_size} for {name}, got {vocab_size}"],
                f"special and reserved pieces, {BYTE_PIECES} bytes and the characters",
            ) from None
        if not size_limit:
            raise DataError(f"{name}: SentencePiece cannot train on this text: {error}") from None
    if exact and max_size < vocab_size:
        raise VocabSizeError(
            [f"expected at most {max_size} for {name}, got {vocab_size}"],
            "leave it out for the largest possible size",
        )
    return model


def _train_sentencepiece(
    lines: Sequence[str], model_type: str, vocab_size: int, exact: bool
) -> bytes:
    output = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=split_trainable_lines(lines),
        model_writer=output,
        model_type=model_type,
        vocab_size=vocab_size,
        hard_vocab_limit=exact,
        byte_fallback=True,
        character_coverage=0.9995,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        pad_id=PAD,
        unk_id=UNK,
        bos_id=BOS,
        eos_id=EOS,
        control_symbols=[f"<reserved_{i}>" for i in range(RESERVED_PIECES)],
        num_threads=1,  # the model must not depend on the number of cores
        minloglevel=2,
    )
    return validation.mark_trusted(output.getvalue())


def _min_vocab_size(lines: Sequence[str], model_type: str) -> int:
    """Return the smallest vocabulary size that SentencePiece accepts for `lines`."""
    fixed = SPECIAL_PIECES + RESERVED_PIECES + BYTE_PIECES
    try:
        _train_sentencepiece(lines, model_type, fixed, exact=False)
    except RuntimeError as error:
        required = re.search(r"required_chars\. \d+ vs (\d+)", str(error))
        return int(required[1]) if required else fixed
    return fixed
