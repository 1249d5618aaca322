"""Equal and nearly equal lines: 64-bit hashes, and MinHash over character 5-grams.

Two lines are near duplicates where their sets of 5-grams have a Jaccard index of at least 0.8. A
MinHash of 3 values agrees on such lines with probability 0.8^3; of BANDS independent ones at least
one agrees with probability 1 - (1 - 0.8^3)^8 = 0.997 (Broder 1997; Leskovec et al. 2014, 3.4).
Candidates are then compared gram by gram. L lines, M grams of all lines.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

GRAM = 5
NEAR = 0.8
BANDS, ROWS = 8, 3
LOOKED_AT = 20
"""Lines with one key that a line is compared with, at most."""

Numbers = NDArray[np.uint64]
Keys = NDArray[np.uint32]
Indices = NDArray[np.int64]

_FACTORS = np.random.default_rng(1).integers(1, 2**63, BANDS * ROWS, dtype=np.uint64) * 2 + 1
_MIX = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)


def plain(text: str) -> str:
    """Return what is compared of a line: its words with one blank between."""
    return " ".join(text.split())


def hashes(lines: Sequence[str]) -> Numbers:
    """Return a number for each line, equal where `plain` is equal; 0 for blank lines."""
    found = np.empty(len(lines), np.uint64)
    for i, line in enumerate(lines):
        text = plain(line)
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        found[i] = int.from_bytes(digest, "little") if text else 0
    return found


def grams(line: str) -> set[str]:
    """Return the character 5-grams of a line; a shorter line is one gram."""
    text = plain(line)
    return {text[i : i + GRAM] for i in range(max(1, len(text) - GRAM + 1))}


def jaccard(one: set[str], other: set[str]) -> float:
    """Return the size of the intersection over that of the union."""
    common = len(one & other)
    return common / (len(one) + len(other) - common)


def near(one: str, other: str) -> bool:
    """Tell whether two lines are near duplicates, or equal."""
    return jaccard(grams(one), grams(other)) >= NEAR


def band_keys(lines: Sequence[str]) -> Keys:
    """Return L x BANDS keys; lines that are near duplicates share one almost surely."""
    if not lines:
        return np.empty((0, BANDS), np.uint32)
    texts = [plain(line).ljust(GRAM) for line in lines]
    letters = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    length = len(letters) - GRAM + 1
    mixed = np.zeros(length, np.uint64)
    for i in range(GRAM):
        mixed = mixed * _MIX + letters[i : i + length]
    ends = np.cumsum([len(text) for text in texts])
    inside = np.ones(length, bool)  # grams that reach over a line's end are no line's
    for i in range(1, GRAM):
        inside[ends[:-1] - i] = False
    mixed = (mixed ^ (mixed >> _HALF))[inside]
    counts = np.array([len(text) - GRAM + 1 for text in texts])
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    keys = np.zeros((len(lines), BANDS), np.uint64)
    for i, factor in enumerate(_FACTORS):
        least = np.minimum.reduceat((mixed * factor) >> _HALF, starts)
        keys[:, i // ROWS] = (keys[:, i // ROWS] ^ least) * _MIX
    return (keys >> _HALF).astype(np.uint32)


def first_seen(numbers: Numbers) -> Indices:
    """Return for each number the index of the first that equals it."""
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    found: Indices = first[inverse]
    return found


def candidates(keys: Keys, rows: Indices) -> Indices:
    """Return C x 2 indices, later and earlier line, of `rows` that share a key.

    Of many lines with one key each is paired with the first of them and the one before it.
    """
    found = [np.empty((0, 2), np.int64)]
    for band in range(BANDS):
        column = keys[rows, band]
        order = np.argsort(column, kind="stable")
        same = np.flatnonzero(column[order][1:] == column[order][:-1]) + 1
        if not len(same):
            continue
        begins = np.ones(len(order), bool)
        begins[same] = False
        first = np.flatnonzero(begins)[np.cumsum(begins) - 1]
        for earlier in (first[same], same - 1):
            found.append(np.stack([rows[order[same]], rows[order[earlier]]], 1))
    pairs = np.concatenate(found)
    return np.unique(pairs, axis=0)


class Index:
    """Lines of one held-out side, to be found again in training text, exactly and nearly."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.grams = [grams(line) for line in lines]
        self.exact: dict[int, int] = {}
        for i, number in reversed(list(enumerate(hashes(lines).tolist()))):
            self.exact[number] = i
        self.exact.pop(0, None)
        self.by_key: list[dict[int, list[int]]] = [defaultdict(list) for _ in range(BANDS)]
        for i, row in enumerate(band_keys(lines).tolist()):
            if self.grams[i] != {""}:
                for places, key in zip(self.by_key, row, strict=True):
                    places[key].append(i)
        self._keys = [np.array(sorted(places), np.uint32) for places in self.by_key]

    def near(self, lines: Sequence[str], keys: Keys) -> dict[int, int]:
        """Return for each of `lines` that is near a held-out one the place of the nearest."""
        hits = np.stack([np.isin(keys[:, b], own) for b, own in enumerate(self._keys)], 1)
        found = {}
        for i in np.flatnonzero(hits.any(1)).tolist():
            places = {
                place
                for b in np.flatnonzero(hits[i])
                for place in self.by_key[b][int(keys[i, b])][:LOOKED_AT]
            }
            own = grams(lines[i])
            share, place = max((jaccard(own, self.grams[p]), -p) for p in places)
            if share >= NEAR:
                found[i] = -place
        return found


def verified(pairs: Iterable[Sequence[int]], texts: dict[int, str]) -> dict[int, int]:
    """Return for each later line of candidate pairs the first earlier one that it is near."""
    found: dict[int, int] = {}
    for later, earlier in pairs:
        if later not in found and near(texts[later], texts[earlier]):
            found[later] = earlier
    return found
