"""Find equal and nearly equal lines by 64-bit hashes and MinHash over character 5-grams.

Two lines are near duplicates if their sets of 5-grams have a Jaccard index of at least 0.8. A
MinHash of 3 values agrees for such lines with probability 0.8^3. At least one of 8 independent
bands agrees with probability 1 - (1 - 0.8^3)^8 = 0.997 (Broder 1997; Leskovec et al. 2014, 3.4).
Candidates are then compared by their 5-grams.

Array shapes: L lines, C candidates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

NGRAM = 5
MIN_JACCARD = 0.8
BANDS, ROWS = 8, 3
"""Number of MinHash bands, and of minima per band. The minima of a band form one key."""
MAX_COMPARISONS = 20
"""Maximum number of held-out lines per key that a line is compared with, to bound the time."""

Hashes = NDArray[np.uint64]
Keys = NDArray[np.uint32]
Indices = NDArray[np.int64]

# Hash functions: each n-gram hash times an odd factor, of which the upper half is used.
_FACTORS = np.random.default_rng(1).integers(1, 2**63, BANDS * ROWS, dtype=np.uint64) * 2 + 1
_MIX = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)


def normalize_spaces(text: str) -> str:
    """Return the words of a line with one space between them."""
    return " ".join(text.split())


def hash_lines(lines: Sequence[str]) -> Hashes:
    """Return a hash (L) of each line with normalized spaces; 0 for blank lines."""
    hashes = np.empty(len(lines), np.uint64)
    for i, line in enumerate(lines):
        text = normalize_spaces(line)
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        hashes[i] = int.from_bytes(digest, "little") if text else 0
    return hashes


def extract_ngrams(line: str) -> set[str]:
    """Return the set of character 5-grams of a line; a shorter line is one n-gram."""
    text = normalize_spaces(line)
    return {text[i : i + NGRAM] for i in range(max(1, len(text) - NGRAM + 1))}


def jaccard_index(first: set[str], second: set[str]) -> float:
    """Return the Jaccard index: the size of the intersection divided by that of the union."""
    common = len(first & second)
    return common / (len(first) + len(second) - common)


def is_near_duplicate(first: str, second: str) -> bool:
    """Return whether two lines are equal or near duplicates."""
    return jaccard_index(extract_ngrams(first), extract_ngrams(second)) >= MIN_JACCARD


def compute_minhash_keys(lines: Sequence[str]) -> Keys:
    """Return keys (L x BANDS); near duplicates share a key with probability 0.997."""
    if not lines:
        return np.empty((0, BANDS), np.uint32)
    texts = [normalize_spaces(line).ljust(NGRAM) for line in lines]
    characters = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    length = len(characters) - NGRAM + 1
    ngram_hashes = np.zeros(length, np.uint64)
    for i in range(NGRAM):
        ngram_hashes = ngram_hashes * _MIX + characters[i : i + length]
    line_ends = np.cumsum([len(text) for text in texts])
    is_within_line = np.ones(length, bool)
    for i in range(1, NGRAM):
        is_within_line[line_ends[:-1] - i] = False
    ngram_hashes = (ngram_hashes ^ (ngram_hashes >> _HALF))[is_within_line]
    ngram_counts = np.array([len(text) - NGRAM + 1 for text in texts])
    starts = np.concatenate([[0], np.cumsum(ngram_counts)[:-1]])
    keys = np.zeros((len(lines), BANDS), np.uint64)
    for i, factor in enumerate(_FACTORS):
        minima = np.minimum.reduceat((ngram_hashes * factor) >> _HALF, starts)
        keys[:, i // ROWS] = (keys[:, i // ROWS] ^ minima) * _MIX
    return (keys >> _HALF).astype(np.uint32)


def find_first_occurrences(hashes: Hashes) -> Indices:
    """Return for each hash the index of the first equal one."""
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    occurrences: Indices = first[inverse]
    return occurrences


def find_candidates(keys: Keys, rows: Indices) -> Indices:
    """Return index pairs (C x 2: later line, earlier line) of `rows` that share a key.

    A line is paired with the first line with the same key and with the previous one, so that the
    number of pairs grows linearly.
    """
    pairs = [np.empty((0, 2), np.int64)]
    for band in range(BANDS):
        column = keys[rows, band]
        order = np.argsort(column, kind="stable")
        repeated = np.flatnonzero(column[order][1:] == column[order][:-1]) + 1
        if not len(repeated):
            continue
        is_group_start = np.ones(len(order), bool)
        is_group_start[repeated] = False
        group_starts = np.flatnonzero(is_group_start)[np.cumsum(is_group_start) - 1]
        for earlier in (group_starts[repeated], repeated - 1):
            pairs.append(np.stack([rows[order[repeated]], rows[order[earlier]]], 1))
    return np.unique(np.concatenate(pairs), axis=0)


def verify_candidates(candidates: Iterable[Sequence[int]], texts: dict[int, str]) -> dict[int, int]:
    """Return for each later line of a candidate pair the first earlier near duplicate."""
    duplicates: dict[int, int] = {}
    for later, earlier in candidates:
        if later not in duplicates and is_near_duplicate(texts[later], texts[earlier]):
            duplicates[later] = earlier
    return duplicates


class DuplicateIndex:
    """An index of the lines of one held-out side that finds their copies in training text."""

    def __init__(self, lines: Sequence[str]) -> None:
        """Index the held-out `lines`."""
        self._ngrams = [extract_ngrams(line) for line in lines]
        self.exact: dict[int, int] = {}
        """For each hash, the index of the first line."""
        for i, line_hash in reversed(list(enumerate(hash_lines(lines).tolist()))):
            self.exact[line_hash] = i
        self.exact.pop(0, None)  # blank lines
        self._lines_by_key: list[dict[int, list[int]]] = [defaultdict(list) for _ in range(BANDS)]
        for i, line_keys in enumerate(compute_minhash_keys(lines).tolist()):
            if self._ngrams[i] != {""}:
                for lines_by_key, key in zip(self._lines_by_key, line_keys, strict=True):
                    lines_by_key[key].append(i)
        self._band_keys = [
            np.array(sorted(lines_by_key), np.uint32) for lines_by_key in self._lines_by_key
        ]

    def find_near_duplicates(self, lines: Sequence[str], keys: Keys) -> dict[int, int]:
        """Return {index in `lines`: index of the most similar held-out line} of near duplicates.

        `keys` (L x BANDS) are the MinHash keys of `lines`. Of equally similar held-out lines, the
        first is returned.
        """
        shares_key = np.stack(
            [np.isin(keys[:, band], band_keys) for band, band_keys in enumerate(self._band_keys)], 1
        )
        near_duplicates = {}
        for i in np.flatnonzero(shares_key.any(1)).tolist():
            candidates = sorted(
                {
                    candidate
                    for band in np.flatnonzero(shares_key[i])
                    for candidate in self._lines_by_key[band][int(keys[i, band])][:MAX_COMPARISONS]
                }
            )
            ngrams = extract_ngrams(lines[i])
            similarities = [
                jaccard_index(ngrams, self._ngrams[candidate]) for candidate in candidates
            ]
            highest = max(similarities)
            if highest >= MIN_JACCARD:
                near_duplicates[i] = candidates[similarities.index(highest)]
        return near_duplicates
