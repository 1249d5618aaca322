"""The explanation of a translation: attention and scores of every decoding step.

Shapes: L layers, H heads, T target pieces and S source pieces, both with the end of the sentence.
Words include the end of the sentence as a word of its own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from nmt.data.tokenizer.tokenizer import Encoding
from nmt.decoding.search.trace import FloatArray, ForcedTrace

BeamSteps = list[list[tuple[list[str], float, bool]]]
"""For each step of a beam search, its candidates: (pieces, log-probability, is kept)."""
END = "</s>"
"""Text shown for the end of the sentence."""


@dataclass(frozen=True)
class SentencePieces:
    """A sentence as pieces and words, both with the end of the sentence."""

    text: str
    pieces: list[str]
    words: list[str]
    word_of: list[int]
    """Index of the word of each piece."""

    @classmethod
    def of(cls, encoding: Encoding) -> SentencePieces:
        """Return an encoded line with the end of the sentence added."""
        words = [*encoding.words, END]
        word_of = [*encoding.word_ids, len(encoding.words)]
        return cls(encoding.text, [*encoding.pieces, END], words, word_of)

    @property
    def word_count(self) -> int:
        """Number of words without the end of the sentence."""
        return len(self.words) - 1

    @cached_property
    def membership(self) -> FloatArray:
        """Pieces x words matrix, 1 if the piece belongs to the word."""
        return np.eye(len(self.words), dtype=np.float32)[self.word_of]


@dataclass(frozen=True)
class Explanation:
    """A sentence, its translation, and the trace of the decoder that produces it."""

    source: SentencePieces
    target: SentencePieces
    trace: ForcedTrace
    top: list[list[tuple[str, float]]]
    """Most probable pieces at each target position, with their probabilities."""
    beam: BeamSteps
    """Candidates of each step of the beam search; empty if it was not recorded."""
    layer: int
    """Layer that is shown, counted from 0."""
    head: int | None
    """Head that is shown, counted from 0; None for the mean of all heads."""

    @property
    def weights(self) -> FloatArray:
        """T x S attention weights of the layer and head that are shown."""
        heads = self.trace.weights[self.layer]
        weights: FloatArray = heads.mean(0) if self.head is None else heads[self.head]
        return weights

    @property
    def by_words(self) -> FloatArray:
        """Target words x source words weights.

        Weights are summed over the pieces of a source word and averaged over the pieces of a
        target word. A word without pieces has zero weights.
        """
        sums = self.target.membership.T @ self.weights @ self.source.membership
        piece_counts = np.maximum(self.target.membership.sum(0), 1)
        weights: FloatArray = sums / piece_counts[:, None]
        return weights

    def view(self, pieces: bool) -> tuple[FloatArray, list[str], list[str]]:
        """Return target x source weights, source labels and target labels, in pieces or words."""
        if pieces:
            return self.weights, self.source.pieces, self.target.pieces
        return self.by_words, self.source.words, self.target.words

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers of all layers and heads for JSON, with shapes as in `ForcedTrace`.

        Scores outside a window or of padding are null. `layer` is counted from 1.
        """
        trace = self.trace
        scores = trace.scores.astype(object)
        scores[np.isinf(trace.scores)] = None
        return {
            "source": asdict(self.source),
            "target": asdict(self.target),
            "layer": self.layer + 1,
            "scores": scores.tolist(),
            "softmax": trace.softmax.tolist(),
            "weights": trace.weights.tolist(),
            "context_norms": trace.context_norms.tolist(),
            "log_probs": trace.log_probs.tolist(),
            "top": [[[piece, probability] for piece, probability in step] for step in self.top],
            "beam": [
                [
                    {"pieces": pieces, "log_prob": log_prob, "kept": is_kept}
                    for pieces, log_prob, is_kept in step
                ]
                for step in self.beam
            ],
        }
