"""One look at all lines, on all cores: statistics of the metrics and what each line tells.

n lines, S systems, R reference files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from nmt.core.process_pool import Pool
from nmt.evaluation.line_checks import (
    COPIES,
    KINDS,
    Copied,
    copied,
    has_new_number,
    kinds,
    suspicions,
    word_splitter,
)
from nmt.evaluation.metrics import (
    DEFAULT_METRICS,
    Mean,
    Metrics,
    Statistics,
    make_metrics,
    scored,
    statistics,
)

CHUNK = 250
"""Lines that a process scores at a time, at most."""
CHUNK_CHARACTERS = 50_000
"""Reference characters that it scores at a time, about: TER takes seconds for a long line."""
LEAST_LINES = 2000
"""Hypotheses below which starting processes takes longer than they save."""


@dataclass(frozen=True)
class TestSet:
    """Lines to translate, and how people translated them."""

    __test__ = False

    name: str
    references: list[list[str]]
    """R x n."""
    src: list[str] | None
    """n; None where translations alone are scored."""
    src_lang: str
    tgt_lang: str
    tags: dict[str, str] = field(default_factory=dict)
    """What a model of several languages is asked for."""

    def __len__(self) -> int:
        return len(self.references[0])


@dataclass
class SystemLines:
    """What the lines of one system told."""

    stats: Statistics
    chrf: NDArray[np.float64]
    """n, of each line by itself."""
    suspicions: NDArray[np.bool_]
    """n x SUSPICIONS."""
    copies: NDArray[np.int64]
    """n x COPIES x expected and found."""
    counts: Counter[str]
    """How often a word stands in the hypotheses."""
    matches: Counter[str]
    """How often in hypothesis and first reference of one line."""


@dataclass
class Measured:
    """What all lines of a test set told."""

    metrics: Metrics
    systems: list[SystemLines]
    kinds: NDArray[np.bool_]
    """n x KINDS."""
    src_words: NDArray[np.int64]
    """n; those of the reference where there is no source."""
    references: list[list[str]]
    """The words of the first reference of each line."""

    @cached_property
    def counts(self) -> Counter[str]:
        """How often a word stands in the first references."""
        return Counter(word for line in self.references for word in line)


_Chunk = tuple[list[str] | None, list[list[str]], list[list[str]]]
"""Sources, references (R x lines) and hypotheses (S x lines)."""
_Settings = tuple[str, str, tuple[str, ...]]
"""Source language, target language and the names of the metrics."""


class _Found(NamedTuple):
    """What some lines told, as in Measured."""

    systems: list[SystemLines]
    kinds: NDArray[np.bool_]
    src_words: NDArray[np.int64]
    references: list[list[str]]


def measure(
    test: TestSet,
    hypotheses: Sequence[list[str]],
    cores: int,
    advance: Callable[[int], object] = bool,
    names: Sequence[str] = DEFAULT_METRICS,
) -> Measured:
    """Score the lines of all systems by the named metrics.

    `advance` is called with the number of lines scored since the last call.
    """
    metrics = make_metrics(test.tgt_lang, names)
    statistics(metrics, [], [lines[:1] for lines in test.references])  # for their signatures
    settings = test.src_lang, test.tgt_lang, tuple(names)
    busy = cores if cores > 1 and len(test) * len(hypotheses) >= LEAST_LINES else 0
    parts: list[_Found] = []
    with Pool(_look, settings, busy) as pool:
        for found in pool.map(_chunks(test, hypotheses)):
            parts.append(found)
            advance(len(found.references))
    return Measured(
        dict[str, Metric | Mean](metrics),
        [_joined(its) for its in zip(*(part.systems for part in parts), strict=True)],
        np.concatenate([part.kinds for part in parts]),
        np.concatenate([part.src_words for part in parts]),
        [line for part in parts for line in part.references],
    )


def _chunks(test: TestSet, hypotheses: Sequence[list[str]]) -> Iterator[_Chunk]:
    for rows in _chunk_rows(test.references[0]):
        yield (
            None if test.src is None else test.src[rows],
            [lines[rows] for lines in test.references],
            [lines[rows] for lines in hypotheses],
        )


def _chunk_rows(lines: Sequence[str]) -> Iterator[slice]:
    """Yield consecutive slices of at most CHUNK lines and about CHUNK_CHARACTERS characters."""
    begin = characters = 0
    for end, line in enumerate(lines, 1):
        characters += len(line)
        if end - begin == CHUNK or characters >= CHUNK_CHARACTERS or end == len(lines):
            yield slice(begin, end)
            begin, characters = end, 0


def _look(settings: _Settings, chunk: _Chunk) -> _Found:
    """Score some lines; the work of one process."""
    src, references, hypotheses = chunk
    src_lang, tgt_lang, names = settings
    metrics = make_metrics(tgt_lang, names)
    stats = statistics(metrics, hypotheses, references)
    bleu, chrf = metrics["bleu"], metrics["chrf"]
    assert isinstance(bleu, BLEU)
    assert isinstance(chrf, CHRF)
    cut = word_splitter(tgt_lang, bleu)
    by_line = list(zip(*references, strict=True))
    cut_references = [[cut(line) for line in lines] for lines in by_line]
    source_words = [cut(line) for line in src] if src is not None else [[] for _ in by_line]
    systems = [
        _system(chrf, its, lines, src, by_line, cut_references, source_words, cut)
        for its, lines in zip(stats, hypotheses, strict=True)
    ]
    firsts = [lines[0] for lines in cut_references]
    if src is None:
        lengths = [len(words) for words in firsts]
        kinds_found = [[False] * len(KINDS) for _ in by_line]
    else:
        of_source = word_splitter(src_lang)
        lengths = [len(of_source(line)) for line in src]
        kinds_found = [kinds(line, refs[0]) for line, refs in zip(src, by_line, strict=True)]
    return _Found(systems, np.array(kinds_found), np.array(lengths), firsts)


def _system(
    chrf: CHRF,
    stats: Statistics,
    hypotheses: list[str],
    src: list[str] | None,
    references: list[tuple[str, ...]],
    cut_references: list[list[list[str]]],
    source_words: list[list[str]],
    cut: Callable[[str], list[str]],
) -> SystemLines:
    line_chrf = np.array([scored(chrf, row).score for row in stats["chrf"]], np.float64)
    counts, matches = Counter[str](), Counter[str]()
    suspicious, copies = [], []
    for i, hypothesis in enumerate(hypotheses):
        words = cut(hypothesis)
        its = Counter(words)
        counts.update(its)
        matches.update(its & Counter(cut_references[i][0]))
        pairs = [Copied(0, 0)] * len(COPIES)
        invented = False
        if src is not None:
            pairs = copied(src[i], references[i], hypothesis)
            invented = has_new_number(src[i], references[i], hypothesis)
        copies.append(pairs)
        suspicious.append(
            suspicions(
                None if src is None else src[i],
                hypothesis,
                words,
                cut_references[i],
                source_words[i],
                float(line_chrf[i]),
                pairs,
                invented,
            )
        )
    return SystemLines(
        stats,
        line_chrf,
        np.array(suspicious),
        np.array(copies),
        counts,
        matches,
    )


def _joined(parts: Sequence[SystemLines]) -> SystemLines:
    counts, matches = Counter[str](), Counter[str]()
    for part in parts:
        counts.update(part.counts)
        matches.update(part.matches)
    return SystemLines(
        {name: np.concatenate([p.stats[name] for p in parts]) for name in parts[0].stats},
        np.concatenate([p.chrf for p in parts]),
        np.concatenate([p.suspicions for p in parts]),
        np.concatenate([p.copies for p in parts]),
        counts,
        matches,
    )
