"""IBM Model 1 (Brown et al. 1993), small: what alignment there is in word counts alone."""

from __future__ import annotations

import numpy as np

from nmt.data.text.reader import Links, Pair

ITERATIONS = 8


def align(train: list[Pair], test: list[Pair]) -> list[Links]:
    """Train t(target word | source word) by EM on both; link each target word of `test`.

    The empty word stands at the front of every source; who links to it stays alone.
    """
    pairs = [(["", *src.lower().split()], tgt.lower().split()) for src, tgt in [*train, *test]]
    words: dict[str, int] = {}
    numbered = [[[words.setdefault(w, len(words)) for w in side] for side in p] for p in pairs]
    # every (source word, target word) that share a pair, and the target place each belongs to
    sources = np.concatenate([np.tile(src, len(tgt)) for src, tgt in numbered])
    targets = np.concatenate([np.repeat(tgt, len(src)) for src, tgt in numbered])
    sizes = np.concatenate([np.full(len(tgt), len(src)) for src, tgt in numbered])
    place = np.repeat(np.arange(len(sizes)), sizes)
    kinds, kind = np.unique(sources * len(words) + targets, return_inverse=True)
    source_of_kind = kinds // len(words)
    table = np.ones(len(kinds))
    for _ in range(ITERATIONS):
        expected = table[kind]
        expected /= np.bincount(place, expected)[place]
        counts = np.bincount(kind, expected)
        table = counts / np.bincount(source_of_kind, counts)[source_of_kind]
    probability = iter(table[kind])
    found: list[Links] = []
    for src, tgt in numbered:
        rows = [[next(probability) for _ in src] for _ in tgt]
        best = [int(np.argmax(row)) for row in rows]
        found.append({(s - 1, t) for t, s in enumerate(best) if s > 0})
    return found[len(train) :]
