"""Learn a vocabulary shortlist from the attention of a model on its training text.

Shapes: S source tokens and T target tokens of a pair, without eos.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nmt.config.schema import Config
from nmt.core.run_dir import RunDir
from nmt.data.corpus.corpus import Corpus
from nmt.data.text.reader import split_into_chunks
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.decoding.lines.pair_splitting import batch_by_size
from nmt.decoding.loading import load_engine
from nmt.decoding.search.forced_decoding import ForcedDecoder
from nmt.decoding.search.shortlist import Shortlist, TokenIds
from nmt.errors import RunError

DEFAULT_TARGETS = 100
"""Default number of target tokens for each source token."""
FREQUENT_TARGETS = 100
"""Number of most frequent target tokens that every line may use."""
MIN_WEIGHT = 0.05
"""Smallest attention weight that counts."""
WINDOW = 256
"""Number of pairs that are sorted by length together."""
MAX_BUFFERED_WEIGHTS = 1 << 22
"""Number of weights in memory from which weights of the same token pair are summed."""

Pair = tuple[Sequence[int], Sequence[int]]
"""Source and target tokens."""
TokenPairWeights = tuple[TokenIds, NDArray[np.float64]]
"""Keys and attention weights of token pairs.

The key of a pair is source token id x target vocabulary size + target token id. So ascending keys
are grouped by source token."""


def build_shortlist(
    run: RunDir, config: Config, device: str, max_targets: int = DEFAULT_TARGETS
) -> str:
    """Learn the shortlist of a run and write it; return its coverage as text.

    Raises RunError if the model has no attention.
    """
    if not config.model.has_attention:
        raise RunError(f"{run.path}: has no attention to learn from (model.attention: none)")
    train, valid = Corpus.load(run.corpus / "train"), Corpus.load(run.corpus / "valid")
    engine = load_engine(run, config.with_values({"decode.shortlist": False}), device)
    pairs = tqdm(train.pairs(), total=len(train), unit="pair", disable=None)
    shortlist = learn_shortlist(engine.forced_decoder, pairs, max_targets)
    shortlist.save(run.shortlist)
    coverage, mean_size = measure_coverage(shortlist, valid.pairs())
    return (
        f"shortlist: {coverage:.2%} of the validation text's target tokens are in their line's "
        f"list, which has {mean_size:.0f} of {engine.tokenizers.tgt.vocab_size} on average"
    )


def learn_shortlist(decoder: ForcedDecoder, pairs: Iterable[Pair], max_targets: int) -> Shortlist:
    """Learn a shortlist by forced decoding of pairs of source and target tokens.

    Each source token keeps the `max_targets` target tokens that attend to it most, summed over all
    pairs, and the target token of the same piece.
    """
    tokenizers = decoder.tokenizers
    tgt_vocab_size = tokenizers.tgt.vocab_size
    target_counts = np.zeros(tgt_vocab_size, np.int64)
    sums: TokenPairWeights = (np.zeros(0, np.int64), np.zeros(0))
    buffer: list[TokenPairWeights] = []
    for window in split_into_chunks(pairs, WINDOW):
        buffer += _attention_weights(decoder, window)
        for _, target in window:
            np.add.at(target_counts, target, 1)
        if sum(len(keys) for keys, _ in buffer) > MAX_BUFFERED_WEIGHTS:
            sums, buffer = _sum_by_key([sums, *buffer]), []
    keys, weights = _sum_by_key([sums, *buffer])
    # Sort by ascending source token, then by descending weight.
    ranked_keys = keys[np.lexsort((keys, -weights, keys // tgt_vocab_size))]
    sources = ranked_keys // tgt_vocab_size
    first_of_source = np.searchsorted(sources, sources)
    rank_within_source = np.arange(len(sources)) - first_of_source
    best_keys = ranked_keys[rank_within_source < max_targets]
    shortlist_keys = np.union1d(best_keys, _copy_keys(tokenizers))
    # One offset more than source tokens: the last is the end of the last token's targets.
    first_keys = np.arange(tokenizers.src.vocab_size + 1) * tgt_vocab_size
    return Shortlist(
        always=_frequent_targets(target_counts, tokenizers),
        offsets=np.searchsorted(shortlist_keys, first_keys),
        targets=shortlist_keys % tgt_vocab_size,
    )


def _attention_weights(decoder: ForcedDecoder, pairs: list[Pair]) -> Iterator[TokenPairWeights]:
    """Yield the attention weights of each pair that are at least MIN_WEIGHT, without eos."""
    tgt_vocab_size = decoder.tokenizers.tgt.vocab_size
    for indices in batch_by_size(pairs, decoder.settings.batch_size):
        batch = [pairs[i] for i in indices]
        for (source, target), weights in zip(batch, decoder.attention(batch), strict=True):
            inner = weights[:-1, :-1]  # T x S, without eos on both sides
            t, s = np.nonzero(inner >= MIN_WEIGHT)
            source_tokens = np.asarray(source, np.int64)[s]
            target_tokens = np.asarray(target, np.int64)[t]
            yield source_tokens * tgt_vocab_size + target_tokens, inner[t, s].astype(np.float64)


def _sum_by_key(parts: list[TokenPairWeights]) -> TokenPairWeights:
    """Sum the weights of equal keys; return keys in ascending order."""
    keys, index = np.unique(np.concatenate([keys for keys, _ in parts]), return_inverse=True)
    weights = np.concatenate([weights for _, weights in parts])
    sums = np.bincount(index, weights, minlength=len(keys)).astype(np.float64)
    return keys, sums


def _copy_keys(tokenizers: Tokenizers) -> TokenIds:
    """Return the keys of source tokens with the target token of the same piece."""
    src, tgt = tokenizers.src, tokenizers.tgt
    allowed = sorted({*range(tgt.vocab_size)} - {*tgt.never_output})
    target_of = dict(zip(tgt.pieces(allowed), allowed, strict=True))
    keys = [
        token * tgt.vocab_size + target_of[piece]
        for token, piece in enumerate(src.pieces(range(src.vocab_size)))
        if piece in target_of
    ]
    return np.array(keys, np.int64)


def _frequent_targets(counts: TokenIds, tokenizers: Tokenizers) -> TokenIds:
    """Return eos and the most frequent target tokens."""
    order = np.argsort(-counts, kind="stable")[:FREQUENT_TARGETS]
    return np.concatenate([[tokenizers.tgt.eos], order[counts[order] > 0]])


def measure_coverage(shortlist: Shortlist, pairs: Iterable[Pair]) -> tuple[float, float]:
    """Return the fraction of target tokens in the list of their line, and the mean list size."""
    covered_count = token_count = size_sum = line_count = 0
    for source, target in pairs:
        allowed = shortlist.token_ids(source)
        covered_count += int(np.isin(target, allowed).sum())
        token_count += len(target)
        size_sum += len(allowed)
        line_count += 1
    return covered_count / max(1, token_count), size_sum / max(1, line_count)
