"""From chunks of raw records to blocks of clean, tokenized text: the same in every process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nmt.core.process_pool import Pool
from nmt.data.corpus.filters import Cleaner, DropLog, DroppedPair, DuplicateFilter
from nmt.data.corpus.word_alignment import piece_links
from nmt.data.text.normalization import Normalizers, normalize_pair
from nmt.data.text.reader import Links, Pair
from nmt.data.text.sentence_splitter import sentence_ends
from nmt.data.tokenizer.tokenizer import Tokenizer, Tokenizers

SIDES = ("src", "tgt")
LINKS = "links"
MIN_CHUNKS_FOR_WORKERS = 8
"""Chunks from which on other processes help."""

Ids = NDArray[np.integer[Any]]


class DuplicateKey(NamedTuple):
    """What duplicates of a pair have too, and which record it was."""

    value: bytes
    number: int
    pair: tuple[str, str, str]
    """Its place and both sides, as they stand in the text."""


class RawChunk(Protocol):
    """What a block is made from; `nmt.data.corpus.text_set_reader.FileChunk` is one."""

    def __len__(self) -> int: ...

    def pairs(self) -> list[Pair]:
        """Return the parsed pairs."""

    def links(self, pairs: list[Pair]) -> list[Links] | None:
        """Return their word alignments, where there are any."""

    def location(self, i: int) -> str:
        """Return where record `i` stands."""

    @property
    def misaligned(self) -> Mapping[int, str]:
        """Return the records in misaligned blocks: why they are dropped, by index."""


@dataclass(frozen=True)
class Preprocessor:
    """What is done to every pair."""

    cleaner: Cleaner | None = None
    tokenizers: Tokenizers | None = None
    max_length: int | None = None
    """Pairs with more tokens than this on a side are dropped, and blank ones; None keeps all."""
    language: str | None = None
    """Source language, to count lines of several sentences; None to count none."""
    normalizers: Normalizers = (None, None)
    """Rewrite what filters read, without tokenizers; else the tokenizers' own do."""


@dataclass
class RaggedArray:
    """Rows of numbers, end to end."""

    values: Ids
    lengths: NDArray[np.int64]

    @classmethod
    def from_lists(cls, rows: list[list[int]], dtype: np.dtype[Any]) -> RaggedArray:
        """Concatenate lists of integers."""
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        values = np.fromiter(chain.from_iterable(rows), dtype, int(lengths.sum()))
        return cls(values, lengths)

    def select(self, chosen: NDArray[np.bool_]) -> RaggedArray:
        """Return the chosen rows."""
        return RaggedArray(self.values[np.repeat(chosen, self.lengths)], self.lengths[chosen])


@dataclass
class PreparedChunk:
    """The pairs of one chunk that are kept, packed to go from one process to another."""

    rows: dict[str, RaggedArray]
    """Bytes of "src.txt" and "tgt.txt", a line end behind each line; where they are tokenized,
    token ids of "src" and "tgt", and "links" between them where there are any.
    """
    links: list[Links] | None
    """Between words."""
    drops: list[tuple[int, DroppedPair]]
    """With the number of the record in its chunk."""
    keys: list[DuplicateKey]
    """Of each pair; empty where nobody asks."""
    multi_sentence: NDArray[np.bool_]
    """For each pair, whether its source holds several sentences."""

    def __len__(self) -> int:
        return len(self.rows["src.txt"].lengths)

    def lines(self, side: str) -> list[str]:
        """Return the text of one side."""
        return self.rows[f"{side}.txt"].values.tobytes().decode().split("\n")[:-1]

    def select(self, chosen: NDArray[np.bool_]) -> PreparedChunk:
        """Return the chosen pairs."""
        picked = np.flatnonzero(chosen).tolist()
        return PreparedChunk(
            {name: rows.select(chosen) for name, rows in self.rows.items()},
            None if self.links is None else [self.links[i] for i in picked],
            self.drops,
            [self.keys[i] for i in picked] if self.keys else [],
            self.multi_sentence[chosen],
        )


def prepare_chunks(
    chunks: Iterable[RawChunk], job: Preprocessor, cores: int
) -> Iterator[PreparedChunk]:
    """Do the job on all chunks, in order; in other processes where there is enough to do."""
    stream = iter(chunks)
    first = list(islice(stream, MIN_CHUNKS_FOR_WORKERS))
    size = cores if len(first) == MIN_CHUNKS_FOR_WORKERS and cores > 1 else 0
    with Pool(make_block, job, size) as pool:
        yield from pool.map(chain(first, stream))


def drop_duplicates(
    found: Iterable[PreparedChunk], drops: DropLog, duplicates: DuplicateFilter | None
) -> Iterator[PreparedChunk]:
    """Yield the blocks without pairs that came before, and note all drops in the order of lines."""
    for block in found:
        if duplicates is not None and block.keys:
            new = np.array([duplicates.is_new(key.value) for key in block.keys], bool)
            for i in np.flatnonzero(~new).tolist():
                key = block.keys[i]
                block.drops.append((key.number, DroppedPair(duplicates.reason, *key.pair)))
            block = block.select(new)
        for _, drop in sorted(block.drops, key=lambda its: its[0]):
            drops.add(drop)
        yield block


def make_block(job: Preprocessor, chunk: RawChunk) -> PreparedChunk:
    """Clean and tokenize a chunk.

    Filters and tokenizers read normalized text; the block holds the text before normalization.
    """
    raw = chunk.pairs()
    links = chunk.links(raw)
    drops: list[tuple[int, DroppedPair]] = []

    def note(number: int, reason: str) -> None:
        drops.append((number, DroppedPair(reason, chunk.location(number), *raw[number])))

    texts, numbers = raw, list(range(len(raw)))
    if job.cleaner is not None:
        clean = job.cleaner.normalised
        texts = [(clean(src), clean(tgt)) for src, tgt in raw]
    normalizers = job.normalizers if job.tokenizers is None else job.tokenizers.normalizers
    normalized = [normalize_pair(pair, normalizers) for pair in texts]
    if job.cleaner is not None:
        numbers = []
        for number, pair in enumerate(normalized):
            reason = chunk.misaligned.get(number) or job.cleaner.reason(*pair)
            if reason is None:
                numbers.append(number)
            else:
                note(number, reason)
    if job.max_length is not None:
        blank = {number for number in numbers if not all(map(str.strip, normalized[number]))}
        for number in blank:
            note(number, "blank")
        numbers = [number for number in numbers if number not in blank]
    pairs = [texts[number] for number in numbers]
    normalized = [normalized[number] for number in numbers]
    keys = []
    if job.cleaner is not None and job.cleaner.config.duplicates:
        for number, pair in zip(numbers, normalized, strict=True):
            stood = (chunk.location(number), *raw[number])
            keys.append(DuplicateKey(job.cleaner.key(*pair), number, stood))
    if links is not None:
        links = [links[number] for number in numbers]
    multi_sentence = np.zeros(len(pairs), bool)
    if job.language is not None:
        ends = (sentence_ends(src, job.language) for src, _ in pairs)
        multi_sentence = np.fromiter(map(bool, ends), bool, len(pairs))
    found = PreparedChunk(_texts(pairs), links, drops, keys, multi_sentence)
    if job.tokenizers is None:
        return found
    found.rows |= _tokenized(pairs, normalized, links, job.tokenizers)
    if job.max_length is not None:
        over = np.maximum(*(found.rows[side].lengths for side in SIDES)) > job.max_length
        if over.any():
            for i in np.flatnonzero(over).tolist():
                note(numbers[i], f"over {job.max_length} tokens")
            found = found.select(~over)
    return found


def _texts(pairs: list[Pair]) -> dict[str, RaggedArray]:
    rows = {}
    for number, side in enumerate(SIDES):
        text = "".join([f"{pair[number]}\n" for pair in pairs]).encode()
        values = np.frombuffer(text, np.uint8)
        ends = np.flatnonzero(values == ord("\n")) + 1
        rows[f"{side}.txt"] = RaggedArray(values, np.diff(ends, prepend=0))
    return rows


def _tokenized(
    pairs: list[Pair], normalized: list[Pair], links: list[Links] | None, tokenizers: Tokenizers
) -> dict[str, RaggedArray]:
    """Encode normalized pairs; words of links are counted in the pairs as they were."""
    plain = tokenizers.with_normalizers((None, None))
    rows = {
        "src": _encoded([src for src, _ in normalized], plain.src),
        "tgt": _encoded([tgt for _, tgt in normalized], plain.tgt),
    }
    if links is not None:
        places = []
        for (src, tgt), its in zip(pairs, links, strict=True):
            found = piece_links(
                its, tokenizers.src.encode_with_words(src), tokenizers.tgt.encode_with_words(tgt)
            )
            places.append([place for link in found for place in link])
        rows[LINKS] = RaggedArray.from_lists(places, np.dtype(np.uint32))
    return rows


def _encoded(lines: list[str], tokenizer: Tokenizer) -> RaggedArray:
    kind = np.dtype(np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32)
    arrays = tokenizer.encode_arrays(lines)
    lengths = np.fromiter(map(len, arrays), np.int64, len(arrays))
    return RaggedArray(np.concatenate([*arrays, np.empty(0, kind)]).astype(kind), lengths)
