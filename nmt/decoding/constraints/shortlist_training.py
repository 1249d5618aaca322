"""Which target tokens a source token becomes: a shortlist learned from what a model looks at.

Shapes: S source and T target tokens of a pair, without their ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nmt.config.schema import Config
from nmt.core.run_dir import RunDir
from nmt.data.corpus.corpus import Corpus
from nmt.data.text.reader import chunks
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.decoding.constraints.shortlist import Shortlist, TokenIds
from nmt.decoding.forced_decoding import ForcedDecoder
from nmt.decoding.lines.pair_splitting import batch_by_size
from nmt.decoding.loading import load_engine
from nmt.errors import RunError

BEST = 100
"""Target tokens kept for each source token, where not said otherwise."""
FREQUENT = 100
"""So many of the most frequent target tokens stand in every line's list."""
LEAST_WEIGHT = 0.05
"""Attention below this counts for nothing."""
WINDOW = 256
"""Pairs that are sorted by length together."""
HELD = 1 << 22
"""Weights held before those of the same two tokens are added up."""

Pair = tuple[Sequence[int], Sequence[int]]
Weights = tuple[TokenIds, NDArray[np.float64]]
"""Source token x target vocabulary + target token, and the attention between the two."""


def make_shortlist(run: RunDir, config: Config, device: str, best: int = BEST) -> str:
    """Write the shortlist of a run; return in words what it covers of the validation text."""
    if not config.model.has_attention:
        raise RunError(f"{run.path}: has no attention to learn from (model.wiring: none)")
    corpus, valid = Corpus.load(run.corpus / "train"), Corpus.load(run.corpus / "valid")
    engine = load_engine(run, config.with_values({"decode.shortlist": False}), device)
    pairs = tqdm(corpus.pairs(), total=len(corpus), unit="pair", disable=None)
    shortlist = learn_shortlist(engine.forced_decoder, pairs, best)
    shortlist.save(run.shortlist)
    covered, size = coverage(shortlist, valid.pairs())
    return (
        f"shortlist: {covered:.2%} of the validation text's target tokens are in their line's "
        f"list, which holds {size:.0f} of {engine.tokenizers.tgt.vocab_size} in the mean"
    )


def learn_shortlist(decoder: ForcedDecoder, pairs: Iterable[Pair], best: int) -> Shortlist:
    """Learn a shortlist from pairs of source and target tokens, the targets forced.

    A source token gets the `best` target tokens that attend to it most, summed over all pairs.
    """
    tokenizers = decoder.tokenizers
    width = tokenizers.tgt.vocab_size
    counts = np.zeros(width, np.int64)
    sums: Weights = (np.zeros(0, np.int64), np.zeros(0))
    held: list[Weights] = []
    for window in chunks(pairs, WINDOW):
        held += _attention(decoder, window)
        for _, target in window:
            np.add.at(counts, target, 1)
        if sum(len(keys) for keys, _ in held) > HELD:
            sums, held = _summed([sums, *held]), []
    keys, weights = _summed([sums, *held])
    ranked = keys[np.lexsort((keys, -weights, keys // width))]
    source = ranked // width
    place = np.arange(len(source)) - np.searchsorted(source, source)
    chosen = np.union1d(ranked[place < best], _copies(tokenizers))
    return Shortlist(
        always=_frequent(counts, tokenizers),
        offsets=np.searchsorted(chosen, np.arange(tokenizers.src.vocab_size + 1) * width),
        targets=chosen % width,
    )


def _attention(decoder: ForcedDecoder, pairs: list[Pair]) -> Iterator[Weights]:
    """Yield the attention of each pair between its tokens, the ends left out."""
    width = decoder.tokenizers.tgt.vocab_size
    for batch in batch_by_size(pairs, decoder.settings.batch_size):
        some = [pairs[i] for i in batch]
        for (source, target), weights in zip(some, decoder.attention(some), strict=True):
            inner = weights[:-1, :-1]
            t, s = np.nonzero(inner >= LEAST_WEIGHT)
            keys = np.asarray(source, np.int64)[s] * width + np.asarray(target, np.int64)[t]
            yield keys, inner[t, s].astype(np.float64)


def _summed(parts: list[Weights]) -> Weights:
    """Add up the weights of like keys; the keys ascend."""
    keys, place = np.unique(np.concatenate([keys for keys, _ in parts]), return_inverse=True)
    weights = np.concatenate([weights for _, weights in parts])
    sums = np.bincount(place, weights, minlength=len(keys)).astype(np.float64)
    return keys, sums


def _copies(tokenizers: Tokenizers) -> TokenIds:
    """Return the keys of source tokens with the target token of the same piece."""
    src, tgt = tokenizers.src, tokenizers.tgt
    allowed = sorted({*range(tgt.vocab_size)} - {*tgt.never_output})
    target_of = dict(zip(tgt.pieces(allowed), allowed, strict=True))
    pieces = src.pieces(range(src.vocab_size))
    found = [s * tgt.vocab_size + target_of[p] for s, p in enumerate(pieces) if p in target_of]
    return np.array(found, np.int64)


def _frequent(counts: TokenIds, tokenizers: Tokenizers) -> TokenIds:
    """Return the end of a sentence and the tokens seen most often."""
    order = np.argsort(-counts, kind="stable")[:FREQUENT]
    return np.concatenate([[tokenizers.tgt.eos], order[counts[order] > 0]])


def coverage(shortlist: Shortlist, pairs: Iterable[Pair]) -> tuple[float, float]:
    """Return the share of target tokens that stand in their line's list, and a list's mean size."""
    found = tokens = sizes = lines = 0
    for source, target in pairs:
        allowed = shortlist.token_ids(source)
        found += int(np.isin(target, allowed).sum())
        tokens += len(target)
        sizes += len(allowed)
        lines += 1
    return found / max(1, tokens), sizes / max(1, lines)
