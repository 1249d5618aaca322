"""A shuffled order that is computed and not stored: any stretch of it, at once.

A Feistel network permutes the numbers below the next power of two; what falls outside the wanted
range is permuted again until it falls inside (Black and Rogaway 2002, cycle walking).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Scattered = NDArray[np.uint64]
ROUNDS = 6


def permute(places: Numbers, size: int, *seed: int) -> Numbers:
    """Return what stands at these places of a permutation of 0 .. size - 1 that `seed` names."""
    keys = np.random.SeedSequence(seed).generate_state(ROUNDS, np.uint64).astype(np.uint64)
    bits = max(2, (size - 1).bit_length())
    found = _network(places.astype(np.uint64), bits, keys)
    while (outside := np.flatnonzero(found >= size)).size:
        found[outside] = _network(found[outside], bits, keys)
    return found.astype(np.int64)


def mix64(numbers: Scattered) -> Scattered:
    """Scatter numbers over 64 bits (the last steps of splitmix64, Steele et al. 2014)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _network(
    numbers: NDArray[np.uint64], bits: int, keys: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Permute the numbers below 2 ** bits."""
    low_bits = np.uint64(bits // 2)
    low_mask = np.uint64((1 << (bits // 2)) - 1)
    high_mask = np.uint64((1 << (bits - bits // 2)) - 1)
    low, high = numbers & low_mask, numbers >> low_bits
    for i, key in enumerate(keys):
        if i % 2:
            low = low ^ (mix64(high + key) & low_mask)
        else:
            high = high ^ (mix64(low + key) & high_mask)
    return (high << low_bits) | low
