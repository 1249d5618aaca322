"""Clean and tokenize chunks of raw pairs, in worker processes if there are many.

The result does not depend on the number of processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nmt.core.process_pool import ProcessPool
from nmt.data.corpus.filters import Cleaner, DropLog, DroppedPair, DuplicateFilter
from nmt.data.corpus.word_alignment import link_pieces
from nmt.data.text.normalization import Normalizers, normalize_pair
from nmt.data.text.reader import Links, Pair
from nmt.data.text.sentence_splitter import find_sentence_ends
from nmt.data.tokenizer.tokenizer import Tokenizer, Tokenizers

SIDES = ("src", "tgt")
LINKS = "links"
"""Name of the array of alignment links."""
MIN_CHUNKS_FOR_WORKERS = 8
"""Minimum number of chunks for which worker processes are started."""

IntegerArray = NDArray[np.integer[Any]]


class RawChunk(Protocol):
    """Consecutive raw pairs of a text set; `FileChunk` implements it."""

    def __len__(self) -> int: ...

    def pairs(self) -> list[Pair]:
        """Return the parsed pairs."""

    def links(self, pairs: list[Pair]) -> list[Links] | None:
        """Return the word alignments of the pairs, None if the text set has none."""

    def location(self, i: int) -> str:
        """Return "file:line" of pair `i`."""

    @property
    def misaligned(self) -> Mapping[int, str]:
        """Reasons to drop the pairs of misaligned blocks, by index."""


@dataclass
class RaggedArray:
    """Rows of integers of different lengths, concatenated."""

    values: IntegerArray
    lengths: NDArray[np.int64]

    @classmethod
    def from_lists(cls, rows: Sequence[Sequence[int]], dtype: np.dtype[Any]) -> RaggedArray:
        """Concatenate lists of integers."""
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        values = np.fromiter(chain.from_iterable(rows), dtype, int(lengths.sum()))
        return cls(values, lengths)

    def select(self, mask: NDArray[np.bool_]) -> RaggedArray:
        """Return the rows for which `mask` is true."""
        return RaggedArray(self.values[np.repeat(mask, self.lengths)], self.lengths[mask])


class PositionedDrop(NamedTuple):
    """A dropped pair and its position in the raw chunk."""

    position: int
    pair: DroppedPair


class DuplicateKey(NamedTuple):
    """The hash that duplicates of a pair share, and the raw pair for the log."""

    digest: bytes
    position: int
    """Position of the pair in the raw chunk."""
    location: str
    src: str
    tgt: str


@dataclass
class PreparedChunk:
    """The clean, tokenized pairs of a raw chunk, packed for transfer between processes."""

    arrays: dict[str, RaggedArray]
    """"src.txt" and "tgt.txt": UTF-8 bytes of each line, with "\\n". If tokenized, also "src" and
    "tgt": token ids. If tokenized and aligned, also "links": source and target token position,
    alternating.
    """
    links: list[Links] | None
    """Word alignments."""
    drops: list[PositionedDrop]
    keys: list[DuplicateKey]
    """Key of each pair, or an empty list if duplicates are kept."""
    multi_sentence: NDArray[np.bool_]
    """Whether the source of each pair contains several sentences."""

    def __len__(self) -> int:
        return len(self.arrays["src.txt"].lengths)

    def lines(self, side: str) -> list[str]:
        """Return the text of one side."""
        return self.arrays[f"{side}.txt"].values.tobytes().decode().split("\n")[:-1]

    def select(self, mask: NDArray[np.bool_]) -> PreparedChunk:
        """Return the pairs for which `mask` is true."""
        indices = np.flatnonzero(mask).tolist()
        return PreparedChunk(
            {name: array.select(mask) for name, array in self.arrays.items()},
            None if self.links is None else [self.links[i] for i in indices],
            self.drops,
            [self.keys[i] for i in indices] if self.keys else [],
            self.multi_sentence[mask],
        )


@dataclass(frozen=True)
class Preprocessor:
    """Cleans and tokenizes raw pairs."""

    cleaner: Cleaner | None = None
    tokenizers: Tokenizers | None = None
    max_length: int | None = None
    """Maximum number of tokens per side. Longer and blank pairs are dropped; None keeps all."""
    language: str | None = None
    """Source language for counting lines of several sentences; None does not count."""
    normalizers: Normalizers = (None, None)
    """Normalizers of the text that filters read; replaced by those of `tokenizers` if given."""

    def process(self, chunk: RawChunk) -> PreparedChunk:
        """Clean and tokenize a chunk.

        Filters and tokenizers read normalized text. The result has the text before normalization.
        """
        raw_pairs = chunk.pairs()
        raw_links = chunk.links(raw_pairs)
        drops: list[PositionedDrop] = []

        def drop(index: int, reason: str) -> None:
            pair = DroppedPair(reason, chunk.location(index), *raw_pairs[index])
            drops.append(PositionedDrop(index, pair))

        cleaned_pairs = raw_pairs
        if self.cleaner is not None:
            clean = self.cleaner.normalize
            cleaned_pairs = [(clean(src), clean(tgt)) for src, tgt in raw_pairs]
        normalizers = self.normalizers
        if self.tokenizers is not None:
            normalizers = self.tokenizers.normalizers
        normalized_pairs = [normalize_pair(pair, normalizers) for pair in cleaned_pairs]

        indices = []
        for index, pair in enumerate(normalized_pairs):
            reason = self._drop_reason(chunk, index, pair)
            if reason is None:
                indices.append(index)
            else:
                drop(index, reason)

        pairs = [cleaned_pairs[index] for index in indices]
        normalized = [normalized_pairs[index] for index in indices]
        links = None if raw_links is None else [raw_links[index] for index in indices]
        keys = []
        if self.cleaner is not None and self.cleaner.config.duplicates:
            for index, pair in zip(indices, normalized, strict=True):
                digest = self.cleaner.duplicate_digest(*pair)
                location = chunk.location(index)
                keys.append(DuplicateKey(digest, index, location, *raw_pairs[index]))
        prepared = PreparedChunk(
            _encode_text(pairs), links, drops, keys, self._find_multi_sentence(pairs)
        )
        if self.tokenizers is None:
            return prepared

        prepared.arrays |= _tokenize(pairs, normalized, links, self.tokenizers)
        if self.max_length is None:
            return prepared
        src_lengths, tgt_lengths = (prepared.arrays[side].lengths for side in SIDES)
        is_too_long = np.maximum(src_lengths, tgt_lengths) > self.max_length
        if not is_too_long.any():
            return prepared
        for i in np.flatnonzero(is_too_long).tolist():
            drop(indices[i], f"over {self.max_length} tokens")
        return prepared.select(~is_too_long)

    def _drop_reason(self, chunk: RawChunk, index: int, normalized: Pair) -> str | None:
        """Return why a pair is dropped before tokenization, None if it is kept."""
        if self.cleaner is not None:
            reason = chunk.misaligned.get(index) or self.cleaner.drop_reason(*normalized)
            if reason is not None:
                return reason
        src, tgt = normalized
        if self.max_length is not None and not (src.strip() and tgt.strip()):
            return "blank"
        return None

    def _find_multi_sentence(self, pairs: list[Pair]) -> NDArray[np.bool_]:
        """Return for each pair whether its source contains several sentences."""
        if self.language is None:
            return np.zeros(len(pairs), bool)
        ends = (find_sentence_ends(src, self.language) for src, _ in pairs)
        return np.fromiter(map(bool, ends), bool, len(pairs))


def prepare_chunks(
    chunks: Iterable[RawChunk], preprocessor: Preprocessor, cores: int
) -> Iterator[PreparedChunk]:
    """Process all chunks, in order; start worker processes if there are enough chunks."""
    stream = iter(chunks)
    first = list(islice(stream, MIN_CHUNKS_FOR_WORKERS))
    processes = cores if len(first) == MIN_CHUNKS_FOR_WORKERS and cores > 1 else 0
    with ProcessPool(Preprocessor.process, preprocessor, processes) as pool:
        yield from pool.map(chain(first, stream))


def drop_duplicates(
    chunks: Iterable[PreparedChunk], drops: DropLog, duplicates: DuplicateFilter | None
) -> Iterator[PreparedChunk]:
    """Yield the chunks without duplicates of earlier pairs; log all drops in line order."""
    for chunk in chunks:
        if duplicates is not None and chunk.keys:
            is_new = np.array([duplicates.is_new(key.digest) for key in chunk.keys], bool)
            for i in np.flatnonzero(~is_new).tolist():
                key = chunk.keys[i]
                pair = DroppedPair(duplicates.reason, key.location, key.src, key.tgt)
                chunk.drops.append(PositionedDrop(key.position, pair))
            chunk = chunk.select(is_new)
        for drop in sorted(chunk.drops, key=lambda drop: drop.position):
            drops.add(drop.pair)
        yield chunk


def _encode_text(pairs: list[Pair]) -> dict[str, RaggedArray]:
    """Return the UTF-8 bytes of both sides as "src.txt" and "tgt.txt"."""
    arrays = {}
    for index, side in enumerate(SIDES):
        text = "".join([f"{pair[index]}\n" for pair in pairs]).encode()
        values = np.frombuffer(text, np.uint8)
        ends = np.flatnonzero(values == ord("\n")) + 1
        arrays[f"{side}.txt"] = RaggedArray(values, np.diff(ends, prepend=0))
    return arrays


def _tokenize(
    pairs: list[Pair], normalized: list[Pair], links: list[Links] | None, tokenizers: Tokenizers
) -> dict[str, RaggedArray]:
    """Return the token ids of normalized pairs, and the links between their tokens.

    Alignments refer to the words of `pairs`, which are not normalized.
    """
    plain = tokenizers.with_normalizers((None, None))
    arrays = {
        "src": _token_ids([src for src, _ in normalized], plain.src),
        "tgt": _token_ids([tgt for _, tgt in normalized], plain.tgt),
    }
    if links is not None:
        rows = []
        for (src, tgt), word_links in zip(pairs, links, strict=True):
            src_encoding = tokenizers.src.encode_with_words(src)
            tgt_encoding = tokenizers.tgt.encode_with_words(tgt)
            piece_links = link_pieces(word_links, src_encoding, tgt_encoding)
            rows.append(list(chain.from_iterable(piece_links)))
        arrays[LINKS] = RaggedArray.from_lists(rows, np.dtype(np.uint32))
    return arrays


def _token_ids(lines: list[str], tokenizer: Tokenizer) -> RaggedArray:
    """Tokenize lines; 16 bits per token if the vocabulary is small enough."""
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32)
    rows = tokenizer.encode_arrays(lines)
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    return RaggedArray(np.concatenate([*rows, np.empty(0, dtype)]).astype(dtype), lengths)
