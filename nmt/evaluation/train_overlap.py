"""What stands of a test set in the training text: how often its words, and which of its lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice

from nmt.core.process_pool import Pool
from nmt.data.corpus.corpus import Corpus
from nmt.data.text.reader import chunks
from nmt.evaluation.line_checks import word_splitter
from nmt.evaluation.statistics import TestSet

CHUNK = 10_000
"""Lines that a process looks at in one go."""

COUNTED = 1_000_000
"""Pairs whose words are counted, the first: enough to know which are rare."""


@dataclass(frozen=True)
class Seen:
    """What a model has seen of a test set."""

    counts: Counter[str]
    """How often each word of the test set stands in the target side of the training text."""
    leaked: list[int]
    """The lines, from 1, whose source is a source of the training text, letter for letter."""
    pairs: int
    """Of training text, whose words were counted."""


def look_back(
    corpus: Corpus,
    test: TestSet,
    words: Collection[str],
    cores: int,
    advance: Callable[[int], object] = bool,
) -> Seen:
    """Go through a run's training text; of words and lines only the test set's are kept."""
    wanted, most = set(words), -(-COUNTED // CHUNK)
    sources = {line.strip() for line in test.src or ()} - {""}
    counts, leaked = Counter[str](), set[str]()
    with Pool(_count, test.tgt_lang, cores if cores > 1 and len(corpus) >= CHUNK else 0) as pool:
        for found in pool.map(islice(_chunks(corpus, "tgt"), most)):
            counts.update({word: n for word, n in found.items() if word in wanted})
            advance(CHUNK)
    for lines in _chunks(corpus, "src"):
        leaked |= sources.intersection(line.strip() for line in lines)
    numbers = [i for i, line in enumerate(test.src or (), 1) if line.strip() in leaked]
    return Seen(counts, numbers, min(len(corpus), most * CHUNK))


def _chunks(corpus: Corpus, side: str) -> Iterator[list[str]]:
    for shard in corpus.shards:
        yield from chunks(shard.lines(side), CHUNK)


def _count(language: str, lines: list[str]) -> Counter[str]:
    cut = word_splitter(language)
    return Counter(word for line in lines for word in cut(line))
