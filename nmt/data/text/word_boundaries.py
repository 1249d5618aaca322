"""Find word boundaries in any script. This module does not import torch."""

from __future__ import annotations

import unicodedata
from functools import cache

WIDE = r"\u2e80-\ua4cf\uac00-\ud7ff\uf900-\ufaff\uff00-\uff60"
"""Ranges of a regex character class: Chinese, Japanese, Korean, and full-width Latin."""
SPACELESS_RANGES = (("\u0e00", "\u0eff"), ("\u1000", "\u109f"), ("\u1780", "\u17ff"))
"""Further scripts that are written without spaces: Thai and Lao, Burmese, Khmer."""


@cache
def is_word_character(character: str) -> bool:
    """Return whether a character forms a word together with its neighbours.

    True for letters, combining marks, digits and "_". False for "" and for scripts without spaces,
    in which each letter counts as a word.
    """
    if character.isdigit() or character == "_":
        return True
    if not character or unicodedata.category(character)[0] not in "LNM":
        return False
    is_spaceless = any(first <= character <= last for first, last in SPACELESS_RANGES)
    return not is_spaceless and not is_wide(character)


def is_wide(character: str) -> bool:
    """Return whether a character is as wide as two Latin ones, as in Chinese and Korean."""
    return character != "" and unicodedata.east_asian_width(character) in "WF"


def is_whole_word(text: str, begin: int, end: int) -> bool:
    """Return whether `text[begin:end]` starts and ends at word boundaries."""
    return not _is_inside_word(text, begin) and not _is_inside_word(text, end)


def _is_inside_word(text: str, index: int) -> bool:
    """Return whether the characters before and after an index belong to one word."""
    return is_word_character(text[index - 1 : index]) and is_word_character(text[index : index + 1])


def count_phrase(phrase: str, text: str) -> int:
    """Return how often a text contains a phrase as whole words, including overlapping matches."""
    count, begin = 0, text.find(phrase)
    while begin >= 0:
        count += is_whole_word(text, begin, begin + len(phrase))
        begin = text.find(phrase, begin + 1)
    return count
