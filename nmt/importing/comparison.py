"""Compare an imported model with the same model in its own toolkit."""

from __future__ import annotations

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
    """Largest difference of the log-probabilities per token of our translations."""

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
    # a setting may normalize the text or add tags; the original does neither
    src, tgt = ours.tokenizers.src.with_normalizer(None).with_tags(()), ours.tokenizers.tgt
    compared = same_sources = same_translations = 0
    difference = 0.0
    for line, tokens in zip(lines, src.encode(lines), strict=True):
        source = [*tokens, src.eos]
        max_length = ours.length_limit(len(tokens))
        if not tokens or max(len(source), max_length) >= reference.max_positions:
            continue
        compared += 1
        same_sources += reference.encode(line) == source
        [[best]] = ours.search([tokens])
        same_translations += reference.search(source, max_length) == best.tokens
        [score] = ours.score([(tokens, best.tokens)])
        their_score = reference.score(source, [*best.tokens, tgt.eos])
        difference = max(difference, abs(score.log_prob - their_score) / (len(best.tokens) + 1))
    return ImportComparison(compared, same_sources, same_translations, difference)
