"""A small IBM Model 1 (Brown et al. 1993), a baseline of word alignment."""

from __future__ import annotations

import numpy as np

from nmt.data.text.reader import Links, Pair

ITERATIONS = 8


def align(train: list[Pair], test: list[Pair]) -> list[Links]:
    """Train t(target word | source word) by EM on both texts; return the links of `test`.

    Every source begins with the empty word. A target word linked to it stays unaligned.
    """
    pairs = [(["", *src.lower().split()], tgt.lower().split()) for src, tgt in [*train, *test]]
    words: dict[str, int] = {}
    numbered = [[[words.setdefault(w, len(words)) for w in side] for side in p] for p in pairs]
    # all (source word, target word) of the same pair, and the index of their target position
    sources = np.concatenate([np.tile(src, len(tgt)) for src, tgt in numbered])
    targets = np.concatenate([np.repeat(tgt, len(src)) for src, tgt in numbered])
    sizes = np.concatenate([np.full(len(tgt), len(src)) for src, tgt in numbered])
    position = np.repeat(np.arange(len(sizes)), sizes)
    word_pairs, pair_index = np.unique(sources * len(words) + targets, return_inverse=True)
    source_of_pair = word_pairs // len(words)
    table = np.ones(len(word_pairs))
    for _ in range(ITERATIONS):
        expected = table[pair_index]
        expected /= np.bincount(position, expected)[position]
        counts = np.bincount(pair_index, expected)
        table = counts / np.bincount(source_of_pair, counts)[source_of_pair]
    probability = iter(table[pair_index])
    links: list[Links] = []
    for src, tgt in numbered:
        rows = [[next(probability) for _ in src] for _ in tgt]
        best = [int(np.argmax(row)) for row in rows]
        links.append({(s - 1, t) for t, s in enumerate(best) if s > 0})
    return links[len(train) :]
