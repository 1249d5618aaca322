"""Compare an imported model with the same model in its own toolkit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.importing.imported_model import Reference

MAX_DIFFERENCE = 1e-4
"""Maximum difference of the log-probabilities per token."""
LINES = (
    "This is a test.",
    "Two dogs run through the snow, and a man looks on.",
    "In 2024, 1,234 people (about 5%) said: \u201cNo!\u201d",
    "Zażółć gęślą jaźń \u2013 čeština, Straße, naïve café.",
    "Привет, мир! 你好，世界。",
)
"""Lines that are compared if the user gives none; unknown characters are among them."""


@dataclass(frozen=True)
class ImportComparison:
    """Agreement of an imported model with the original."""

    lines: int
    """Number of compared lines."""
    same_sources: int
    """Number of lines with equal source token ids."""
    same_translations: int
    """Number of lines with equal greedy token ids."""
    difference: float
    """Largest difference of the log-probabilities per token of the original's translations."""

    def in_words(self) -> str:
        """Return the agreement as text."""
        return (
            f"source token ids: equal on {self.same_sources} of {self.lines} lines\n"
            f"greedy token ids: equal on {self.same_translations} of {self.lines} lines\n"
            f"log-probability a token: at most {self.difference:.1e} apart"
        )

    @property
    def is_close(self) -> bool:
        """Whether both compute the same. Rounding may turn a tie into another translation."""
        return self.same_sources == self.lines and self.difference <= MAX_DIFFERENCE


def compare_with_reference(
    ours: TorchEngine, reference: Reference, lines: Sequence[str]
) -> ImportComparison:
    """Translate the lines that fit the reference greedily with both."""
    # a setting may normalize the text; the original does not
    src = ours.tokenizers.src.with_normalizer(None)
    selection = [
        (line, tokens, ours.length_limit(len(tokens)))
        for line, tokens in zip(lines, src.encode(lines), strict=True)
        if len(tokens) > len(src.tags)
        and max(len(tokens) + 1, ours.length_limit(len(tokens))) < reference.max_positions
    ]
    theirs = reference.translate([line for line, _, _ in selection], [n for *_, n in selection])
    same_sources = same_translations = 0
    difference = 0.0
    for (_, tokens, _), translation in zip(selection, theirs, strict=True):
        same_sources += translation.source == [*tokens, src.eos]
        [[best]] = ours.search([tokens])
        same_translations += translation.tokens == best.tokens
        [scores] = ours.score_tokens([(tokens, translation.tokens)])
        count = len(translation.log_probs)
        log_prob = float(scores.log_probs[:count].sum(dtype=float))
        difference = max(difference, abs(log_prob - math.fsum(translation.log_probs)) / count)
    return ImportComparison(len(selection), same_sources, same_translations, difference)
