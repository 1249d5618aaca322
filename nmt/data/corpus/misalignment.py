"""Find misaligned blocks: consecutive lines whose translations are a few lines off, or missing.

Each source line i is compared with the target lines i - MAX_OFFSET .. i + MAX_OFFSET, by three
features: the share of source words that have a translation in the target line, the ratio of the
lengths, and the numbers in both lines (lines of a list may differ in these alone). The translations
come from a lexicon of word associations, which is learned from the corpus itself.

Each feature is converted to a log-likelihood ratio of aligned pairs against random pairs, by
histograms of a sample. A Viterbi search then finds the most likely offset of every line; each
change of the offset costs CHANGE_COST nats. Unrelated lines have a separate state with ratio 0.
"""

from __future__ import annotations

import logging
import math
import random
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmt.core.process_pool import ProcessPool
from nmt.data.corpus.pair_windows import (
    MIN_PAIRS_FOR_WORKERS,
    PairWindow,
    decode_line,
    read_windows,
    sample_pairs,
)
from nmt.data.corpus.text_set_reader import TextSetReader
from nmt.data.text.text_features import count_numbers

logger = logging.getLogger(__name__)

MAX_OFFSET = 2
"""Maximum distance, in lines, between a source line and its translation."""
OFFSETS = tuple(range(-MAX_OFFSET, MAX_OFFSET + 1))
ALIGNED = MAX_OFFSET
"""Viterbi state of offset 0; the state of offset o is ALIGNED + o."""
UNRELATED = len(OFFSETS)
"""Viterbi state of lines without a translation."""
STATES = UNRELATED + 1
CHANGE_COST = 12.0
"""Cost of a change of state, in nats; each block costs two changes."""
MIN_BLOCK = 20
"""Minimum number of lines of a reported block."""

MAX_TRANSLATIONS = 3
"""Maximum number of translations per source word in the lexicon."""
MIN_COOCCURRENCES = 3
"""Minimum number of pairs that contain a source word and its translation."""
MIN_DICE = 0.1
"""Minimum Dice coefficient of a source word and its translation."""
MAX_WORDS = 60
"""Maximum number of words that are read per line."""
BINS = 10
"""Number of bins of the histograms of lengths and of lexicon coverage."""
MIN_SAMPLE = 200
"""Minimum number of pairs from which a model is estimated."""

FloatArray = NDArray[np.float32]

WORD = re.compile(r"[^\W\d_]+|\d+")
UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese characters, which are written without spaces."""


def split_words(line: str) -> list[str]:
    """Return the words of a line in lower case; a word per character in unspaced scripts."""
    if UNSPACED.search(line):
        line = UNSPACED.sub(r" \g<0> ", line)
    return WORD.findall(line.lower())[:MAX_WORDS]


def log_length(line: str) -> float:
    """Return the logarithm of the length of a line, so that differences are log ratios."""
    return math.log(len(line) + 5)


class Lexicon:
    """Translations of source words, learned from co-occurrences in pairs.

    Words are associated by the Dice coefficient 2 n(s, t) / (n(s) + n(t)), where n is the number
    of pairs that contain the words.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        src_ids: dict[str, int] = {}
        tgt_ids: dict[str, int] = {}
        src_occurrences: list[int] = []
        tgt_occurrences: list[int] = []
        cooccurrences = []
        for src, tgt in pairs:
            src_line_ids, tgt_line_ids = _word_ids(src, src_ids), _word_ids(tgt, tgt_ids)
            src_occurrences.extend(src_line_ids.tolist())
            tgt_occurrences.extend(tgt_line_ids.tolist())
            if len(src_line_ids) and len(tgt_line_ids):
                codes = src_line_ids.astype(np.int64)[:, None] * 2**32 + tgt_line_ids
                cooccurrences.append(codes.ravel())
        src_counts = np.bincount(src_occurrences, minlength=len(src_ids))
        tgt_counts = np.bincount(tgt_occurrences, minlength=len(tgt_ids))
        self.translations: dict[str, list[str]] = {}
        """Translations of each source word, the best first."""
        self.weights: dict[str, float] = {}
        """Weight of each source word: the logarithm of pairs per occurrence, plus 0.1."""
        if not cooccurrences:
            return
        code, joint_counts = np.unique(np.concatenate(cooccurrences), return_counts=True)
        src_word, tgt_word = code // 2**32, code % 2**32
        dice = 2 * joint_counts / (src_counts[src_word] + tgt_counts[tgt_word])
        is_associated = (joint_counts >= MIN_COOCCURRENCES) & (dice >= MIN_DICE)
        src_words, tgt_words = list(src_ids), list(tgt_ids)
        best_first = np.argsort(-dice[is_associated], kind="stable")
        for i in np.flatnonzero(is_associated)[best_first]:
            translations = self.translations.setdefault(src_words[src_word[i]], [])
            if len(translations) < MAX_TRANSLATIONS:
                translations.append(tgt_words[tgt_word[i]])
        for word in self.translations:
            self.weights[word] = math.log(len(pairs) / src_counts[src_ids[word]]) + 0.1

    def coverage(self, src_words: Sequence[str], tgt_words: set[str]) -> float:
        """Return the weighted share of source words with a translation in the target line.

        Source words without an entry do not count; nan if no word has an entry.
        """
        total = covered = 0.0
        for word in set(src_words):
            translations = self.translations.get(word)
            if translations is not None:
                total += self.weights[word]
                if not tgt_words.isdisjoint(translations):
                    covered += self.weights[word]
        return covered / total if total else math.nan


def _word_ids(line: str, ids: dict[str, int]) -> NDArray[np.int64]:
    """Return the sorted, distinct ids of the words of a line; add new words to `ids`."""
    return np.unique([ids.setdefault(word, len(ids)) for word in split_words(line)])


@dataclass(frozen=True)
class AlignmentModel:
    """Log-likelihood ratios of aligned pairs against random pairs, by feature."""

    lexicon: Lexicon
    length_edges: FloatArray
    """BINS - 1 edges between the bins of differences of log lengths."""
    length_ratios: FloatArray
    """BINS ratios."""
    coverage_ratios: FloatArray
    """BINS + 1 ratios; the last is for lines without a word of the lexicon."""
    number_ratios: FloatArray
    """4 ratios, by `numbers_bin`."""

    def log_ratios(
        self, src: Sequence[str], tgt: Sequence[str], first: int, count: int
    ) -> FloatArray:
        """Return count x OFFSETS log-likelihood ratios of source lines and shifted target lines.

        `tgt[first]` is on the line of `src[0]`. Offsets without a target line have ratio -inf.
        """
        tgt_words = [set(split_words(line)) for line in tgt]
        tgt_lengths = np.array([log_length(line) for line in tgt])
        tgt_numbers = [count_numbers(line) for line in tgt]
        ratios = np.full((count, len(OFFSETS)), -np.inf, np.float32)
        for i in range(count):
            src_words = split_words(src[i])
            src_length, src_numbers = log_length(src[i]), count_numbers(src[i])
            for k, offset in enumerate(OFFSETS):
                j = first + i + offset
                if 0 <= j < len(tgt):
                    coverage = self.lexicon.coverage(src_words, tgt_words[j])
                    length_bin = np.searchsorted(self.length_edges, tgt_lengths[j] - src_length)
                    ratios[i, k] = (
                        self.coverage_ratios[coverage_bin(coverage)]
                        + self.length_ratios[length_bin]
                    )
                    ratios[i, k] += self.number_ratios[numbers_bin(src_numbers, tgt_numbers[j])]
        return ratios


def coverage_bin(coverage: float) -> int:
    """Return the histogram bin of a lexicon coverage."""
    return BINS if math.isnan(coverage) else min(int(coverage * BINS), BINS - 1)


def numbers_bin(src: Counter[str], tgt: Counter[str]) -> int:
    """Return 0 if no side has numbers, 1 for equal, 2 for overlapping, 3 for different numbers."""
    if src == tgt:
        return 1 if src else 0
    return 2 if src.keys() & tgt.keys() else 3


def fit_alignment_model(pairs: Sequence[tuple[str, str]]) -> AlignmentModel | None:
    """Estimate the model from a sample of a text set; None if the sample is too small.

    One half of the sample gives the lexicon, the other half the histograms.
    """
    pairs = [pair for pair in pairs if pair[0].strip() and pair[1].strip()]
    if len(pairs) < MIN_SAMPLE:
        return None
    rng = random.Random(1)
    pairs = rng.sample(pairs, len(pairs))
    half = len(pairs) // 2
    lexicon = Lexicon(pairs[:half])
    src = [src_line for src_line, _ in pairs[half:]]
    aligned_tgt = [tgt_line for _, tgt_line in pairs[half:]]
    random_tgt = aligned_tgt[1:] + aligned_tgt[:1]
    aligned, unaligned = (_measure(lexicon, src, tgt) for tgt in (aligned_tgt, random_tgt))
    quantiles = np.linspace(0, 1, BINS + 1)[1:-1]
    edges = np.quantile(unaligned.length_differences, quantiles).astype(np.float32)
    length_ratios = _log_ratios_of_bins(
        np.searchsorted(edges, aligned.length_differences),
        np.searchsorted(edges, unaligned.length_differences),
        BINS,
    )
    coverage_ratios = _log_ratios_of_bins(aligned.coverage_bins, unaligned.coverage_bins, BINS + 1)
    coverage_ratios[BINS] = 0
    number_ratios = _log_ratios_of_bins(aligned.numbers_bins, unaligned.numbers_bins, 4)
    return AlignmentModel(lexicon, edges, length_ratios, coverage_ratios, number_ratios)


@dataclass(frozen=True)
class _Features:
    """Features of pairs, one entry per pair."""

    length_differences: NDArray[np.float64]
    coverage_bins: list[int]
    numbers_bins: list[int]


def _measure(lexicon: Lexicon, src: Sequence[str], tgt: Sequence[str]) -> _Features:
    """Return the features of pairs of lines."""
    pairs = list(zip(src, tgt, strict=True))
    return _Features(
        np.array([log_length(t) - log_length(s) for s, t in pairs]),
        [coverage_bin(lexicon.coverage(split_words(s), set(split_words(t)))) for s, t in pairs],
        [numbers_bin(count_numbers(s), count_numbers(t)) for s, t in pairs],
    )


def _log_ratios_of_bins(
    aligned: Sequence[int] | NDArray[np.int64],
    unaligned: Sequence[int] | NDArray[np.int64],
    bins: int,
) -> FloatArray:
    """Return the log ratio of two histograms, with add-one smoothing."""
    aligned_counts = np.bincount(aligned, minlength=bins) + 1.0
    unaligned_counts = np.bincount(unaligned, minlength=bins) + 1.0
    return np.log(aligned_counts / unaligned_counts).astype(np.float32)


@dataclass(frozen=True)
class MisalignedBlock:
    """Lines first .. last, counted from 1, with translations `offset` lines further down."""

    first: int
    last: int
    offset: int | None
    """Offset in lines; None if the sides are unrelated."""

    @property
    def reason(self) -> str:
        """Reason for which its pairs are dropped."""
        if self.offset is None:
            return "misaligned, sides unrelated"
        direction = "down" if self.offset > 0 else "up"
        lines = "1 line" if abs(self.offset) == 1 else f"{abs(self.offset)} lines"
        return f"misaligned, translation {lines} {direction}"


class BlockSearch:
    """Viterbi search for misaligned blocks in a stream of lines.

    The state of a line is final if the best paths to all states of a later line agree on it. Only
    lines that are not final are stored.
    """

    def __init__(self) -> None:
        self._scores = np.full(STATES, -CHANGE_COST)
        self._scores[ALIGNED] = 0
        self._backpointers: list[NDArray[np.int64]] = []
        """For each line that is not final, the best state of the line before, by state."""
        self._run_state = ALIGNED
        self._run_begin = self._run_end = 0
        """The run of equal states that ends with the last final line."""

    def add(self, log_ratios: FloatArray) -> list[MisalignedBlock]:
        """Add lines (lines x OFFSETS); return the blocks that are final and complete."""
        same_state = np.arange(STATES)
        emissions = np.zeros((len(log_ratios), STATES))
        emissions[:, : len(OFFSETS)] = log_ratios
        for emission in emissions:
            best = int(self._scores.argmax())
            changed_score = self._scores[best] - CHANGE_COST
            should_change = changed_score > self._scores
            self._backpointers.append(np.where(should_change, best, same_state))
            self._scores = np.where(should_change, changed_score, self._scores) + emission
        states = np.arange(STATES)
        for i in range(len(self._backpointers) - 1, -1, -1):
            states = self._backpointers[i][states]
            if (states == states[0]).all():
                return self._finalize(int(states[0]), i)
        return []

    def finish(self) -> list[MisalignedBlock]:
        """Return the blocks among the last lines."""
        costs = np.where(np.arange(STATES) == ALIGNED, 0, CHANGE_COST)
        last_state = int((self._scores - costs).argmax())
        blocks = self._finalize(last_state, len(self._backpointers))
        return blocks + self._close_run()

    def _finalize(self, state: int, count: int) -> list[MisalignedBlock]:
        """Trace back the best path of the first `count` lines; the last of these has `state`."""
        states = []
        for backpointers in reversed(self._backpointers[:count]):
            states.append(state)
            state = int(backpointers[state])
        del self._backpointers[:count]
        blocks = []
        for line_state in reversed(states):
            if line_state != self._run_state:
                blocks += self._close_run()
                self._run_state = line_state
            self._run_end += 1
        return blocks

    def _close_run(self) -> list[MisalignedBlock]:
        """Return the current run if it is a block, and begin the next one."""
        first, self._run_begin = self._run_begin + 1, self._run_end
        if self._run_state == ALIGNED or self._run_end - first + 1 < MIN_BLOCK:
            return []
        offset = None if self._run_state == UNRELATED else OFFSETS[self._run_state]
        return [MisalignedBlock(first, self._run_end, offset)]


def blocks_from_ratios(log_ratios: FloatArray) -> list[MisalignedBlock]:
    """Return the misaligned blocks of lines with these lines x OFFSETS log-likelihood ratios."""
    search = BlockSearch()
    return search.add(log_ratios) + search.finish()


_cached_blocks: dict[Hashable, list[MisalignedBlock]] = {}


def find_misaligned_blocks(reader: TextSetReader, cores: int) -> list[MisalignedBlock]:
    """Return the misaligned blocks of a text set, in order.

    Reads the text three times. Memory holds a sample, so it does not grow with the text. The result
    is cached, because the tokenizer stage and the corpus stage read the same text.
    """
    files = [(file, file.stat().st_size, file.stat().st_mtime_ns) for file in reader.files]
    key = (*files, *reader.layout)
    if key not in _cached_blocks:
        _cached_blocks[key] = _search(reader, cores)
    return _cached_blocks[key]


def _search(reader: TextSetReader, cores: int) -> list[MisalignedBlock]:
    """Search a text set for misaligned blocks."""
    sample = sample_pairs(reader)
    model = fit_alignment_model(sample.pairs)
    if model is None:
        return []
    count = sample.line_counts[0]
    processes = 0
    if count >= MIN_PAIRS_FOR_WORKERS:
        processes = cores if cores > 1 else 0
        logger.info(f"data.clean.misaligned: searching {count} pairs of {reader.files[0]}")
    search = BlockSearch()
    blocks: list[MisalignedBlock] = []
    with ProcessPool(_window_ratios, model, processes) as pool:
        for log_ratios in pool.map(read_windows(reader, MAX_OFFSET)):
            blocks += search.add(log_ratios)
    return blocks + search.finish()


def _window_ratios(model: AlignmentModel, window: PairWindow) -> FloatArray:
    """Return the log-likelihood ratios of the lines of a window."""
    src = [decode_line(raw) for raw in window.src]
    tgt_lines = [*window.tgt_before, *window.tgt, *window.tgt_after]
    tgt = [decode_line(raw) for raw in tgt_lines]
    return model.log_ratios(src, tgt, len(window.tgt_before), len(src))
