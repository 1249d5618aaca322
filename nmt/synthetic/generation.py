"""Translate lines of real text, choose among the candidates, and filter the pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from nmt.data.corpus.filters import Cleaner
from nmt.decoding.lines.translation import Translation
from nmt.decoding.translator import Translator
from nmt.evaluation.metrics import bleu_tokenizer
from nmt.synthetic.pairs import SyntheticPair, TextLine

INVALID_CHARACTER = "\N{REPLACEMENT CHARACTER}"
"""Replaces invalid UTF-8."""


@dataclass(frozen=True)
class RoundTrip:
    """Filter of pairs by a translation back to the language of the real text."""

    translator: Translator
    """Model of the reverse direction."""
    min_chrf: float
    """Minimum chrF, 0 to 100, of the second translation against the real text."""

    def drop_reasons(self, pairs: Sequence[SyntheticPair]) -> list[str | None]:
        """Return for each pair why it is dropped, None if it is kept."""
        metric = CHRF()
        back = self.translator.translate([pair.translation for pair in pairs])
        scores = [
            metric.sentence_score(text, [pair.text]).score
            for text, pair in zip(back, pairs, strict=True)
        ]
        return [
            f"round trip under {self.min_chrf:g} chrF" if score < self.min_chrf else None
            for score in scores
        ]


@dataclass(frozen=True)
class PairGenerator:
    """Makes pairs of lines of real text and their translations."""

    translator: Translator
    cleaner: Cleaner
    """Filters of single pairs: (real text, translation)."""
    language: str
    """Language of the translations, which selects the BLEU tokenizer."""
    nbest: int = 1
    """Number of candidates per line; the one with the best sentence BLEU is chosen."""
    min_score: float | None = None
    """Minimum mean log-probability per token, in nats."""
    round_trip: RoundTrip | None = None

    def generate(self, lines: Sequence[TextLine]) -> list[SyntheticPair]:
        """Return one pair per line, each with the reason if it is dropped."""
        nbest_lists = self.translator.nbest([line.text for line in lines], self.nbest)
        chosen = [
            self._choose(candidates, line.reference)
            for candidates, line in zip(nbest_lists, lines, strict=True)
        ]
        pairs = [
            SyntheticPair(line.location, line.text, best.text, self._drop_reason(line.text, best))
            for line, best in zip(lines, chosen, strict=True)
        ]
        return pairs if self.round_trip is None else _apply_round_trip(pairs, self.round_trip)

    def _choose(self, candidates: Sequence[Translation], reference: str | None) -> Translation:
        """Return the candidate with the best sentence BLEU, of equal ones the most probable.

        This is sequence-level interpolation (Kim & Rush 2016, section 3.3).
        """
        if reference is None or len(candidates) == 1:
            return candidates[0]
        metric = BLEU(tokenize=bleu_tokenizer(self.language)[0], effective_order=True)
        return max(candidates, key=lambda best: metric.sentence_score(best.text, [reference]).score)

    def _drop_reason(self, text: str, best: Translation) -> str | None:
        """Return why a pair is dropped, None if it is kept."""
        if INVALID_CHARACTER in text:
            return "invalid UTF-8"
        if reason := self.cleaner.drop_reason(text, best.text):
            return reason
        sizes = [len(segment.hypothesis.tokens) + 1 for segment in best.segments]
        limits = [segment.max_length for segment in best.segments]
        if any(size >= limit for size, limit in zip(sizes, limits, strict=True)):
            return "translation without end"
        log_prob = sum(segment.hypothesis.log_prob for segment in best.segments)
        if self.min_score is not None and log_prob < self.min_score * sum(sizes):
            return f"score under {self.min_score:g}"
        return None


def _apply_round_trip(pairs: list[SyntheticPair], round_trip: RoundTrip) -> list[SyntheticPair]:
    """Return the pairs, with the reason for those that the round trip drops."""
    kept = [index for index, pair in enumerate(pairs) if pair.reason is None]
    reasons = round_trip.drop_reasons([pairs[index] for index in kept])
    reason_of = dict(zip(kept, reasons, strict=True))
    return [replace(pair, reason=reason_of.get(i, pair.reason)) for i, pair in enumerate(pairs)]
