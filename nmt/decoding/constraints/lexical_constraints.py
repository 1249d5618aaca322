"""What a translation must hold: how it begins, and phrases that stand in it. Needs no torch."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from nmt.data.text.word_boundaries import ties
from nmt.data.tokenizer.tokenizer import Tokenizer
from nmt.errors import DataError

PHRASES_NEED_BEAM_SEARCH = (
    "phrases (--contain, --terms, --protect): go with beam search; leave out samples, mbr_from: "
    "samples and decode.groups"
)


@dataclass(frozen=True)
class Phrase:
    """Words that must stand in a translation, as whole words."""

    forms: tuple[tuple[int, ...], ...]
    """The token sequences that spell them, none of them empty: after a space, or after a sign."""


@dataclass(frozen=True)
class LexicalConstraints:
    """What is demanded of the translation of one line."""

    prefix: tuple[int, ...] = ()
    """The tokens that it begins with."""
    phrases: tuple[Phrase, ...] = ()
    """Each stands in it as often as here."""

    @property
    def tokens(self) -> set[int]:
        """All tokens that occur here."""
        phrase_tokens = (
            token for phrase in self.phrases for form in phrase.forms for token in form
        )
        return {*self.prefix, *phrase_tokens}

    @property
    def length(self) -> int:
        """The tokens that it may take at most."""
        return len(self.prefix) + sum(max(map(len, phrase.forms)) for phrase in self.phrases)


def encode_constraints(
    tokenizer: Tokenizer, prefix: str = "", phrases: Sequence[str] = ()
) -> LexicalConstraints:
    """Return the demand for a text that it begins with, and for phrases, in the target's tokens."""
    begins = tokenizer.normalize(prefix).rstrip()  # the next word brings its own space
    begin = tuple(tokenizer.normalized_by(None).encode([begins])[0]) if begins else ()
    return LexicalConstraints(begin, tuple(encode_phrase(tokenizer, phrase) for phrase in phrases))


SIGN = "("
"""What stands before a phrase to see how it is spelled where no space does."""


def encode_phrase(tokenizer: Tokenizer, words: str) -> Phrase:
    """Return the ways in which the target's tokens spell words; DataError where they are blank."""
    text = tokenizer.normalize(words).strip()
    if not text:
        raise DataError(f"required phrase: expected text, got {words!r}")
    plain = tokenizer.normalized_by(None)
    after_space, after_sign, sign = plain.encode([text, SIGN + text, SIGN])
    forms = [tuple(after_space)]
    if after_sign[: len(sign)] == sign:
        forms.append(tuple(after_sign[len(sign) :]))
    return Phrase(tuple(dict.fromkeys(forms)))


@dataclass(frozen=True)
class TokenBoundaries:
    """Which tokens begin and end in the middle of a word, for all tokens of a vocabulary.

    A byte of a letter counts as a letter; in a script without spaces every token is a word of its
    own.
    """

    starts_inside_word: list[bool]
    ends_inside_word: list[bool]
    can_precede_word: list[bool]
    """After which tokens a word can begin without a space: brackets, quotes, hyphens."""

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> TokenBoundaries:
        """Look at the text of every token."""
        pieces = tokenizer.pieces(range(tokenizer.vocab_size))
        texts = [_byte(piece) if tokenizer.is_byte(i) else piece for i, piece in enumerate(pieces)]
        special = {*tokenizer.never_output, tokenizer.eos, tokenizer.unk}
        return cls(
            [i not in special and ties(text[:1]) for i, text in enumerate(texts)],
            [i not in special and ties(text[-1:]) for i, text in enumerate(texts)],
            [i not in special and can_precede_word(text[-1:]) for i, text in enumerate(texts)],
        )


def _byte(piece: str) -> str:
    """Return the letter of a byte piece, such as <0x41>; "a" for a byte of a longer letter."""
    value = int(piece[3:-1], 16)
    return chr(value) if value < 128 else "a"


def can_precede_word(letter: str) -> bool:
    """Tell whether a word can begin right behind a letter, as behind an opening bracket."""
    return letter != "" and (letter in "'’\"/" or unicodedata.category(letter) in OPENING)


OPENING = ("Ps", "Pi", "Pd")
"""Unicode's opening brackets, opening quotes and dashes."""
