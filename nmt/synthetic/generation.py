"""Translate lines of real text, choose among the candidates, and filter the pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from nmt.data.corpus.filters import Cleaner
from nmt.decoding.lines.translation import Translation, dual_cross_entropy_score
from nmt.decoding.translator import Translator
from nmt.evaluation.metrics import bleu_tokenizer
from nmt.synthetic.pairs import SyntheticPair, TextLine

INVALID_CHARACTER = "\N{REPLACEMENT CHARACTER}"
"""Replaces invalid UTF-8."""


@dataclass(frozen=True)
class ReverseFilter:
    """Filter of pairs by a model of the reverse direction."""

    reverse: Translator
    min_chrf: float | None = None
    """Minimum chrF, 0 to 100, of the translation back against the real text."""
    min_dual: float | None = None
    """Minimum score of dual cross-entropy, 0 to 1."""

    def apply(self, pairs: list[SyntheticPair], forward: Translator) -> list[SyntheticPair]:
        """Return the pairs, with the reason for those that are dropped.

        `forward` is the translator that made the translations.
        """
        if self.min_dual is not None:
            pairs = _drop_low_scores(
                pairs,
                lambda kept: self._dual_scores(kept, forward),
                self.min_dual,
                f"dual cross-entropy score under {self.min_dual:g}",
            )
        if self.min_chrf is not None:
            reason = f"round trip under {self.min_chrf:g} chrF"
            pairs = _drop_low_scores(pairs, self._round_trip_scores, self.min_chrf, reason)
        return pairs

    def _dual_scores(self, pairs: list[SyntheticPair], forward: Translator) -> list[float]:
        """Return the score of dual cross-entropy of each pair."""
        texts = [(pair.text, pair.translation) for pair in pairs]
        forward_scores = forward.score_pairs(texts)
        backward_scores = self.reverse.score_pairs([pair[::-1] for pair in texts])
        return list(map(dual_cross_entropy_score, forward_scores, backward_scores))

    def _round_trip_scores(self, pairs: list[SyntheticPair]) -> list[float]:
        """Translate back; return the chrF against the real text of each pair."""
        metric = CHRF()
        texts = self.reverse.translate([pair.translation for pair in pairs])
        return [
            metric.sentence_score(text, [pair.text]).score
            for text, pair in zip(texts, pairs, strict=True)
        ]


def _drop_low_scores(
    pairs: list[SyntheticPair],
    compute_scores: Callable[[list[SyntheticPair]], list[float]],
    minimum: float,
    reason: str,
) -> list[SyntheticPair]:
    """Return the pairs, with `reason` for those with a lower score; dropped ones are skipped."""
    kept = [index for index, pair in enumerate(pairs) if pair.reason is None]
    scores = compute_scores([pairs[index] for index in kept])
    result = list(pairs)
    for index, score in zip(kept, scores, strict=True):
        if score < minimum:
            result[index] = replace(pairs[index], reason=reason)
    return result


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
    reverse_filter: ReverseFilter | None = None

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
        if self.reverse_filter is None:
            return pairs
        return self.reverse_filter.apply(pairs, self.translator)

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
