"""Translate and score lines: split, tokenize, search in batches, detokenize, join.

The translator imports no torch; it calls the engine that it is given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from nmt.config.sections.decode import DecodeConfig
from nmt.data.text.reader import to_single_line
from nmt.data.text.sentence_splitter import find_sentence_ends
from nmt.data.text.word_boundaries import count_phrase
from nmt.data.tokenizer.tokenizer import TagIds, Tokenizers
from nmt.decoding.constraints.lexical_constraints import LexicalConstraints, encode_constraints
from nmt.decoding.constraints.placeholders import ProtectedLine, has_balanced_tags, protect
from nmt.decoding.constraints.terminology import SpanConstraint, Terminology
from nmt.decoding.lines.confidence import compute_confidence
from nmt.decoding.lines.line import Line
from nmt.decoding.lines.pair_splitting import (
    PairSegment,
    batch_by_size,
    fits_forward_pass,
    split_pair,
)
from nmt.decoding.lines.progress import LineProgress
from nmt.decoding.lines.score_drop import measure_score_drops
from nmt.decoding.lines.splitting import LineSplitter, Segment, join_translations
from nmt.decoding.lines.statistics import TranslationStatistics
from nmt.decoding.lines.translation import DecodedSegment, PairScore, Translation
from nmt.decoding.search.hypothesis import Engine, Hypothesis, TokenScores, length_limit

FIRST_WINDOW = 64
LARGEST_WINDOW = 8192
"""Number of lines that are sorted by length together. The window grows from FIRST_WINDOW, so that
the reader of a pipe gets the first lines soon."""


@dataclass(frozen=True)
class TranslatorFeatures:
    """Optional features of a translator."""

    terminology: Terminology | None = None
    """Terms of source lines and their required translations."""
    protect_spans: bool = False
    """Copy links, addresses, variables, numbers and markup tags to the translation."""
    estimate_confidence: bool = False
    """Add the confidence to the best translation of each line."""
    record_score_drops: bool = False
    """Record how much required phrases lower the score of each line."""


@dataclass(frozen=True)
class _PreparedLine:
    """A line with placeholders and the constraints from its terms."""

    line: Line
    protected: ProtectedLine
    terms: Sequence[SpanConstraint]
    """Terms in the protected text."""

    @property
    def required_phrases(self) -> list[str]:
        """Phrases that the translation must contain, without protected spans."""
        return [*self.line.phrases, *(term.target for term in self.terms)]

    def span_phrases(self, begin: int, end: int) -> list[str]:
        """Return the constraints with a span of the protected text that starts in [begin, end)."""
        constraints = [*self.terms, *self.protected.constraints]
        return [span.target for span in constraints if begin <= span.begin < end]


@dataclass(frozen=True)
class _SourceSegment:
    """A tokenized segment of a line, with the constraints on its translation."""

    line_index: int
    segment: Segment
    tokens: list[int]
    prefix: str
    phrases: Sequence[str]


class Translator:
    """Translates and scores raw lines for the command line, validation and the Python API."""

    def __init__(
        self,
        engine: Engine,
        tokenizers: Tokenizers,
        settings: DecodeConfig,
        splitter: LineSplitter | None = None,
        features: TranslatorFeatures | None = None,
    ) -> None:
        """Combine an engine with tokenizers. Without `splitter`, lines are not split."""
        self.engine = engine
        self.tokenizers = tokenizers
        self.settings = settings
        self.splitter = splitter or LineSplitter()
        self.features = features or TranslatorFeatures()
        if self.features.terminology is not None:
            terminology = self.features.terminology.normalized_by(tokenizers.src.normalizer)
            self.features = replace(self.features, terminology=terminology)
        self.statistics = TranslationStatistics()
        """Statistics of all lines since the translator was built."""
        self.progress: Callable[[int], object] | None = None
        """Receives the number of lines or pairs that finished since the last call."""

    def with_tags(self, tags: TagIds, language: str = "") -> Translator:
        """Return a translator that starts each source and each translation with its tags.

        `language` is the source language for splitting; by default it stays the same.
        """
        tokenizers = self.tokenizers.with_tags(tags)
        splitter = replace(self.splitter, language=language or self.splitter.language)
        engine = self.engine.with_tags(tags)
        return Translator(engine, tokenizers, self.settings, splitter, self.features)

    def translate(self, lines: Iterable[str | Line]) -> list[str]:
        """Return the best translation of each line, in order. A blank line stays blank."""
        return [best.text for best, *_ in self.nbest(list(lines), 1)]

    def nbest(
        self, lines: Sequence[str | Line], n: int, offset: int = 0
    ) -> list[list[Translation]]:
        """Return the `n` best translations of each line, best first, in the order of the lines.

        `offset` is the number of lines before these, for line numbers in the statistics.
        """
        prepared = [self._prepare(line if isinstance(line, Line) else Line(line)) for line in lines]
        segments = list(self._split_and_encode(prepared))
        nbest_lists = self._translate_segments(segments, prepared, n, offset)
        segments_of_line: list[list[Segment]] = [[] for _ in lines]
        nbest_lists_of_line: list[list[list[Translation]]] = [[] for _ in lines]
        for segment, nbest_list in zip(segments, nbest_lists, strict=True):
            segments_of_line[segment.line_index].append(segment.segment)
            nbest_lists_of_line[segment.line_index].append(nbest_list)
        results = []
        for i, line in enumerate(prepared):
            if segments_of_line[i]:
                translations = _join_nbest_lists(nbest_lists_of_line[i], segments_of_line[i])
            else:  # a blank line
                translations = [Translation(line.line.prefix, 0.0)]
            self._record_constraints(offset + i + 1, line, translations[0].text)
            results.append(translations)
        return self._add_confidence(results) if self.features.estimate_confidence else results

    def stream(
        self,
        lines: Iterable[str | Line],
        n: int = 1,
        one_by_one: bool = False,
        offset: int = 0,
    ) -> Iterator[list[Translation]]:
        """Yield the n best translations of each line in order, for any number of lines.

        With `one_by_one`, yield the translation of each line before reading the next. `offset` is
        the number of lines before these, for line numbers in the statistics.
        """
        iterator = iter(lines)
        window = 1 if one_by_one else FIRST_WINDOW
        while chunk := list(islice(iterator, window)):
            yield from self.nbest(chunk, n, offset)
            offset += len(chunk)
            if not one_by_one:
                window = min(2 * window, LARGEST_WINDOW)

    def score(self, pairs: Iterable[tuple[str, str]]) -> list[float]:
        """Return log-probability / length penalty of each (source, translation) pair."""
        return [pair.score for pair in self.score_pairs(list(pairs))]

    def score_pairs(self, pairs: Sequence[tuple[str, str]], offset: int = 0) -> list[PairScore]:
        """Return the scores of (source, translation) pairs by forced decoding.

        A pair that is too long is scored in segments. If lines are translated by sentence, so is a
        pair of several sentences. `offset` is the number of pairs before these, for the statistics.
        """
        segments: list[PairSegment] = []
        pair_of_segment: list[int] = []
        for i, (source, target) in enumerate(pairs):
            pair_segments = self._split_pair(source, target, offset + i + 1)
            segments += pair_segments
            pair_of_segment += [i] * len(pair_segments)
        sources = self.tokenizers.src.encode([segment.source.text for segment in segments])
        targets = self.tokenizers.tgt.encode([segment.target.text for segment in segments])
        token_pairs = list(zip(sources, targets, strict=True))
        scored: dict[int, Hypothesis] = {}
        for batch in batch_by_size(token_pairs, self.settings.batch_size):
            scored |= zip(batch, self.engine.score([token_pairs[i] for i in batch]), strict=True)
            if self.progress is not None:
                is_first = [i == 0 or pair_of_segment[i - 1] != pair_of_segment[i] for i in batch]
                self.progress(sum(is_first))
        scored_of_pair: list[list[Hypothesis]] = [[] for _ in pairs]
        for i, pair in enumerate(pair_of_segment):
            scored_of_pair[pair].append(scored[i])
        return [PairScore.from_segments(hypotheses) for hypotheses in scored_of_pair]

    def _prepare(self, line: Line) -> _PreparedLine:
        """Protect the spans of a line and find its terms."""
        terminology = self.features.terminology
        protected = ProtectedLine(line.text)
        if self.features.protect_spans:
            required_texts = (line.prefix, *line.phrases)
            normalizer = self.tokenizers.src.normalizer
            protected = protect(line.text, terminology, required_texts, normalizer)
        terms = terminology.find(protected.text) if terminology else ()
        return _PreparedLine(line, protected, terms)

    def _split_and_encode(self, lines: Sequence[_PreparedLine]) -> Iterator[_SourceSegment]:
        """Yield the tokenized segments of all lines that are not blank."""
        src = self.tokenizers.src
        indices = [i for i, line in enumerate(lines) if not src.is_blank(line.line.text)]
        tokens_of_lines = src.encode([lines[i].protected.text for i in indices])
        for i, line_tokens in zip(indices, tokens_of_lines, strict=True):
            line = lines[i]
            segments, tokens_of_segments = self._split(line, len(line_tokens)), [line_tokens]
            if len(segments) > 1:
                tokens_of_segments = src.encode([segment.text for segment in segments])
            prefix, begin = line.line.prefix, 0
            for segment, tokens in zip(segments, tokens_of_segments, strict=True):
                end = begin + len(segment.text + segment.trailing_space)
                phrases = [*line.line.phrases, *line.span_phrases(begin, end)]
                yield _SourceSegment(i, segment, tokens, prefix, phrases)
                prefix, begin = "", end

    def _split(self, prepared: _PreparedLine, token_count: int) -> list[Segment]:
        """Split a line of `token_count` tokens into segments, and count it in the statistics.

        A line with its own phrases is not split, because it is unknown which segment they belong
        to. Neither is a line that fits and has a prefix of several sentences.
        """
        text, line, splitter = prepared.protected.text, prepared.line, self.splitter
        is_long = token_count > splitter.max_tokens
        if line.phrases or not (is_long or splitter.by_sentence):
            return [Segment(text)]
        if (
            not is_long
            and line.prefix
            and find_sentence_ends(line.prefix, splitter.target_language)
        ):
            return [Segment(text)]
        segments = splitter.split(
            text, self.tokenizers.count_source_tokens, prepared.protected.text_for_splitting
        )
        if is_long:
            self.statistics.long_lines += 1
            self.statistics.long_line_segments += len(segments)
        elif len(segments) > 1:
            self.statistics.multi_sentence_lines += 1
            self.statistics.sentences += len(segments)
        return segments

    def _translate_segments(
        self,
        segments: Sequence[_SourceSegment],
        lines: Sequence[_PreparedLine],
        n: int,
        offset: int,
    ) -> list[list[Translation]]:
        """Return the n best translations of each segment, best first.

        `lines` are the lines of the segments; `offset` is the number of lines before these, for
        line numbers in the statistics.
        """
        if not segments:
            return []
        constraints = {
            i: encode_constraints(self.tokenizers.tgt, segment.prefix, segment.phrases)
            for i, segment in enumerate(segments)
            if segment.prefix or segment.phrases
        }
        hypotheses = self._search(segments, lines, n, constraints)
        results = []
        for i, segment in enumerate(segments):
            protected = lines[segment.line_index].protected
            max_length = length_limit(self.settings, len(segment.tokens), constraints.get(i))
            translations = [
                self._detokenize(hypothesis, segment, protected, max_length)
                for hypothesis in hypotheses[i]
            ]
            # The search returns more than n hypotheses if they are ranked again.
            results.append(self._rank(translations, protected)[:n])
        if self.features.record_score_drops:
            # Before segments are joined, each translation has exactly one decoded segment.
            best_hypotheses = [nbest_list[0].segments[0].hypothesis for nbest_list in results]
            self._record_score_drops(segments, lines, constraints, best_hypotheses, offset)
        return results

    def _search(
        self,
        segments: Sequence[_SourceSegment],
        lines: Sequence[_PreparedLine],
        n: int,
        constraints: Mapping[int, LexicalConstraints],
    ) -> list[list[Hypothesis]]:
        """Return hypotheses of each segment: the n best, or the full beam if it is ranked again.

        The number of hypotheses decides when a search ends, so each number has its own search.
        """
        beam = self.settings.max_nbest
        is_mbr = self.settings.method == "mbr"
        counts = [
            beam if is_mbr or lines[segment.line_index].protected.has_tags else n
            for segment in segments
        ]
        progress = None
        if self.progress is not None:
            progress = LineProgress(len(lines), len(segments), self.progress).finish
        hypotheses: list[list[Hypothesis]] = [[] for _ in segments]
        for count in sorted(set(counts)):
            selected = [i for i in range(len(segments)) if counts[i] == count]
            sources = [segments[i].tokens for i in selected]
            selected_constraints = {
                index: constraints[i] for index, i in enumerate(selected) if i in constraints
            }
            results = self.engine.search(sources, count, selected_constraints, progress)
            for i, result in zip(selected, results, strict=True):
                hypotheses[i] = result
        return hypotheses

    def _detokenize(
        self,
        hypothesis: Hypothesis,
        segment: _SourceSegment,
        protected: ProtectedLine,
        max_length: int,
    ) -> Translation:
        """Return a hypothesis as text, with the originals instead of placeholders.

        `max_length` is the maximum length of the translation in tokens, eos included.
        """
        text = protected.restore(to_single_line(self.tokenizers.tgt.decode(hypothesis.tokens)))
        decoded = DecodedSegment(segment.tokens, hypothesis, max_length)
        return Translation(text, hypothesis.score, (decoded,))

    def _rank(self, translations: list[Translation], protected: ProtectedLine) -> list[Translation]:
        """Rank the translations of a segment by MBR, or by score with balanced tags first."""
        if self.settings.method == "mbr":
            from nmt.decoding.lines.mbr import rank_by_expected_utility  # imports sacrebleu

            return rank_by_expected_utility(translations, self.settings.mbr_metric)
        if protected.has_tags:
            return sorted(translations, key=lambda t: not has_balanced_tags(t.text))
        return translations

    def _record_score_drops(
        self,
        segments: Sequence[_SourceSegment],
        lines: Sequence[_PreparedLine],
        constraints: Mapping[int, LexicalConstraints],
        best: Sequence[Hypothesis],
        offset: int,
    ) -> None:
        """Record how much required phrases lower the scores of the best hypotheses.

        The search without phrases reads the source without markup tags.
        """
        sources = []
        for segment in segments:
            protected, tokens = lines[segment.line_index].protected, segment.tokens
            if protected.has_tags:
                [tokens] = self.tokenizers.src.encode(
                    [protected.without_tags(segment.segment.text)]
                )
            sources.append(tokens)
        line_indices = [segment.line_index for segment in segments]
        drops = measure_score_drops(line_indices, sources, constraints, best, self.engine.search)
        self.statistics.score_drops += [(offset + i + 1, drop) for i, drop in drops.items()]

    def _record_constraints(self, number: int, prepared: _PreparedLine, text: str) -> None:
        """Record which constraints the best translation of line `number` satisfies."""
        statistics, protected = self.statistics, prepared.protected
        phrase_counts = Counter(prepared.required_phrases)
        statistics.required_phrases += phrase_counts.total()
        for phrase, count in phrase_counts.items():
            missing_count = count - count_phrase(self.tokenizers.tgt.normalize(phrase), text)
            statistics.missing_phrases += [(number, phrase)] * missing_count
        if self.features.protect_spans:
            statistics.protected_spans += len(protected.originals)
            statistics.missing_spans += [(number, span) for span in protected.find_missing(text)]
            is_source_balanced = protected.has_tags and has_balanced_tags(prepared.line.text)
            if is_source_balanced and not has_balanced_tags(text):
                statistics.unbalanced_lines.append(number)

    def _add_confidence(self, nbest_lists: list[list[Translation]]) -> list[list[Translation]]:
        """Add the confidence to the best translation of each line, by forced decoding."""
        segments = [segment for best, *_ in nbest_lists for segment in best.segments]
        pairs = [(segment.source, segment.hypothesis.tokens) for segment in segments]
        scores_of_segment: dict[int, TokenScores] = {}
        for batch in batch_by_size(pairs, self.settings.batch_size):
            token_scores = self.engine.score_tokens([pairs[i] for i in batch])
            scores_of_segment |= zip(batch, token_scores, strict=True)
        results = []
        begin = 0
        for best, *others in nbest_lists:
            end = begin + len(best.segments)
            token_scores = [scores_of_segment[i] for i in range(begin, end)]
            reached_limit = any(len(s.hypothesis.tokens) + 1 >= s.max_length for s in best.segments)
            confidence = compute_confidence(best.text, token_scores, reached_limit)
            results.append([replace(best, confidence=confidence), *others])
            begin = end
        return results

    def _split_pair(self, source: str, target: str, line_number: int) -> list[PairSegment]:
        """Split a pair for forced decoding, and count it in the statistics.

        `line_number` starts at 1. Segments without target text are omitted. If no segment has any,
        the first remains, because every pair needs a score.
        """
        count_tokens = self.tokenizers.count_pair_tokens
        segments = split_pair(source, target, self.splitter, count_tokens)
        if len(segments) > 1 and not fits_forward_pass(*count_tokens(source, target)):
            self.statistics.long_pairs.append(line_number)
        elif len(segments) > 1:
            self.statistics.multi_sentence_lines += 1
            self.statistics.sentences += len(segments)
        segments_with_target = [segment for segment in segments if segment.target.text]
        return segments_with_target or segments[:1]


def _join_nbest_lists(
    nbest_lists: list[list[Translation]], segments: list[Segment]
) -> list[Translation]:
    """Return the n-best list of a line: for each k, the k-th best translations of its segments.

    `nbest_lists` has one list per source segment, with translations of one segment each. A segment
    with fewer translations contributes its last one. The score is the mean of the segments'
    scores, weighted by their numbers of tokens, eos included.
    """
    if len(nbest_lists) == 1:
        return nbest_lists[0]
    joined = []
    for k in range(max(map(len, nbest_lists))):
        kth_best = [nbest_list[min(k, len(nbest_list) - 1)] for nbest_list in nbest_lists]
        decoded_segments = tuple(segment for best in kth_best for segment in best.segments)
        sizes = [len(segment.hypothesis.tokens) + 1 for segment in decoded_segments]
        scores = [translation.score for translation in kth_best]
        score = sum(size * score for size, score in zip(sizes, scores, strict=True)) / sum(sizes)
        text = join_translations([translation.text for translation in kth_best], segments)
        joined.append(Translation(text, score, decoded_segments))
    return joined
