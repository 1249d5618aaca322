"""Compute statistics of all lines of a test set, in one pass, on all cores.

Shapes: n lines, S systems, R reference files.
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
from sacrebleu.metrics.ter import TER

from nmt.core.process_pool import ProcessPool
from nmt.evaluation.line_checks import (
    NO_COPIES,
    SENTENCE_KINDS,
    check_line,
    count_copies,
    has_new_number,
    sentence_kinds,
    word_tokenizer,
)
from nmt.evaluation.metrics import (
    DEFAULT_METRICS,
    LineStatistics,
    MeanMetric,
    Metrics,
    line_statistics,
    make_metrics,
    score_sums,
)

CHUNK_LINES = 250
"""Maximum number of lines that a process scores at a time."""
CHUNK_CHARACTERS = 50_000
"""Approximate number of reference characters of a chunk: TER takes seconds for a long line."""
MIN_PARALLEL_HYPOTHESES = 2000
"""Number of hypotheses from which starting processes saves time."""


@dataclass(frozen=True)
class TestSet:
    """Source lines and their reference translations."""

    __test__ = False

    name: str
    references: list[list[str]]
    """R x n."""
    src: list[str] | None
    """n source lines; None if only translations are scored."""
    src_lang: str
    tgt_lang: str
    tags: dict[str, str] = field(default_factory=dict)
    """Values of the tags of a multilingual model, such as tgt_lang."""

    def __len__(self) -> int:
        return len(self.references[0])


@dataclass
class SystemStatistics:
    """Statistics of the hypotheses of one system."""

    stats: LineStatistics
    """sacreBLEU's statistics of every line, by metric."""
    chrf: NDArray[np.float64]
    """n sentence-level chrF scores."""
    failed_checks: NDArray[np.bool_]
    """n x LINE_CHECKS."""
    copies: NDArray[np.int64]
    """n x COPY_KINDS x (expected, copied)."""
    word_counts: Counter[str]
    """Number of occurrences of each word in the hypotheses."""
    word_matches: Counter[str]
    """Number of occurrences of each word that match the first reference of the line."""


@dataclass
class TestSetStatistics:
    """Statistics of all lines of a test set."""

    __test__ = False

    metrics: Metrics
    systems: list[SystemStatistics]
    sentence_kinds: NDArray[np.bool_]
    """n x SENTENCE_KINDS."""
    src_words: NDArray[np.int64]
    """n source lengths in words; lengths of the first references if there is no source."""
    reference_words: list[list[str]]
    """Words of the first reference of each line."""

    @cached_property
    def word_counts(self) -> Counter[str]:
        """Number of occurrences of each word in the first references."""
        return Counter(word for words in self.reference_words for word in words)


class _Settings(NamedTuple):
    """Constant arguments of every process."""

    src_lang: str
    tgt_lang: str
    metric_names: tuple[str, ...]


class _Chunk(NamedTuple):
    """Consecutive lines that a process scores at a time."""

    src: list[str] | None
    references: list[list[str]]
    """R x lines."""
    hypotheses: list[list[str]]
    """S x lines."""


class _ChunkStatistics(NamedTuple):
    """Statistics of the lines of a chunk, as in TestSetStatistics."""

    systems: list[SystemStatistics]
    sentence_kinds: NDArray[np.bool_]
    src_words: NDArray[np.int64]
    reference_words: list[list[str]]


def compute_statistics(
    test_set: TestSet,
    hypotheses: Sequence[list[str]],
    cores: int,
    advance: Callable[[int], object] = bool,
    metric_names: Sequence[str] = DEFAULT_METRICS,
) -> TestSetStatistics:
    """Return the statistics of S x n hypotheses.

    `advance` is called with the number of lines scored since the last call.
    """
    metrics = make_metrics(test_set.tgt_lang, metric_names)
    # the number of references is part of a metric's signature
    line_statistics(metrics, [], [lines[:1] for lines in test_set.references])
    settings = _Settings(test_set.src_lang, test_set.tgt_lang, tuple(metric_names))
    is_parallel = cores > 1 and len(test_set) * len(hypotheses) >= MIN_PARALLEL_HYPOTHESES
    chunks: list[_ChunkStatistics] = []
    with ProcessPool(_score_chunk, settings, cores if is_parallel else 0) as pool:
        for chunk in pool.map(_split_into_chunks(test_set, hypotheses)):
            chunks.append(chunk)
            advance(len(chunk.reference_words))
    return TestSetStatistics(
        metrics=dict[str, Metric | MeanMetric](metrics),
        systems=[
            _concatenate(systems) for systems in zip(*(c.systems for c in chunks), strict=True)
        ],
        sentence_kinds=np.concatenate([chunk.sentence_kinds for chunk in chunks]),
        src_words=np.concatenate([chunk.src_words for chunk in chunks]),
        reference_words=[words for chunk in chunks for words in chunk.reference_words],
    )


def _split_into_chunks(test_set: TestSet, hypotheses: Sequence[list[str]]) -> Iterator[_Chunk]:
    for rows in _chunk_slices(test_set.references[0]):
        yield _Chunk(
            src=None if test_set.src is None else test_set.src[rows],
            references=[lines[rows] for lines in test_set.references],
            hypotheses=[lines[rows] for lines in hypotheses],
        )


def _chunk_slices(lines: Sequence[str]) -> Iterator[slice]:
    """Yield consecutive slices of at most CHUNK_LINES lines and about CHUNK_CHARACTERS."""
    begin = characters = 0
    for end, line in enumerate(lines, 1):
        characters += len(line)
        if end - begin == CHUNK_LINES or characters >= CHUNK_CHARACTERS or end == len(lines):
            yield slice(begin, end)
            begin, characters = end, 0


def _score_chunk(settings: _Settings, chunk: _Chunk) -> _ChunkStatistics:
    """Return the statistics of a chunk; this runs in a process of the pool."""
    metrics = make_metrics(settings.tgt_lang, settings.metric_names)
    stats = line_statistics(metrics, chunk.hypotheses, chunk.references)
    lines = _TokenizedLines(chunk, settings.tgt_lang, metrics)
    systems = [
        _system_statistics(lines, hypotheses, system_stats)
        for hypotheses, system_stats in zip(chunk.hypotheses, stats, strict=True)
    ]
    first_references = [references[0] for references in lines.reference_words]
    if chunk.src is None:
        lengths = [len(words) for words in first_references]
        kinds = [[False] * len(SENTENCE_KINDS) for _ in lengths]
    else:
        tokenize_source = word_tokenizer(settings.src_lang)
        lengths = [len(tokenize_source(line)) for line in chunk.src]
        kinds = [
            sentence_kinds(line, reference)
            for line, reference in zip(chunk.src, chunk.references[0], strict=True)
        ]
    return _ChunkStatistics(systems, np.array(kinds), np.array(lengths), first_references)


class _TokenizedLines:
    """Sources and references of a chunk, line by line, with their words."""

    def __init__(self, chunk: _Chunk, tgt_lang: str, metrics: dict[str, BLEU | CHRF | TER]) -> None:
        bleu, chrf = metrics["bleu"], metrics["chrf"]
        assert isinstance(bleu, BLEU)
        assert isinstance(chrf, CHRF)
        self.chrf = chrf
        self.tokenize = word_tokenizer(tgt_lang, bleu)
        self.src = chunk.src
        self.references = list(zip(*chunk.references, strict=True))
        self.reference_words = [
            [self.tokenize(reference) for reference in references] for references in self.references
        ]
        self.source_words: list[list[str]] = [[] for _ in self.references]
        """Words of the sources under the tokenizer of the target language."""
        if chunk.src is not None:
            self.source_words = [self.tokenize(line) for line in chunk.src]


def _system_statistics(
    lines: _TokenizedLines, hypotheses: list[str], stats: LineStatistics
) -> SystemStatistics:
    """Return the statistics of one system on the lines of a chunk.

    `stats` are sacreBLEU's statistics of the hypotheses, an array of lines x statistics for each
    metric.
    """
    line_chrf = np.array([score_sums(lines.chrf, row).score for row in stats["chrf"]], np.float64)
    word_counts, word_matches = Counter[str](), Counter[str]()
    failed_checks, copies = [], []
    for i, hypothesis in enumerate(hypotheses):
        words = lines.tokenize(hypothesis)
        counts = Counter(words)
        word_counts.update(counts)
        first_reference_words = lines.reference_words[i][0]
        word_matches.update(counts & Counter(first_reference_words))
        source = None if lines.src is None else lines.src[i]
        line_copies, new_number = NO_COPIES, False
        if source is not None:
            line_copies = count_copies(source, lines.references[i], hypothesis)
            new_number = has_new_number(source, lines.references[i], hypothesis)
        copies.append(line_copies)
        failed_checks.append(
            check_line(
                source=source,
                hypothesis=hypothesis,
                hypothesis_words=words,
                reference_words=lines.reference_words[i],
                source_words=lines.source_words[i],
                chrf=float(line_chrf[i]),
                copies=line_copies,
                has_new_number=new_number,
            )
        )
    return SystemStatistics(
        stats=stats,
        chrf=line_chrf,
        failed_checks=np.array(failed_checks),
        copies=np.array(copies),
        word_counts=word_counts,
        word_matches=word_matches,
    )


def _concatenate(chunks: Sequence[SystemStatistics]) -> SystemStatistics:
    word_counts, word_matches = Counter[str](), Counter[str]()
    for chunk in chunks:
        word_counts.update(chunk.word_counts)
        word_matches.update(chunk.word_matches)
    return SystemStatistics(
        stats={
            name: np.concatenate([chunk.stats[name] for chunk in chunks])
            for name in chunks[0].stats
        },
        chrf=np.concatenate([chunk.chrf for chunk in chunks]),
        failed_checks=np.concatenate([chunk.failed_checks for chunk in chunks]),
        copies=np.concatenate([chunk.copies for chunk in chunks]),
        word_counts=word_counts,
        word_matches=word_matches,
    )
