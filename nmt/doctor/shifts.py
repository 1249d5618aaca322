"""Blocks of lines that would fit better some lines up or down, or nowhere.

Each line i of the source is held against lines i - REACH .. i + REACH of the target. What speaks
for a pair: how many of the source's words have a translation there, by a lexicon of word
associations learned from the corpus itself, the ratio of lengths, and whether both hold the same
numbers, by which alone the lines of a list may differ. Each becomes a log-likelihood ratio of pairs
on one line against pairs drawn at random, from histograms of a sample. A Viterbi
search then finds the most likely offset of every line, where changing it costs CHANGE nats; pairs
that fit nowhere have a state of their own, with ratio 0.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmt.data.contents import numbers

REACH = 2
OFFSETS = tuple(range(-REACH, REACH + 1))
CHANGE = 12.0
"""Nats; every block changes the offset twice."""
LEAST_BLOCK = 20
"""Lines; shorter blocks are not told."""
TRANSLATIONS = 3
LEAST_SEEN = 3
LEAST_DICE = 0.1
WORDS_OF_A_LINE = 60
BINS = 10
LEAST_SAMPLE = 200

Floats = NDArray[np.float32]

WORD = re.compile(r"[^\W\d_]+|\d+")
UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese, which put no blanks between words."""


def words(line: str) -> list[str]:
    """Return the words of a line, in small letters; a character each where none are spaced."""
    if UNSPACED.search(line):
        line = UNSPACED.sub(r" \g<0> ", line)
    return WORD.findall(line.lower())[:WORDS_OF_A_LINE]


def length(line: str) -> float:
    """Return a line's length such that differences of lengths are log ratios."""
    return math.log(len(line) + 5)


class Lexicon:
    """Which target words stand beside a source word more than by chance.

    The Dice coefficient, 2 n(s, t) / (n(s) + n(t)), n the lines that hold a word.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        ids: tuple[dict[str, int], dict[str, int]] = ({}, {})
        codes = []
        seen: list[list[int]] = [[], []]
        for pair in pairs:
            own = [
                np.unique([ids[side].setdefault(w, len(ids[side])) for w in words(text)])
                for side, text in enumerate(pair)
            ]
            for side in (0, 1):
                seen[side].extend(own[side].tolist())
            if len(own[0]) and len(own[1]):
                codes.append((own[0].astype(np.int64)[:, None] * 2**32 + own[1]).ravel())
        counts = [np.bincount(s, minlength=len(i)) for s, i in zip(seen, ids, strict=True)]
        self.best: dict[str, list[str]] = {}
        self.weight: dict[str, float] = {}
        if not codes:
            return
        code, joint = np.unique(np.concatenate(codes), return_counts=True)
        src, tgt = code // 2**32, code % 2**32
        dice = 2 * joint / (counts[0][src] + counts[1][tgt])
        good = (joint >= LEAST_SEEN) & (dice >= LEAST_DICE)
        names = [list(i) for i in ids]
        for place in np.flatnonzero(good)[np.argsort(-dice[good], kind="stable")]:
            word = names[0][src[place]]
            best = self.best.setdefault(word, [])
            if len(best) < TRANSLATIONS:
                best.append(names[1][tgt[place]])
        for word in self.best:
            self.weight[word] = math.log(len(pairs) / counts[0][ids[0][word]]) + 0.1

    def fit(self, src: Sequence[str], tgt: set[str]) -> float:
        """Return the share of a source line's words that the target line translates, or nan.

        Rare words weigh more, by the log of one over their share of all lines.
        """
        known = found = 0.0
        for word in set(src):
            best = self.best.get(word)
            if best is not None:
                known += self.weight[word]
                if not tgt.isdisjoint(best):
                    found += self.weight[word]
        return found / known if known else math.nan


@dataclass(frozen=True)
class Fitness:
    """Log-likelihood ratios of a pair standing on one line."""

    lexicon: Lexicon
    edges: Floats
    """BINS - 1 edges of the length's bins."""
    of_length: Floats
    of_words: Floats
    """The last entry is for lines without a known word."""
    of_numbers: Floats
    """By `numbers_bin`."""

    def ratios(self, src: Sequence[str], tgt: Sequence[str], first: int, count: int) -> Floats:
        """Return count x OFFSETS ratios for source lines; `tgt[first]` stands beside the first.

        -inf where there is no target line.
        """
        tgt_words = [set(words(line)) for line in tgt]
        tgt_lengths = np.array([length(line) for line in tgt])
        tgt_numbers = [numbers(line) for line in tgt]
        found = np.full((count, len(OFFSETS)), -np.inf, np.float32)
        for i in range(count):
            own = words(src[i])
            own_length, own_numbers = length(src[i]), numbers(src[i])
            for k, offset in enumerate(OFFSETS):
                j = first + i + offset
                if 0 <= j < len(tgt):
                    fit = self.lexicon.fit(own, tgt_words[j])
                    bin_ = np.searchsorted(self.edges, tgt_lengths[j] - own_length)
                    found[i, k] = self.of_words[word_bin(fit)] + self.of_length[bin_]
                    found[i, k] += self.of_numbers[numbers_bin(own_numbers, tgt_numbers[j])]
        return found


def word_bin(fit: float) -> int:
    """Return the histogram's bin of a share of translated words."""
    return BINS if math.isnan(fit) else min(int(fit * BINS), BINS - 1)


def numbers_bin(src: Counter[str], tgt: Counter[str]) -> int:
    """Return 0 where neither side holds numbers, 1 for the same ones, 2 for some, 3 for others."""
    if src == tgt:
        return 1 if src else 0
    return 2 if src.keys() & tgt.keys() else 3


def learn_fitness(pairs: Sequence[tuple[str, str]]) -> Fitness | None:
    """Learn what pairs of this corpus look like from a sample of it; None for too small a one.

    Half of the sample makes the lexicon, half the histograms.
    """
    pairs = [pair for pair in pairs if pair[0].strip() and pair[1].strip()]
    if len(pairs) < LEAST_SAMPLE:
        return None
    rng = random.Random(1)
    pairs = rng.sample(pairs, len(pairs))
    half = len(pairs) // 2
    lexicon, rest = Lexicon(pairs[:half]), pairs[half:]
    own = [tgt for _, tgt in rest]
    others = own[1:] + own[:1]
    differences = [
        np.array([length(tgt) - length(src) for (src, _), tgt in zip(rest, tgts, strict=True)])
        for tgts in (own, others)
    ]
    edges = np.quantile(differences[1], np.linspace(0, 1, BINS + 1)[1:-1]).astype(np.float32)
    by_length = [np.bincount(np.searchsorted(edges, d), minlength=BINS) + 1.0 for d in differences]
    by_words, by_numbers = [], []
    for tgts in (own, others):
        kinds = [
            numbers_bin(numbers(src), numbers(t)) for (src, _), t in zip(rest, tgts, strict=True)
        ]
        by_numbers.append(np.bincount(kinds, minlength=4) + 1.0)
        fits = [
            word_bin(lexicon.fit(words(src), set(words(tgt))))
            for (src, _), tgt in zip(rest, tgts, strict=True)
        ]
        by_words.append(np.bincount(fits, minlength=BINS + 1) + 1.0)
    of_length, of_words, of_numbers = (
        np.log(one / other).astype(np.float32) for one, other in (by_length, by_words, by_numbers)
    )
    of_words[BINS] = 0
    return Fitness(lexicon, edges, of_length, of_words, of_numbers)


@dataclass(frozen=True)
class Block:
    """Lines first..last, counted from 1, whose target stands `offset` lines further down."""

    first: int
    last: int
    offset: int | None
    """None where the two sides have nothing to do with each other."""


def find_blocks(ratios: Floats) -> list[Block]:
    """Return the blocks of at least LEAST_BLOCK lines that do not stand beside their translation.

    `ratios` is lines x OFFSETS.
    """
    lines = len(ratios)
    nowhere = len(OFFSETS)
    scores = np.concatenate([ratios, np.zeros((lines, 1), np.float32)], 1).astype(np.float64)
    back = np.empty((lines, nowhere + 1), np.int8)
    best = np.full(nowhere + 1, -CHANGE)
    best[REACH] = 0
    stay = np.arange(nowhere + 1)
    for i in range(lines):
        top = int(best.argmax())
        moves = best[top] - CHANGE > best
        back[i] = np.where(moves, top, stay)
        best = np.where(moves, best[top] - CHANGE, best) + scores[i]
    states = np.empty(lines, np.int8)
    state = int((best - np.where(stay == REACH, 0, CHANGE)).argmax())
    for i in range(lines - 1, -1, -1):
        states[i] = state
        state = back[i, state]
    edges = np.flatnonzero(np.diff(states)) + 1
    blocks = []
    for begin, end in zip([0, *edges], [*edges, lines], strict=True):
        if begin < end and states[begin] != REACH and end - begin >= LEAST_BLOCK:
            state = int(states[begin])
            offset = None if state == nowhere else OFFSETS[state]
            blocks.append(Block(int(begin) + 1, int(end), offset))
    return blocks
