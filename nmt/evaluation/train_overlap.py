"""Overlap of a test set with the training text: word frequencies and leaked lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice

from nmt.core.process_pool import ProcessPool
from nmt.data.corpus.corpus import Corpus
from nmt.data.text.reader import split_into_chunks
from nmt.evaluation.line_checks import word_tokenizer
from nmt.evaluation.statistics import TestSet

CHUNK_LINES = 10_000
"""Number of lines that a process counts at a time."""

MAX_COUNTED_PAIRS = 1_000_000
"""Maximum number of training pairs to count words in. It suffices to tell rare words."""


@dataclass(frozen=True)
class TrainOverlap:
    """Overlap of a test set with the training text."""

    word_counts: Counter[str]
    """Frequency of each word of the test set in the target side of the training text."""
    leaked: list[int]
    """Numbers, from 1, of lines with a source of the training text."""
    counted_pairs: int
    """Number of training pairs in which words were counted."""


def find_train_overlap(
    corpus: Corpus,
    test_set: TestSet,
    words: Collection[str],
    cores: int,
    advance: Callable[[int], object] = bool,
) -> TrainOverlap:
    """Count `words` in a training corpus and find the sources that it shares with the test set."""
    test_words = set(words)
    max_chunks = -(-MAX_COUNTED_PAIRS // CHUNK_LINES)
    word_counts = Counter[str]()
    processes = cores if cores > 1 and len(corpus) >= CHUNK_LINES else 0
    with ProcessPool(_count_words, test_set.tgt_lang, processes) as pool:
        for counts in pool.map(islice(_chunks(corpus, "tgt"), max_chunks)):
            word_counts.update({w: count for w, count in counts.items() if w in test_words})
            advance(CHUNK_LINES)
    test_sources = {line.strip() for line in test_set.src or ()} - {""}
    shared = set[str]()
    for lines in _chunks(corpus, "src"):
        shared |= test_sources.intersection(line.strip() for line in lines)
    return TrainOverlap(
        word_counts=word_counts,
        leaked=[i for i, line in enumerate(test_set.src or (), 1) if line.strip() in shared],
        counted_pairs=min(len(corpus), max_chunks * CHUNK_LINES),
    )


def _chunks(corpus: Corpus, side: str) -> Iterator[list[str]]:
    for shard in corpus.shards:
        yield from split_into_chunks(shard.lines(side), CHUNK_LINES)


def _count_words(language: str, lines: list[str]) -> Counter[str]:
    tokenize = word_tokenizer(language)
    return Counter(word for line in lines for word in tokenize(line))
