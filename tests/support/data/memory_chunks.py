"""Raw chunks of pairs in memory instead of files, and corpora built from them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nmt.data.corpus.corpus import Corpus, build_corpus
from nmt.data.corpus.preprocessing import Preprocessor
from nmt.data.corpus.text_set_reader import CHUNK
from nmt.data.text.reader import Links, Pair
from nmt.data.tokenizer.tokenizer import Tokenizers


@dataclass(frozen=True)
class MemoryChunk:
    """Consecutive pairs in memory, with the interface of `preprocessing.RawChunk`."""

    texts: Sequence[Pair]
    alignments: Sequence[Links] | None = None
    name: str = "t"
    numbers: Sequence[int] = ()
    """Line number of each pair, counted from 1."""
    misaligned: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.texts)

    def pairs(self) -> list[Pair]:
        return list(self.texts)

    def links(self, pairs: list[Pair]) -> list[Links] | None:
        assert pairs == list(self.texts), "expected the raw pairs"
        return None if self.alignments is None else list(self.alignments)

    def location(self, i: int) -> str:
        return f"{self.name}:{self.numbers[i]}"

    def select(self, chosen: Collection[int]) -> MemoryChunk:
        """Return the pairs at these positions, in order."""
        positions = sorted(chosen)
        alignments = self.alignments
        return MemoryChunk(
            [self.texts[i] for i in positions],
            None if alignments is None else [alignments[i] for i in positions],
            self.name,
            [self.numbers[i] for i in positions],
            {
                new: self.misaligned[old]
                for new, old in enumerate(positions)
                if old in self.misaligned
            },
        )


def make_chunks(
    pairs: Sequence[Pair],
    links: Sequence[Links] | None = None,
    name: str = "t",
    size: int = CHUNK,
) -> Iterator[MemoryChunk]:
    """Yield pairs in chunks of `size`."""
    for start in range(0, len(pairs), size):
        rows = slice(start, start + size)
        numbers = range(start + 1, len(pairs) + 1)[:size]
        yield MemoryChunk(pairs[rows], None if links is None else links[rows], name, numbers)


def corpus_from_pairs(
    pairs: Sequence[Pair],
    tokenizers: Tokenizers,
    folder: Path,
    max_length: int | None = None,
    links: Sequence[Links] | None = None,
    size: int = CHUNK,
    cores: int = 1,
    **meta: Any,
) -> Corpus:
    """Build a corpus of pairs without filters."""
    preprocessor = Preprocessor(tokenizers=tokenizers, max_length=max_length)
    return build_corpus(make_chunks(pairs, links, size=size), preprocessor, folder, meta, cores)
