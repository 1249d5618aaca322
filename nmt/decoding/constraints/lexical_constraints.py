"""Lexical constraints on a translation: a forced prefix and required phrases. Imports no torch."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from nmt.data.text.word_boundaries import is_word_character
from nmt.data.tokenizer.tokenizer import Tokenizer
from nmt.errors import DataError

PHRASES_NEED_BEAM_SEARCH = (
    "phrases (--contain, --terms, --protect): expected beam search, got sampling or decode.groups"
)


@dataclass(frozen=True)
class Phrase:
    """A phrase that a translation must contain, bounded by word boundaries."""

    forms: tuple[tuple[int, ...], ...]
    """Non-empty token sequences that spell the phrase: after a space, or after punctuation."""


@dataclass(frozen=True)
class LexicalConstraints:
    """Lexical constraints on the translation of one line, in target tokens."""

    prefix: tuple[int, ...] = ()
    """Tokens at the beginning of the translation."""
    phrases: tuple[Phrase, ...] = ()
    """Required phrases; a phrase that is listed twice must occur twice."""

    @property
    def tokens(self) -> set[int]:
        """All tokens of the prefix and of all forms of the phrases."""
        tokens = set(self.prefix)
        for phrase in self.phrases:
            for form in phrase.forms:
                tokens.update(form)
        return tokens

    @property
    def length(self) -> int:
        """Maximum number of tokens of the prefix and the phrases together."""
        return len(self.prefix) + sum(max(map(len, phrase.forms)) for phrase in self.phrases)


def encode_constraints(
    tokenizer: Tokenizer, prefix: str = "", phrases: Sequence[str] = ()
) -> LexicalConstraints:
    """Encode a forced prefix and required phrases with the target tokenizer."""
    text = tokenizer.normalize(prefix).rstrip()  # the space belongs to the next word's token
    tokens = tuple(tokenizer.with_normalizer(None).encode([text])[0]) if text else ()
    return LexicalConstraints(tokens, tuple(encode_phrase(tokenizer, phrase) for phrase in phrases))


BRACKET = "("
"""Character before a phrase that shows its tokens in a position without a space."""


def encode_phrase(tokenizer: Tokenizer, phrase: str) -> Phrase:
    """Encode a phrase in its forms, after a space and after a bracket.

    The second form is omitted if the tokenizer merges the bracket with the phrase. Raises DataError
    if the phrase is blank.
    """
    text = tokenizer.normalize(phrase).strip()
    if not text:
        raise DataError(f"required phrase: expected text, got {phrase!r}")
    plain = tokenizer.with_normalizer(None).with_tags(())  # the text is normalized
    after_space, with_bracket, bracket = plain.encode([text, BRACKET + text, BRACKET])
    forms = [tuple(after_space)]
    if with_bracket[: len(bracket)] == bracket:
        forms.append(tuple(with_bracket[len(bracket) :]))
    return Phrase(tuple(dict.fromkeys(forms)))


@dataclass(frozen=True)
class TokenBoundaries:
    """For all tokens of a vocabulary, whether they start or end inside a word.

    A byte token of a letter counts as a letter. In a script without spaces, no token starts or
    ends inside a word.
    """

    starts_inside_word: list[bool]
    """The token can continue the word before it."""
    ends_inside_word: list[bool]
    """The next token can continue the word."""
    can_precede_word: list[bool]
    """A word can follow without a space: after brackets, quotes and hyphens."""

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> TokenBoundaries:
        """Compute the boundaries from the text of all tokens."""
        pieces = tokenizer.pieces(range(tokenizer.vocab_size))
        texts = [
            _letter_of_byte(piece) if tokenizer.is_byte(i) else piece
            for i, piece in enumerate(pieces)
        ]
        special = {*tokenizer.never_output, *tokenizer.reserved, tokenizer.eos, tokenizer.unk}
        return cls(
            [i not in special and is_word_character(text[:1]) for i, text in enumerate(texts)],
            [i not in special and is_word_character(text[-1:]) for i, text in enumerate(texts)],
            [i not in special and can_precede_word(text[-1:]) for i, text in enumerate(texts)],
        )


def _letter_of_byte(piece: str) -> str:
    """Return the character of a byte piece such as <0x41>; "a" for a byte above 127."""
    value = int(piece[3:-1], 16)
    return chr(value) if value < 128 else "a"


def can_precede_word(letter: str) -> bool:
    """Return whether a word can directly follow the character, such as an opening bracket."""
    return letter != "" and (letter in "'’\"/" or unicodedata.category(letter) in OPENING)


OPENING = ("Ps", "Pi", "Pd")
"""Unicode categories of opening brackets, opening quotes and dashes."""
