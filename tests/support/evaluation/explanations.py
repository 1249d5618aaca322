"""Explanations with known numbers."""

from __future__ import annotations

import numpy as np

from nmt.data.tokenizer.tokenizer import Encoding
from nmt.decoding.search.trace import ForcedTrace
from nmt.interpret.explanation import Explanation, SentencePieces


def encode(words: list[list[str]]) -> Encoding:
    """Return the encoding of words, each given as its pieces."""
    pieces = [piece for word in words for piece in word]
    word_of = [w for w, word in enumerate(words) for _ in word]
    joined = ["".join(word) for word in words]
    return Encoding(" ".join(joined), list(range(5, 5 + len(pieces))), pieces, joined, word_of)


def make_explanation(
    source: list[list[str]], target: list[list[str]], layers: int = 1, heads: int = 1, seed: int = 1
) -> Explanation:
    """Return an explanation with random scores and a Gaussian factor of one half."""
    src, tgt = SentencePieces.of(encode(source)), SentencePieces.of(encode(target))
    shape = (layers, heads, len(tgt.pieces), len(src.pieces))
    scores = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    scores[..., 0, 0] = -np.inf
    softmax = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    trace = ForcedTrace(
        scores=scores,
        softmax=softmax,
        weights=softmax / 2,
        context_norms=np.arange(layers * len(tgt.pieces), dtype=np.float32).reshape(layers, -1),
        log_probs=-np.arange(len(tgt.pieces), dtype=np.float32),
        layer=layers - 1,
        top=[],
    )
    top = [[(piece, 0.75), ("other", 0.125)] for piece in tgt.pieces]
    beam = [[([piece], -0.5, True), (["lost"], -2.5, False)] for piece in tgt.pieces]
    return Explanation(src, tgt, trace, top, beam, layer=trace.layer, head=None)
