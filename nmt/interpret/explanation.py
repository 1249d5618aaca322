"""An explained sentence, and the explanations of the parts of a line joined into one.

Shapes: T target pieces with eos, S source pieces with eos; words likewise, eos a word of its own.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np

from nmt.data.tokenizer.tokenizer import WORD, Encoding
from nmt.decoding.trace import FloatArray, ForcedTrace

Beam = list[list[tuple[list[str], float, bool]]]
END = "</s>"
"""How the end of a sentence is shown."""


@dataclass(frozen=True)
class Side:
    """A sentence as it is shown: its pieces and words, each with the end of the sentence."""

    text: str
    pieces: list[str]
    words: list[str]
    word_of: list[int]
    """The word of each piece."""

    @classmethod
    def of(cls, cut: Encoding) -> Side:
        """Add the end of the sentence to a line cut into pieces."""
        words = [*cut.words, END]
        return cls(cut.text, [*cut.pieces, END], words, [*cut.word_ids, len(cut.words)])

    @property
    def count(self) -> int:
        """The number of words, the end of the sentence not counted."""
        return len(self.words) - 1

    @cached_property
    def in_words(self) -> FloatArray:
        """Pieces x words, 1 where a piece belongs to a word."""
        return np.eye(len(self.words), dtype=np.float32)[self.word_of]


@dataclass(frozen=True)
class Explanation:
    """One sentence, its translation, and the walk that led there."""

    source: Side
    target: Side
    walk: ForcedTrace
    top: list[list[tuple[str, float]]]
    """The most probable pieces at each target position."""
    beam: Beam
    """For each step of a watched beam: pieces, log-probability, whether kept."""
    layer: int
    """The layer that is shown, counted from 0."""
    head: int | None
    """The head that is shown, counted from 0; None for the mean of all."""

    @property
    def weights(self) -> FloatArray:
        """T x S attention weights of the layer and head that are shown."""
        heads = self.walk.weights[self.layer]
        shown: FloatArray = heads.mean(0) if self.head is None else heads[self.head]
        return shown

    @property
    def by_words(self) -> FloatArray:
        """Target x source words: the sum over a source word's pieces, the mean over a target's.

        A word of no piece gets zeros.
        """
        rows = self.target.in_words.T @ self.weights @ self.source.in_words
        found: FloatArray = rows / np.maximum(self.target.in_words.sum(0), 1)[:, None]
        return found

    def view(self, pieces: bool) -> tuple[FloatArray, list[str], list[str]]:
        """Return target x source weights with their labels, in pieces or in words."""
        if pieces:
            return self.weights, self.source.pieces, self.target.pieces
        return self.by_words, self.source.words, self.target.words

    def as_dict(self) -> dict[str, Any]:
        """Return all numbers for JSON; scores outside a window or of padding are null."""
        walk = self.walk
        scores = walk.scores.astype(object)
        scores[np.isinf(walk.scores)] = None
        return {
            "source": asdict(self.source),
            "target": asdict(self.target),
            "layer": self.layer + 1,
            "scores": scores.tolist(),
            "softmax": walk.softmax.tolist(),
            "weights": walk.weights.tolist(),
            "context_norms": walk.context_norms.tolist(),
            "log_probs": walk.log_probs.tolist(),
            "top": [[[piece, p] for piece, p in step] for step in self.top],
            "beam": [
                [{"pieces": pieces, "log_prob": p, "kept": kept} for pieces, p, kept in step]
                for step in self.beam
            ],
        }


@dataclass(frozen=True)
class ExplainedLine:
    """A source line with its translation."""

    number: int
    """Counted from 0."""
    source: str
    target: str
    is_long: bool = False
    """It has too many tokens to be explained at once."""

    def first_words(
        self, source_begins: Sequence[int], target_begins: Sequence[int]
    ) -> list[tuple[int, int]]:
        """Return the indices of the words that parts begin with, given where parts begin."""
        sides = ((self.source, source_begins), (self.target, target_begins))
        columns = []
        for text, begins in sides:
            ends = [word.end() for word in WORD.finditer(text)]
            columns.append([bisect_right(ends, begin) for begin in begins])
        return list(zip(*columns, strict=True))


@dataclass(frozen=True)
class ExplainedPart:
    """A part of a line, explained, and where it is in the line."""

    line: ExplainedLine
    explanation: Explanation | None
    """None for a line with a blank side."""
    source_word: int = 0
    """Index of the word of the line that the part begins with."""
    target_word: int = 0


def joined_explanation(parts: Sequence[ExplainedPart], complete: bool) -> Explanation:
    """Return the explanations of a line's leading parts as one: attention within each part only.

    The ends of sentences within the line are left out; what attended to them attends to the end.
    `complete`: these are all parts of the line.
    """
    explanations = [part.explanation for part in parts if part.explanation is not None]
    first, line = explanations[0], parts[0].line
    if len(explanations) == 1 and complete:
        return first
    walks = [explanation.walk for explanation in explanations]
    rows, columns = (
        [0, *accumulate(len(side.pieces) - 1 for side in sides)]
        for sides in ([e.target for e in explanations], [e.source for e in explanations])
    )
    shape = (*first.walk.weights.shape[:2], rows[-1] + 1, columns[-1] + 1)
    last = len(walks) - 1
    source_words = [part.source_word for part in parts]
    target_words = [part.target_word for part in parts]

    def blocks(name: str, empty: float) -> FloatArray:
        joined = np.full(shape, empty, np.float32)
        for i, walk in enumerate(walks):
            block = getattr(walk, name)
            block = block if i == last else block[:, :, :-1]
            end = rows[i] + block.shape[2]
            joined[:, :, rows[i] : end, columns[i] : columns[i + 1]] = block[..., :-1]
            joined[:, :, rows[i] : end, -1] = block[..., -1]
        return joined

    norms = [w.context_norms if i == last else w.context_norms[:, :-1] for i, w in enumerate(walks)]
    log_probs = [w.log_probs if i == last else w.log_probs[:-1] for i, w in enumerate(walks)]
    return Explanation(
        source=_joined_side(line.source, [e.source for e in explanations], source_words),
        target=_joined_side(line.target, [e.target for e in explanations], target_words),
        walk=ForcedTrace(
            scores=blocks("scores", -math.inf),
            softmax=blocks("softmax", 0.0),
            weights=blocks("weights", 0.0),
            context_norms=np.concatenate(norms, 1),
            log_probs=np.concatenate(log_probs),
            layer=first.walk.layer,
            top=[step for e in walks[:-1] for step in e.top[:-1]] + walks[-1].top,
        ),
        top=[step for e in explanations[:-1] for step in e.top[:-1]] + explanations[-1].top,
        beam=_joined_beams(explanations),
        layer=first.layer,
        head=first.head,
    )


def _joined_side(text: str, sides: Sequence[Side], first_words: Sequence[int]) -> Side:
    """Return parts of a text as one side, given the word that each begins with."""
    found = list(WORD.finditer(text))[: first_words[-1] + sides[-1].count]
    words = [*(word.group() for word in found), END]
    end = len(words) - 1
    word_of = [
        end if word == side.count else min(first_word + word, end)
        for side, first_word in zip(sides, first_words, strict=True)
        for word in side.word_of[:-1]
    ]
    pieces = [piece for side in sides for piece in side.pieces[:-1]]
    return Side(text[: found[-1].end()] if found else "", [*pieces, END], words, [*word_of, end])


def _joined_beams(explanations: Sequence[Explanation]) -> Beam:
    """Return the steps of all parts, one for each target piece; none if no beam was watched."""
    if not any(explanation.beam for explanation in explanations):
        return []
    joined: Beam = []
    for explanation in explanations[:-1]:
        count = len(explanation.target.pieces) - 1
        joined += [*explanation.beam, *[[]] * count][:count]
    return [*joined, *explanations[-1].beam]
