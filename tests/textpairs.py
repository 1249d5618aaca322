"""Pairs in memory in place of a text set on disk, and the corpus made of them."""

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
class Given:
    """Consecutive pairs in memory, with the interface of `preparation.Records`."""

    texts: Sequence[Pair]
    alignments: Sequence[Links] | None = None
    name: str = "t"
    numbers: Sequence[int] = ()
    """Of each pair, its line, counted from 1."""
    misaligned: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.texts)

    def pairs(self) -> list[Pair]:
        return list(self.texts)

    def links(self, pairs: list[Pair]) -> list[Links] | None:
        assert pairs == list(self.texts), "links are asked for of the pairs as they stand"
        return None if self.alignments is None else list(self.alignments)

    def location(self, i: int) -> str:
        return f"{self.name}:{self.numbers[i]}"

    def select(self, chosen: Collection[int]) -> Given:
        """Return these of the pairs, by index."""
        picked = sorted(chosen)
        links = self.alignments
        return Given(
            [self.texts[i] for i in picked],
            None if links is None else [links[i] for i in picked],
            self.name,
            [self.numbers[i] for i in picked],
            {n: self.misaligned[i] for n, i in enumerate(picked) if i in self.misaligned},
        )


def given(
    pairs: Sequence[Pair],
    links: Sequence[Links] | None = None,
    name: str = "t",
    size: int = CHUNK,
) -> Iterator[Given]:
    """Yield pairs in chunks of `size`."""
    for begin in range(0, len(pairs), size):
        part = slice(begin, begin + size)
        numbers = range(begin + 1, len(pairs) + 1)[:size]
        yield Given(pairs[part], None if links is None else links[part], name, numbers)


def corpus_of(
    pairs: Sequence[Pair],
    tokenizers: Tokenizers,
    folder: Path,
    max_length: int | None = None,
    links: Sequence[Links] | None = None,
    size: int = CHUNK,
    cores: int = 1,
    **meta: Any,
) -> Corpus:
    """Build the corpus of pairs that nothing cleans."""
    job = Preprocessor(tokenizers=tokenizers, max_length=max_length)
    return build_corpus(given(pairs, links, size=size), job, folder, meta, cores)
