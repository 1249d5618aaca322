"""Count words that repeat the words directly before them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MAX_REPEAT_LENGTH = 20
"""Maximum number of words of a repeated phrase."""


def count_repeated_words(words: Sequence[str]) -> int:
    """Return the length of the longest stretch of words that repeat the phrase before them.

    In `a b c a b c` the phrase `a b c` is repeated by 3 words.
    """
    if len(set(words)) == len(words):
        return 0
    id_of_word: dict[str, int] = {}
    ids = np.array([id_of_word.setdefault(word, len(id_of_word)) for word in words])
    longest = 0
    for phrase_length in range(1, min(MAX_REPEAT_LENGTH, len(ids) // 2) + 1):
        is_repeated = ids[phrase_length:] == ids[:-phrase_length]
        if np.count_nonzero(is_repeated) < max(phrase_length, longest + 1):
            continue
        edges = np.flatnonzero(np.diff(is_repeated, prepend=False, append=False))
        longest_run = int((edges[1::2] - edges[::2]).max())
        if longest_run >= phrase_length:
            longest = max(longest, longest_run)
    return longest
