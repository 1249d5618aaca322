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
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmt.core.logging import say
from nmt.core.process_pool import Pool
from nmt.data.corpus.pair_windows import (
    MIN_PAIRS_FOR_WORKERS,
    PairWindow,
    decode_line,
    read_windows,
    sample_pairs,
)
from nmt.data.corpus.text_set_reader import TextSetReader
from nmt.data.text.text_features import count_numbers

MAX_OFFSET = 2
OFFSETS = tuple(range(-MAX_OFFSET, MAX_OFFSET + 1))
UNRELATED = len(OFFSETS)
STATES = UNRELATED + 1
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

FloatArray = NDArray[np.float32]

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
class AlignmentModel:
    """Log-likelihood ratios of a pair standing on one line."""

    lexicon: Lexicon
    edges: FloatArray
    """BINS - 1 edges of the length's bins."""
    of_length: FloatArray
    of_words: FloatArray
    """The last entry is for lines without a known word."""
    of_numbers: FloatArray
    """By `numbers_bin`."""

    def ratios(self, src: Sequence[str], tgt: Sequence[str], first: int, count: int) -> FloatArray:
        """Return count x OFFSETS ratios for source lines; `tgt[first]` stands beside the first.

        -inf where there is no target line.
        """
        tgt_words = [set(words(line)) for line in tgt]
        tgt_lengths = np.array([length(line) for line in tgt])
        tgt_numbers = [count_numbers(line) for line in tgt]
        found = np.full((count, len(OFFSETS)), -np.inf, np.float32)
        for i in range(count):
            own = words(src[i])
            own_length, own_numbers = length(src[i]), count_numbers(src[i])
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


def fit_alignment_model(pairs: Sequence[tuple[str, str]]) -> AlignmentModel | None:
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
            numbers_bin(count_numbers(src), count_numbers(t))
            for (src, _), t in zip(rest, tgts, strict=True)
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
    return AlignmentModel(lexicon, edges, of_length, of_words, of_numbers)


@dataclass(frozen=True)
class MisalignedBlock:
    """Lines first..last, counted from 1, whose translation is `offset` lines further down."""

    first: int
    last: int
    offset: int | None
    """None if the sides are unrelated."""

    @property
    def reason(self) -> str:
        """Say why its pairs are dropped."""
        if self.offset is None:
            return "misaligned, sides unrelated"
        direction = "down" if self.offset > 0 else "up"
        lines = "1 line" if abs(self.offset) == 1 else f"{abs(self.offset)} lines"
        return f"misaligned, translation {lines} {direction}"


class BlockSearch:
    """Viterbi search for misaligned blocks in a stream of lines.

    States are the OFFSETS and UNRELATED. A line's state is final once the best paths to all states
    of a later line go through it, so only the lines since then are kept.
    """

    def __init__(self) -> None:
        self._scores = np.full(STATES, -CHANGE)
        self._scores[MAX_OFFSET] = 0
        self._previous: list[NDArray[np.int64]] = []
        """For each line that is not final, the best state of the line before, by state."""
        self._state = MAX_OFFSET
        self._begin = self._end = 0
        """The run of equal states that ends at the last final line."""

    def add(self, ratios: FloatArray) -> list[MisalignedBlock]:
        """Add the next lines (lines x OFFSETS) and return the blocks that are complete now."""
        stay = np.arange(STATES)
        emissions = np.zeros((len(ratios), STATES))
        emissions[:, : len(OFFSETS)] = ratios
        for emission in emissions:
            top = int(self._scores.argmax())
            changes = self._scores[top] - CHANGE > self._scores
            self._previous.append(np.where(changes, top, stay))
            self._scores = np.where(changes, self._scores[top] - CHANGE, self._scores) + emission
        states = np.arange(STATES)
        for i in range(len(self._previous) - 1, -1, -1):
            states = self._previous[i][states]
            if (states == states[0]).all():
                return self._finalize(int(states[0]), i)
        return []

    def finish(self) -> list[MisalignedBlock]:
        """Return the blocks among the last lines."""
        costs = np.where(np.arange(STATES) == MAX_OFFSET, 0, CHANGE)
        blocks = self._finalize(int((self._scores - costs).argmax()), len(self._previous))
        return blocks + self._close_run()

    def _finalize(self, state: int, count: int) -> list[MisalignedBlock]:
        """Trace the best path back over the first `count` lines; the last of them has `state`."""
        states = []
        for previous in reversed(self._previous[:count]):
            states.append(state)
            state = int(previous[state])
        del self._previous[:count]
        blocks = []
        for line_state in reversed(states):
            if line_state != self._state:
                blocks += self._close_run()
                self._state = line_state
            self._end += 1
        return blocks

    def _close_run(self) -> list[MisalignedBlock]:
        """Return the current run if it is a block, and begin the next one."""
        first, self._begin = self._begin + 1, self._end
        if self._state == MAX_OFFSET or self._end - first + 1 < LEAST_BLOCK:
            return []
        offset = None if self._state == UNRELATED else OFFSETS[self._state]
        return [MisalignedBlock(first, self._end, offset)]


def find_misaligned_blocks(ratios: FloatArray) -> list[MisalignedBlock]:
    """Return the misaligned blocks of at least LEAST_BLOCK lines; `ratios` is lines x OFFSETS."""
    search = BlockSearch()
    return search.add(ratios) + search.finish()


def misaligned_blocks(source: TextSetReader, cores: int) -> list[MisalignedBlock]:
    """Return the misaligned blocks of a text set, in order.

    Reads the text three times; memory holds a sample of it and does not grow with the text. The
    result is remembered, because the tokenizer and the corpus are made of the same text.
    """
    files = [(file, file.stat().st_size, file.stat().st_mtime_ns) for file in source.files]
    key = (*files, source.form, *source.columns)
    if key not in _blocks_of_source:
        _blocks_of_source[key] = _search(source, cores)
    return _blocks_of_source[key]


_blocks_of_source: dict[Hashable, list[MisalignedBlock]] = {}


def _search(source: TextSetReader, cores: int) -> list[MisalignedBlock]:
    (count, _), sample = sample_pairs(source)
    fitness = fit_alignment_model(sample)
    if fitness is None:
        return []
    search = BlockSearch()
    blocks: list[MisalignedBlock] = []
    processes = cores if cores > 1 and count >= MIN_PAIRS_FOR_WORKERS else 0
    if count >= MIN_PAIRS_FOR_WORKERS:
        say(f"data.clean.misaligned: searching {count} pairs of {source.files[0]}")
    with Pool(_window_ratios, fitness, processes) as pool:
        for ratios in pool.map(read_windows(source, MAX_OFFSET)):
            blocks += search.add(ratios)
    return blocks + search.finish()


def _window_ratios(fitness: AlignmentModel, window: PairWindow) -> FloatArray:
    src, before, tgt, after = (
        [decode_line(raw) for raw in lines]
        for lines in (window.src, window.before, window.tgt, window.after)
    )
    return fitness.ratios(src, [*before, *tgt, *after], len(before), len(src))
