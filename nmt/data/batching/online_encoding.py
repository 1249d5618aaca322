"""Online encoding: tokenize and augment training text again in each pass over it.

Worker processes encode a window ahead of training. The result for a pair is a pure function of
(seed, pass, row). It depends neither on batching nor on the number of worker processes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmt.config.sections.data import AugmentConfig
from nmt.core.process_pool import ProcessPool
from nmt.data.batching.augmentation import augment_pair
from nmt.data.batching.mixture import SampledRows
from nmt.data.batching.permutation import Int64Array, mix64
from nmt.data.corpus.corpus import Corpus
from nmt.data.corpus.preprocessing import RaggedArray
from nmt.data.text.normalization import Normalizers, normalize_pair
from nmt.data.tokenizer.tokenizer import Tokenizers

CHUNK = 1000
"""Number of pairs that a worker process encodes at a time."""


class _SetEncoder(NamedTuple):
    """How to encode the pairs of one text set."""

    normalizers: Normalizers
    tokenizers: Tokenizers
    """Tokenizers for normalized text, with the tags of the text set."""


@dataclass
class EncodingSettings:
    """Settings of online encoding, which each worker process receives once."""

    folders: Sequence[Path]
    """Folders of the text sets of the corpus."""
    tokenizers: Tokenizers
    sampling: float | None
    """Temperature of sampled segmentations; None for the best segmentation."""
    augment: AugmentConfig | None
    seed: int

    @cached_property
    def corpus(self) -> Corpus:
        """The corpus, opened once per process."""
        return Corpus(*self.folders)

    @cached_property
    def set_encoders(self) -> list[_SetEncoder]:
        """The encoder of each text set."""
        tagged = [self.tokenizers.with_tags(tags) for tags in self.corpus.tags]
        return [
            _SetEncoder(tokenizers.normalizers, tokenizers.with_normalizers((None, None)))
            for tokenizers in tagged
        ]


class EncodedChunk(NamedTuple):
    """Token ids of some pairs, without bos and eos."""

    src: RaggedArray
    tgt: RaggedArray


def encode_rows(settings: EncodingSettings, sampled: SampledRows) -> EncodedChunk:
    """Return the token ids of pairs of the corpus, each for its pass."""
    corpus, rows = settings.corpus, sampled.rows
    set_indices = np.searchsorted(np.cumsum(corpus.sizes), rows, "right")
    seeds = _pair_seeds(settings.seed, sampled)
    src_rows, tgt_rows = [], []
    texts = zip(corpus.lines_at("src", rows), corpus.lines_at("tgt", rows), strict=True)
    for (src, tgt), seed, index in zip(texts, seeds, set_indices.tolist(), strict=True):
        rng = random.Random(seed)
        normalizers, tokenizers = settings.set_encoders[index]
        src, tgt = normalize_pair((src, tgt), normalizers)
        if settings.augment is not None:
            src, tgt = augment_pair(src, tgt, settings.augment, rng)
        if settings.sampling is None:
            src_rows += tokenizers.src.encode([src])
            tgt_rows += tokenizers.tgt.encode([tgt])
        else:
            src_rows.append(tokenizers.src.sample_segmentation(src, settings.sampling, rng))
            tgt_rows.append(tokenizers.tgt.sample_segmentation(tgt, settings.sampling, rng))
    dtype = np.dtype(np.uint32)
    return EncodedChunk(
        RaggedArray.from_lists(src_rows, dtype), RaggedArray.from_lists(tgt_rows, dtype)
    )


def _pair_seeds(seed: int, sampled: SampledRows) -> list[int]:
    """Return a seed for each pair that depends only on (seed, pass, row)."""
    run_seed = mix64(np.array([seed], np.uint64))
    pass_seeds = mix64(run_seed + sampled.passes.astype(np.uint64))
    return mix64(pass_seeds + sampled.rows.astype(np.uint64)).tolist()  # type: ignore[no-any-return]


class EncodedPairs:
    """Token ids of the pairs of a window; rows are positions in the window."""

    aligned = False

    def __init__(self, corpus_rows: Int64Array, chunks: Sequence[EncodedChunk]) -> None:
        self._corpus_rows = corpus_rows
        sides = {
            "src": [chunk.src for chunk in chunks],
            "tgt": [chunk.tgt for chunk in chunks],
        }
        self._lengths, self._tokens, self._offsets = {}, {}, {}
        for side, arrays in sides.items():
            lengths = np.concatenate([array.lengths for array in arrays])
            self._lengths[side] = lengths
            self._tokens[side] = np.concatenate([array.values for array in arrays])
            self._offsets[side] = np.concatenate([[0], np.cumsum(lengths)])

    def row(self, name: str, i: int) -> NDArray[np.integer[Any]]:
        """Return the token ids of row `i` of one side."""
        begin, end = self._offsets[name][i : i + 2]
        return self._tokens[name][begin:end]

    def links(self, i: int) -> NDArray[np.integer[Any]]:
        """Return no links: word alignments are not available with online encoding."""
        return np.empty((0, 2), np.int64)

    def lengths(self, side: str, rows: Int64Array | None = None) -> Int64Array:
        """Return the number of tokens of these rows (or all), without bos and eos."""
        return self._lengths[side] if rows is None else self._lengths[side][rows]

    def corpus_rows(self, rows: Int64Array) -> Int64Array:
        """Return the rows of the corpus from which these rows come."""
        return self._corpus_rows[rows]


class OnlineEncoder:
    """Encodes windows in worker processes, or in this process if `processes` is 0."""

    def __init__(self, settings: EncodingSettings, processes: int) -> None:
        self.settings = settings
        self._pool: ProcessPool[EncodingSettings, SampledRows, EncodedChunk] = ProcessPool(
            encode_rows, settings, processes
        )

    def encode_window(self, sampled: SampledRows) -> EncodedPairs:
        """Return the token ids of the sampled pairs."""
        chunks = self._pool.map(
            SampledRows(sampled.rows[start : start + CHUNK], sampled.passes[start : start + CHUNK])
            for start in range(0, len(sampled.rows), CHUNK)
        )
        return EncodedPairs(sampled.rows, list(chunks))

    def close(self) -> None:
        """Stop the worker processes."""
        self._pool.close()
