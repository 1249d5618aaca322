"""Where words begin and end, in any script. Needs no torch."""

from __future__ import annotations

import unicodedata
from functools import cache

WIDE = r"\u2e80-\ua4cf\uac00-\ud7ff\uf900-\ufaff\uff00-\uff60"
"""Chinese, Japanese and Korean, their punctuation and wide forms of Latin, as ranges of a class."""
SPACELESS = (("\u0e00", "\u0eff"), ("\u1000", "\u109f"), ("\u1780", "\u17ff"))
"""Thai and Lao, Burmese, Khmer: other letters that are written without spaces."""


@cache
def is_word_character(letter: str) -> bool:
    """Tell whether a letter makes one word with a letter beside it; False where there is none.

    Letters, their marks, digits and "_" do. In a script without spaces each is a word of its own.
    """
    if letter.isdigit() or letter == "_":
        return True
    if not letter or unicodedata.category(letter)[0] not in "LNM":
        return False
    spaceless = any(first <= letter <= last for first, last in SPACELESS)
    return not spaceless and not is_wide(letter)


def is_wide(letter: str) -> bool:
    """Tell whether a letter takes the room of two, as Chinese, Japanese and Korean ones do."""
    return letter != "" and unicodedata.east_asian_width(letter) in "WF"


def is_whole_word(text: str, begin: int, end: int) -> bool:
    """Tell whether what stands from `begin` to `end` in a text is cut out of no longer word."""
    return not (
        is_word_character(text[begin - 1 : begin]) and is_word_character(text[begin : begin + 1])
    ) and not (is_word_character(text[end - 1 : end]) and is_word_character(text[end : end + 1]))


def count_phrase(phrase: str, text: str) -> int:
    """Return how often a phrase stands in a text as whole words, overlaps counted."""
    times, begin = 0, text.find(phrase)
    while begin >= 0:
        times += is_whole_word(text, begin, begin + len(phrase))
        begin = text.find(phrase, begin + 1)
    return times
