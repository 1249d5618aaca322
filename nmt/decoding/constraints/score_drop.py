"""Measure how far phrases that a translation must hold lower its score.

Forcing always succeeds, so a phrase that does not fit breaks the sentence around it without any
other sign. The measure is the drop of the mean log-probability per token, end included, from the
translation without the phrases to the one with them, in nats.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from nmt.decoding.constraints.lexical_constraints import LexicalConstraints
from nmt.decoding.hypothesis import Hypothesis

SHARP_DROP = 0.5
"""Drop from which on a translation is reported (docs/decoding.md says how it was chosen)."""
Search = Callable[
    [Sequence[Sequence[int]], int, Mapping[int, LexicalConstraints]], Sequence[Sequence[Hypothesis]]
]


def score_drops(
    lines: Sequence[int],
    sources: Sequence[Sequence[int]],
    demands: Mapping[int, LexicalConstraints],
    forced: Sequence[Hypothesis],
    search: Search,
) -> dict[int, float]:
    """Return the drop for each line with phrases.

    Part i belongs to line `lines[i]`; `demands` are by part. Each part with phrases is searched
    once more without them, but with its prefix.
    """
    parts = [i for i, demand in demands.items() if demand.phrases]
    if not parts:
        return {}
    prefixes = {
        place: LexicalConstraints(demands[i].prefix)
        for place, i in enumerate(parts)
        if demands[i].prefix
    }
    free = search([sources[i] for i in parts], 1, prefixes)
    sums: defaultdict[int, list[float]] = defaultdict(lambda: [0.0, 0, 0.0, 0])
    for i, (best, *_) in zip(parts, free, strict=True):
        total = sums[lines[i]]
        for place, hypothesis in ((0, best), (2, forced[i])):
            total[place] += hypothesis.log_prob
            total[place + 1] += len(hypothesis.tokens) + 1
    return {
        line: free_sum / free_tokens - forced_sum / forced_tokens
        for line, (free_sum, free_tokens, forced_sum, forced_tokens) in sums.items()
    }
