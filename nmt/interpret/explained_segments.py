"""Segments of a line with their explanations, and their join into one explanation.

A long line, or one of several sentences, is translated and explained segment by segment.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nmt.data.tokenizer.tokenizer import WORD
from nmt.decoding.search.trace import FloatArray, ForcedTrace
from nmt.interpret.explanation import END, BeamSteps, Explanation, SentencePieces


@dataclass(frozen=True)
class ExplainedLine:
    """A source line with its translation."""

    index: int
    """Number of lines before this one."""
    source: str
    target: str
    is_long: bool = False
    """Whether the line has too many tokens to be explained at once."""

    def first_word_indices(
        self, source_offsets: Sequence[int], target_offsets: Sequence[int]
    ) -> list[tuple[int, int]]:
        """Return the indices of the first source and target word of each segment.

        `source_offsets` and `target_offsets` are the character offsets at which the segments begin.
        """
        return list(
            zip(
                _words_before(self.source, source_offsets),
                _words_before(self.target, target_offsets),
                strict=True,
            )
        )


def _words_before(text: str, offsets: Sequence[int]) -> list[int]:
    """Return the number of words that end at or before each offset."""
    ends = [word.end() for word in WORD.finditer(text)]
    return [bisect_right(ends, offset) for offset in offsets]


@dataclass(frozen=True)
class ExplainedSegment:
    """A segment of a line with its explanation."""

    line: ExplainedLine
    explanation: Explanation | None
    """None for a line with a blank side."""
    source_word: int = 0
    """Index in the line of the first source word of the segment."""
    target_word: int = 0
    """Index in the line of the first target word of the segment."""


def join_explanations(segments: Sequence[ExplainedSegment], is_complete: bool) -> Explanation:
    """Return the explanations of the leading segments of a line as one explanation.

    Attention stays within each segment. Ends of segments are removed except the last; attention
    to these becomes attention to the last end. `is_complete` is true if there are no more segments.
    """
    explanations = [s.explanation for s in segments if s.explanation is not None]
    first, line = explanations[0], segments[0].line
    if len(explanations) == 1 and is_complete:
        return first
    *inner, last = explanations
    traces = [explanation.trace for explanation in explanations]
    *inner_traces, last_trace = traces
    return Explanation(
        source=_join_pieces(
            line.source, [e.source for e in explanations], [s.source_word for s in segments]
        ),
        target=_join_pieces(
            line.target, [e.target for e in explanations], [s.target_word for s in segments]
        ),
        trace=ForcedTrace(
            scores=_join_blocks([trace.scores for trace in traces], -math.inf),
            softmax=_join_blocks([trace.softmax for trace in traces], 0.0),
            weights=_join_blocks([trace.weights for trace in traces], 0.0),
            context_norms=np.concatenate(
                [*(t.context_norms[:, :-1] for t in inner_traces), last_trace.context_norms], 1
            ),
            log_probs=np.concatenate(
                [*(t.log_probs[:-1] for t in inner_traces), last_trace.log_probs]
            ),
            layer=first.trace.layer,
            top=[step for t in inner_traces for step in t.top[:-1]] + last_trace.top,
        ),
        top=[step for e in inner for step in e.top[:-1]] + last.top,
        beam=_join_beams(explanations),
        layer=first.layer,
        head=first.head,
    )


def _join_blocks(blocks: Sequence[FloatArray], fill: float) -> FloatArray:
    """Join L x H x T x S blocks along the diagonal; the other cells are `fill`.

    The rows of END are removed except the last. The columns of END become the last column.
    """
    layers, heads = blocks[0].shape[:2]
    rows = sum(block.shape[2] - 1 for block in blocks) + 1
    columns = sum(block.shape[3] - 1 for block in blocks) + 1
    joined = np.full((layers, heads, rows, columns), fill, np.float32)
    row = column = 0
    for index, block in enumerate(blocks):
        is_last = index == len(blocks) - 1
        without_end = block if is_last else block[:, :, :-1]
        row_end = row + without_end.shape[2]
        column_end = column + without_end.shape[3] - 1
        joined[:, :, row:row_end, column:column_end] = without_end[..., :-1]
        joined[:, :, row:row_end, -1] = without_end[..., -1]
        row, column = row_end, column_end
    return joined


def _join_pieces(
    text: str, segments: Sequence[SentencePieces], first_words: Sequence[int]
) -> SentencePieces:
    """Return the leading segments of one side of the line `text` as one sentence.

    `first_words` are the indices in the line of the first word of each segment. The words are those
    of the line, up to the last segment. Only the last segment keeps its piece END.
    """
    matches = list(WORD.finditer(text))[: first_words[-1] + segments[-1].word_count]
    words = [*(match.group() for match in matches), END]
    end = len(words) - 1
    word_of = []
    for segment, first_word in zip(segments, first_words, strict=True):
        for word in segment.word_of[:-1]:
            is_in_word = word < segment.word_count  # false for tags and trailing blanks
            # The line can have fewer words than its segments: words can merge at their boundaries.
            word_of.append(min(first_word + word, end) if is_in_word else end)
    pieces = [piece for segment in segments for piece in segment.pieces[:-1]]
    joined_text = text[: matches[-1].end()] if matches else ""
    return SentencePieces(joined_text, [*pieces, END], words, [*word_of, end])


def _join_beams(explanations: Sequence[Explanation]) -> BeamSteps:
    """Return the beam steps of all segments, one per target piece; empty if none was recorded."""
    if not any(explanation.beam for explanation in explanations):
        return []
    joined: BeamSteps = []
    for explanation in explanations[:-1]:
        piece_count = len(explanation.target.pieces) - 1
        padding: BeamSteps = [[]] * piece_count
        joined += [*explanation.beam, *padding][:piece_count]
    return [*joined, *explanations[-1].beam]
