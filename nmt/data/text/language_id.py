"""Language identification of single lines by py3langid (Lui & Baldwin 2012, retrained).

`detect_unexpected_language` compares the expected language of a line with all other languages.
py3langid divides log-likelihoods by the square root of the line length. The ratio of two
probabilities therefore has the same meaning for short and long lines, and one threshold is enough.
benchmarks/check.md has the measurements behind the constants.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

MIN_RATIO = 20.0
"""Minimum ratio of the probabilities of another language and the expected one to report it."""
MIN_LETTERS = 8
"""Minimum number of letters in words without capitals; East Asian scripts need only one."""
ALIASES = {"nb": "no", "nn": "no"}
"""Codes of py3langid that are merged into another code."""
NO_LANGUAGE = "zxx"
"""Code of py3langid for text without linguistic content."""

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
"""Groups of languages that py3langid confuses; a language can be in several groups."""


@dataclass(frozen=True)
class UnexpectedLanguage:
    """The language of a line that is not in the expected language."""

    code: str
    related: bool
    """Whether py3langid often confuses it with the expected language."""


@cache
def load_identifier() -> Any:
    """Load py3langid's model, once per process."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@cache
def list_language_codes() -> tuple[str, ...]:
    """Return the codes of all languages that can be identified, with aliases merged."""
    return tuple(sorted({ALIASES.get(code, code) for code in load_identifier().labels}))


@cache
def find_related_languages(code: str) -> frozenset[str]:
    """Return the code itself and the codes of all related languages."""
    groups = [group for group in RELATED_LANGUAGES if code in group]
    return frozenset({code}.union(*groups))


def to_identifier_code(code: str) -> str | None:
    """Return py3langid's code for a language code such as de or pt_BR, or None if unknown."""
    code = code.lower().replace("-", "_").split("_")[0]
    code = ALIASES.get(code, code)
    return code if code in list_language_codes() and code != NO_LANGUAGE else None


def compute_language_probabilities(text: str) -> dict[str, float]:
    """Return the probability of each language for one line."""
    probabilities = dict.fromkeys(list_language_codes(), 0.0)
    for code, probability in load_identifier().rank(text):
        probabilities[ALIASES.get(code, code)] += probability
    return probabilities


def detect_unexpected_language(text: str, expected: str) -> UnexpectedLanguage | None:
    """Return the language of a line if it is clearly not the expected one, otherwise None.

    `expected` is a code from `to_identifier_code`. The line without its capitalized words must give
    the same result, because names are often in another language than their sentence.
    """
    code, _ = load_identifier().classify(text)
    if ALIASES.get(code, code) in (expected, NO_LANGUAGE):
        return None
    uncapitalized = " ".join(word for word in text.split() if not any(map(str.isupper, word)))
    if not has_enough_letters(uncapitalized):
        return None
    language = _compare_languages(compute_language_probabilities(text), expected)
    confirmation = _compare_languages(compute_language_probabilities(uncapitalized), expected)
    if language is None or confirmation is None or language.related != confirmation.related:
        return None
    return language


def _compare_languages(probabilities: dict[str, float], expected: str) -> UnexpectedLanguage | None:
    """Return a language that is at least MIN_RATIO times as probable as the expected one, or None.

    First, the group of the most probable unrelated language is compared with the group of the
    expected language, because a related language often explains a line that is as expected. Then a
    related language is returned if it is the most probable language.
    """
    expected_group = find_related_languages(expected)
    unrelated_codes = (code for code in probabilities if code not in expected_group)
    unrelated = max(unrelated_codes, key=probabilities.__getitem__)
    if unrelated != NO_LANGUAGE:
        unrelated_group = find_related_languages(unrelated) - expected_group
        unrelated_sum = sum(probabilities.get(code, 0.0) for code in unrelated_group)
        expected_sum = sum(probabilities.get(code, 0.0) for code in expected_group)
        if unrelated_sum >= MIN_RATIO * (expected_sum + probabilities[NO_LANGUAGE]):
            return UnexpectedLanguage(unrelated, related=False)
    best = max(probabilities, key=probabilities.__getitem__)
    if best in expected_group and probabilities[best] >= MIN_RATIO * probabilities[expected]:
        return UnexpectedLanguage(best, related=True)
    return None


def has_enough_letters(text: str) -> bool:
    """Return whether a text has enough letters for language identification."""
    letters = sum(map(str.isalpha, text))
    return letters >= MIN_LETTERS or any(character > "\u2e80" for character in text)


def identify_main_language(lines: Iterable[str]) -> str | None:
    """Return the most probable language of a text, or None if at most half of the lines agree.

    A line agrees if its most probable language is the returned one or a related one.
    """
    rows = [compute_language_probabilities(line) for line in lines if has_enough_letters(line)]
    if not rows:
        return None
    codes = list_language_codes()
    totals = np.sum([list(row.values()) for row in rows], 0)
    code = codes[int(totals.argmax())]
    votes = Counter(max(row, key=row.__getitem__) for row in rows)
    agreeing = sum(votes[related] for related in find_related_languages(code))
    is_clear = code != NO_LANGUAGE and 2 * agreeing > len(rows)
    return code if is_clear else None
