"""Measure how much required phrases lower the score of a translation.

Constrained search always satisfies its constraints. A phrase that does not fit breaks the sentence
around it, and only the score shows this. The score drop of a line is the mean log-probability per
token, eos included, without the phrases minus the one with them, in nats.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from nmt.decoding.constraints.lexical_constraints import LexicalConstraints
from nmt.decoding.search.hypothesis import Hypothesis

Search = Callable[
    [Sequence[Sequence[int]], int, Mapping[int, LexicalConstraints]], Sequence[Sequence[Hypothesis]]
]
"""Returns the n best hypotheses of each source, given constraints by index."""


def measure_score_drops(
    lines: Sequence[int],
    sources: Sequence[Sequence[int]],
    constraints: Mapping[int, LexicalConstraints],
    constrained: Sequence[Hypothesis],
    search: Search,
) -> dict[int, float]:
    """Return the score drop of each line with required phrases.

    Segment i belongs to `lines[i]` and has the tokens `sources[i]`, the constraints
    `constraints[i]`, if any, and the best hypothesis `constrained[i]`. Segments with phrases are
    searched again with their prefix only.
    """
    segments = [i for i, required in constraints.items() if required.phrases]
    if not segments:
        return {}
    prefixes = {
        index: LexicalConstraints(constraints[i].prefix)
        for index, i in enumerate(segments)
        if constraints[i].prefix
    }
    unconstrained = search([sources[i] for i in segments], 1, prefixes)
    free_totals: defaultdict[int, _Total] = defaultdict(_Total)
    constrained_totals: defaultdict[int, _Total] = defaultdict(_Total)
    for i, (best, *_) in zip(segments, unconstrained, strict=True):
        free_totals[lines[i]].add(best)
        constrained_totals[lines[i]].add(constrained[i])
    return {
        line: free_totals[line].mean() - constrained_totals[line].mean() for line in free_totals
    }


class _Total:
    """Sums the log-probabilities and token counts of hypotheses."""

    def __init__(self) -> None:
        self.log_prob = 0.0
        self.tokens = 0

    def add(self, hypothesis: Hypothesis) -> None:
        self.log_prob += hypothesis.log_prob
        self.tokens += len(hypothesis.tokens) + 1

    def mean(self) -> float:
        """Return the mean log-probability per token."""
        return self.log_prob / self.tokens
