"""Training text cut anew in each epoch, and changed: a pure function of (seed, pass, line).

Other processes do it ahead of training. Each pair has a seed of its own, so that what it becomes
hangs on nothing else: not on the batch, nor on how many processes there are.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmt.config.schema import AugmentConfig
from nmt.core.process_pool import Pool
from nmt.data.batching.augmentation import augmented
from nmt.data.batching.permutation import mix64
from nmt.data.corpus.corpus import Corpus
from nmt.data.corpus.preprocessing import RaggedArray, end_to_end
from nmt.data.text.normalization import Normalizers, normalize_pair
from nmt.data.tokenizer.tokenizer import Tokenizers

Numbers = NDArray[np.int64]
CHUNK = 1000
"""Pairs that a process draws together."""


@dataclass
class EncodingSettings:
    """How text is cut and changed."""

    folders: Sequence[Path]
    """Of the corpus."""
    tokenizers: Tokenizers
    sampling: float | None
    augment: AugmentConfig | None
    seed: int

    @cached_property
    def corpus(self) -> Corpus:
        """The corpus, opened once in each process."""
        return Corpus(*self.folders)

    @cached_property
    def of_sets(self) -> list[tuple[Normalizers, Tokenizers]]:
        """The normalizers of each text set, and tokenizers for normalized text with its tags."""
        sets = [self.tokenizers.with_tags(tags) for tags in self.corpus.tags]
        return [(each.normalizers, each.with_normalizers((None, None))) for each in sets]


Item = tuple[Numbers, Numbers]
"""Rows, and the pass over its set that each is in."""


def encode_rows(recipe: EncodingSettings, item: Item) -> tuple[RaggedArray, RaggedArray]:
    """Return the token ids of both sides of these rows."""
    rows, passes = item
    corpus = recipe.corpus
    sets = np.searchsorted(np.cumsum(corpus.sizes), rows, "right")
    first = mix64(np.array([recipe.seed], np.uint64))
    seeds = mix64(mix64(first + passes.astype(np.uint64)) + rows.astype(np.uint64))
    src_rows, tgt_rows = [], []
    texts = zip(corpus.texts("src", rows), corpus.texts("tgt", rows), strict=True)
    for (src, tgt), seed, number in zip(texts, seeds.tolist(), sets.tolist(), strict=True):
        rng = random.Random(seed)
        normalizers, its = recipe.of_sets[number]
        src, tgt = normalize_pair((src, tgt), normalizers)
        if recipe.augment is not None:
            src, tgt = augmented(src, tgt, recipe.augment, rng)
        if recipe.sampling is None:
            src_rows += its.src.encode([src])
            tgt_rows += its.tgt.encode([tgt])
        else:
            src_rows.append(its.src.sample_segmentation(src, recipe.sampling, rng))
            tgt_rows.append(its.tgt.sample_segmentation(tgt, recipe.sampling, rng))
    kind = np.dtype(np.uint32)
    return end_to_end(src_rows, kind), end_to_end(tgt_rows, kind)


class EncodedPairs:
    """The pairs of one window as they are in one pass: rows by their place in the window."""

    aligned = False

    def __init__(self, rows: Numbers, parts: list[tuple[RaggedArray, RaggedArray]]) -> None:
        self.rows = rows
        """Of the corpus."""
        self._lengths, self._tokens, self._offsets = {}, {}, {}
        for side, name in enumerate(("src", "tgt")):
            lengths = np.concatenate([part[side].lengths for part in parts])
            self._lengths[name] = lengths
            self._tokens[name] = np.concatenate([part[side].values for part in parts])
            self._offsets[name] = np.concatenate([[0], np.cumsum(lengths)])

    def row(self, name: str, i: int) -> NDArray[np.integer[Any]]:
        """Return the token ids of one side."""
        begin, end = self._offsets[name][i : i + 2]
        return self._tokens[name][begin:end]

    def links(self, i: int) -> NDArray[np.integer[Any]]:
        """Return no links: what is drawn anew has no word alignment."""
        return np.empty((0, 2), np.int64)

    def lengths(self, side: str, rows: Numbers | None = None) -> Numbers:
        """Return the number of tokens, without bos and eos."""
        return self._lengths[side] if rows is None else self._lengths[side][rows]

    def corpus_rows(self, rows: Numbers) -> Numbers:
        """Return which pairs of the corpus these lines come from."""
        return self.rows[rows]


class OnlineEncoder:
    """Draws windows; `processes` do it, or this one where there are none."""

    def __init__(self, recipe: EncodingSettings, processes: int) -> None:
        self.recipe = recipe
        self._pool: Pool[EncodingSettings, Item, tuple[RaggedArray, RaggedArray]] = Pool(
            encode_rows, recipe, processes
        )

    def encode_window(self, rows: Numbers, passes: Numbers) -> EncodedPairs:
        """Return these rows as they are in these passes."""
        cuts = range(0, len(rows), CHUNK)
        parts = self._pool.map((rows[c : c + CHUNK], passes[c : c + CHUNK]) for c in cuts)
        return EncodedPairs(rows, list(parts))

    def close(self) -> None:
        """End the processes."""
        self._pool.close()
