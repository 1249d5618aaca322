"""Words that say at once again what stands before them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MAX_REPEAT_LENGTH = 20
"""Words of what is repeated, at most."""


def count_repeated_words(words: Sequence[str]) -> int:
    """Count the words that repeat at once what stands before them: 3 in `a b c a b c`.

    The longest stretch for any one length of what is repeated.
    """
    if len(set(words)) == len(words):
        return 0
    known: dict[str, int] = {}
    ids = np.array([known.setdefault(word, len(known)) for word in words])
    most = 0
    for length in range(1, min(MAX_REPEAT_LENGTH, len(ids) // 2) + 1):
        same = ids[length:] == ids[:-length]
        if np.count_nonzero(same) < max(length, most + 1):
            continue
        edges = np.flatnonzero(np.diff(same, prepend=False, append=False))
        run = int((edges[1::2] - edges[::2]).max())
        if run >= length:
            most = max(most, run)
    return most
