"""A pseudo-random permutation of 0 .. size - 1 that is computed at any positions, not stored.

We keep our own because NumPy and torch store the complete permutation, which costs 8 bytes per pair
and time before the first batch.

A Feistel network permutes the integers below a power of two. Results outside the range are permuted
again until they fall inside (cycle walking, Black and Rogaway 2002).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Int64Array = NDArray[np.int64]
UInt64Array = NDArray[np.uint64]
ROUNDS = 6
"""Number of rounds of the Feistel network."""


def permute(positions: Int64Array, size: int, *seed: int) -> Int64Array:
    """Return the elements at `positions` of a permutation of 0 .. size - 1.

    Each seed selects another permutation.
    """
    keys = np.random.SeedSequence(seed).generate_state(ROUNDS, np.uint64).astype(np.uint64)
    bits = max(2, (size - 1).bit_length())
    values = _feistel_network(positions.astype(np.uint64), bits, keys)
    while (outside := np.flatnonzero(values >= size)).size:
        values[outside] = _feistel_network(values[outside], bits, keys)
    return values.astype(np.int64)


def mix64(values: UInt64Array) -> UInt64Array:
    """Hash 64-bit integers with the finalizer of splitmix64 (Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _feistel_network(values: UInt64Array, bits: int, keys: UInt64Array) -> UInt64Array:
    """Permute the integers below 2 ** bits, with one round per key."""
    low_bits = np.uint64(bits // 2)
    low_mask = np.uint64((1 << (bits // 2)) - 1)
    high_mask = np.uint64((1 << (bits - bits // 2)) - 1)
    low, high = values & low_mask, values >> low_bits
    for i, key in enumerate(keys):
        if i % 2:
            low = low ^ (mix64(high + key) & low_mask)
        else:
            high = high ^ (mix64(low + key) & high_mask)
    return (high << low_bits) | low
