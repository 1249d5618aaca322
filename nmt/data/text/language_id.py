"""Language identification of single lines by py3langid (Lui & Baldwin 2012, retrained).

`other_language` compares the language that a line should be in with all others. The identifier's
probabilities are tempered: it divides the log-likelihoods by the square root of the line's length.
Their log ratio is therefore a margin that means the same for short and for long lines, and one
threshold serves all lengths. benchmarks/check.md has the measurements behind the constants.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

MIN_RATIO = 20.0
"""Report another language if it is at least this many times as probable as the expected one."""
MIN_LETTERS = 8
"""Letters of a line, outside words with capitals; East Asian scripts need one."""
ALIASES = {"nb": "no", "nn": "no"}
"""Codes that count as one language."""
NO_LANGUAGE = "zxx"
"""The identifier's class for text without linguistic content."""

RELATED_LANGUAGES: tuple[frozenset[str], ...] = tuple(
    frozenset(codes.split())
    for codes in (
        "en pcm",
        "en fy",
        "af nl fy",
        "de lb",
        "da no sv fo",
        "fo is",
        "be bg mk ru sr uk",
        "bs hr sl sr",
        "cs sk",
        "an ca es ext gl oc pt",
        "an ca it la lij oc vec",
        "fr gcf gcr ht oc wa",
        "ace id jv ms",
        "gom hi mr ne sa",
        "ar ary arz fa",
        "fa ku ps sdh ur uzs",
        "az crh tk tr",
        "ba kk ky tt",
        "ja wuu yue zh",
        "xh zu",
        "nso st",
        "ltg lv",
        "ga gd",
        "et fi",
    )
)
"""Languages that the identifier confuses with each other; a language can be in several groups."""


@dataclass(frozen=True)
class UnexpectedLanguage:
    """The language of a line that is in another language than expected."""

    code: str
    related: bool
    """The identifier confuses it with the expected language."""


@cache
def load_identifier() -> Any:
    """Load the identifier, once a process."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@cache
def language_codes() -> tuple[str, ...]:
    """Return the codes of all languages that can be identified, aliases merged."""
    return tuple(sorted({ALIASES.get(code, code) for code in load_identifier().labels}))


@cache
def related_languages(code: str) -> frozenset[str]:
    """Return the language itself and all languages related to it."""
    return frozenset({code}.union(*(group for group in RELATED_LANGUAGES if code in group)))


def to_identifier_code(code: str) -> str | None:
    """Return the identifier's code for a language code such as de or pt_BR, None if unknown."""
    code = code.lower().replace("-", "_").split("_")[0]
    code = ALIASES.get(code, code)
    return code if code in language_codes() and code != NO_LANGUAGE else None


def language_probabilities(text: str) -> dict[str, float]:
    """Return the probability of each language for one line."""
    shares = dict.fromkeys(language_codes(), 0.0)
    for code, share in load_identifier().rank(text):
        shares[ALIASES.get(code, code)] += share
    return shares


def detect_unexpected_language(text: str, expected: str) -> UnexpectedLanguage | None:
    """Return the language of a line if it is clearly not the expected one, otherwise None.

    `expected` is a code that `identifier_code` returned. The line without its capitalized words
    must give the same verdict, because names are often in another language than their sentence.

    First all languages related to `expected` together are compared with the most probable group of
    other languages; a line fits `expected` as long as a related language explains it. Otherwise a
    related language is returned if it is the most probable of all.
    """
    code, _ = load_identifier().classify(text)
    if ALIASES.get(code, code) in (expected, NO_LANGUAGE):
        return None
    uncapitalized = " ".join(word for word in text.split() if not any(map(str.isupper, word)))
    if not has_enough_letters(uncapitalized):
        return None
    verdicts = [_verdict(language_probabilities(line), expected) for line in (text, uncapitalized)]
    if None in verdicts or len({verdict.related for verdict in verdicts if verdict}) > 1:
        return None
    return verdicts[0]


def _verdict(shares: dict[str, float], expected: str) -> UnexpectedLanguage | None:
    """Compare the probabilities of one text with the expected language."""
    own = related_languages(expected)
    foreign = max((code for code in shares if code not in own), key=shares.__getitem__)
    if foreign != NO_LANGUAGE:
        evidence = sum(shares.get(code, 0.0) for code in related_languages(foreign) - own)
        against = sum(shares.get(code, 0.0) for code in own) + shares[NO_LANGUAGE]
        if evidence >= MIN_RATIO * against:
            return UnexpectedLanguage(foreign, related=False)
    best = max(shares, key=shares.__getitem__)
    if best in own and shares[best] >= MIN_RATIO * shares[expected]:
        return UnexpectedLanguage(best, related=True)
    return None


def has_enough_letters(text: str) -> bool:
    """Return whether a text has enough letters to identify its language."""
    letters = sum(map(str.isalpha, text))
    return letters >= MIN_LETTERS or any(character > "\u2e80" for character in text)


def main_language(lines: Iterable[str]) -> str | None:
    """Return the most probable language of a text, None if fewer than half of its lines agree.

    A line agrees if its own most probable language is this one or a related one.
    """
    rows = [language_probabilities(line) for line in lines if has_enough_letters(line)]
    if not rows:
        return None
    codes = language_codes()
    totals = np.sum([list(row.values()) for row in rows], 0)
    code = codes[int(totals.argmax())]
    votes = Counter(max(row, key=row.__getitem__) for row in rows)
    agreeing = sum(votes[related] for related in related_languages(code))
    return code if code != NO_LANGUAGE and 2 * agreeing > len(rows) else None
