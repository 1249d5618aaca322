"""From lines to lines: tokenize, sort, search in batches, detokenize, put back in order.

The engine that searches is handed in; this room needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from nmt.config import DecodeConfig
from nmt.data.text import one_line
from nmt.data.tokenizer import Tokenizers

FIRST_WINDOW = 64
LARGEST_WINDOW = 8192
"""Lines sorted together. The window grows, so that a reader of a pipe sees the first lines soon."""


CELLS = 200_000
"""Pairs of a target and a source token forced together, at most; each may cost 2 x D numbers."""


@dataclass(frozen=True)
class Hypothesis:
    """A finished token sequence."""

    tokens: list[int]
    """Without eos."""
    score: float
    """log_prob over the length penalty: what hypotheses are ranked by."""
    log_prob: float
    """Sum of the log-probabilities of all tokens and eos, in nats."""


@dataclass(frozen=True)
class Translation:
    """A hypothesis as text."""

    text: str
    score: float


BLANK = Translation("", 0.0)


EXTRA_LENGTH = 10
"""Tokens a translation may always have, beyond decode.max_length_ratio times its source."""


def length_limit(settings: DecodeConfig, source_length: int) -> int:
    """Return the longest translation, eos included, of a source of so many tokens."""
    limit = math.ceil(settings.max_length_ratio * source_length) + EXTRA_LENGTH
    if settings.max_length is not None:
        limit = min(limit, settings.max_length + 1)
    return max(limit, settings.min_length + 1)


def by_size(
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]], lines: int
) -> Iterator[list[int]]:
    """Divide pairs, by index, into batches of at most so many, and of CELLS padded T x S.

    `pairs` are source and target tokens; those of like length come together.
    """
    sizes = [(len(target) + 1, len(source) + 1) for source, target in pairs]
    batch: list[int] = []
    longest = (0, 0)
    for i in sorted(range(len(sizes)), key=lambda i: sizes[i]):
        grown = (max(longest[0], sizes[i][0]), max(longest[1], sizes[i][1]))
        if batch and (len(batch) == lines or (len(batch) + 1) * grown[0] * grown[1] > CELLS):
            yield batch
            batch, grown = [], sizes[i]
        batch.append(i)
        longest = grown
    if batch:
        yield batch


class Engine(Protocol):
    """What turns token ids into hypotheses."""

    def search(self, sources: Sequence[Sequence[int]], nbest: int = 1) -> list[list[Hypothesis]]:
        """Return the n best hypotheses of each source, best first."""

    def score(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Hypothesis]:
        """Return each pair's target as a scored hypothesis."""


class Translator:
    """Translates and scores raw lines: the same for the command, validation and Python."""

    def __init__(self, engine: Engine, tokenizers: Tokenizers, batch_size: int) -> None:
        self.engine = engine
        self.tokenizers = tokenizers
        self.batch_size = batch_size

    def tagged(self, tags: tuple[int, ...]) -> Translator:
        """Return this translator with token ids before every source."""
        return Translator(self.engine, self.tokenizers.tagged(tags), self.batch_size)

    def translate(self, lines: Iterable[str]) -> list[str]:
        """Return the best translation of each line, in order. A blank line stays blank."""
        return [best[0].text for best in self.nbest(list(lines), 1)]

    def nbest(self, lines: Sequence[str], n: int) -> list[list[Translation]]:
        """Return the `n` best translations of each line, best first, in the order of the lines."""
        results = [[BLANK] for _ in lines]
        texts = [i for i, line in enumerate(lines) if line.strip()]
        sources = dict(zip(texts, self._encode_source(lines[i] for i in texts), strict=True))
        found = self.engine.search([sources[i] for i in texts], n) if texts else []
        for i, hypotheses in zip(texts, found, strict=True):
            results[i] = [self._to_text(hypothesis) for hypothesis in hypotheses]
        return results

    def stream(
        self, lines: Iterable[str], n: int = 1, one_by_one: bool = False
    ) -> Iterator[list[Translation]]:
        """Yield the n best translations of each line in order, over any number of lines.

        With `one_by_one` each line is answered before the next is read.
        """
        source = iter(lines)
        window = 1 if one_by_one else FIRST_WINDOW
        while chunk := list(islice(source, window)):
            yield from self.nbest(chunk, n)
            if not one_by_one:
                window = min(2 * window, LARGEST_WINDOW)

    def score(self, pairs: Iterable[tuple[str, str]]) -> list[float]:
        """Return the score of each (source, translation): its log-probability over the penalty."""
        return [hypothesis.score for hypothesis in self.force(list(pairs))]

    def force(self, pairs: Sequence[tuple[str, str]]) -> list[Hypothesis]:
        """Return each (source, translation) as a scored hypothesis."""
        sources = self._encode_source(source for source, _ in pairs)
        targets = self.tokenizers.tgt.encode([target for _, target in pairs])
        tokens = list(zip(sources, targets, strict=True))
        forced: dict[int, Hypothesis] = {}
        for batch in by_size(tokens, self.batch_size):
            forced |= zip(batch, self.engine.score([tokens[i] for i in batch]), strict=True)
        return [forced[i] for i in range(len(pairs))]

    def _encode_source(self, lines: Iterable[str]) -> list[list[int]]:
        return self.tokenizers.src.encode(list(lines))

    def _to_text(self, hypothesis: Hypothesis) -> Translation:
        return Translation(
            one_line(self.tokenizers.tgt.decode(hypothesis.tokens)), hypothesis.score
        )
