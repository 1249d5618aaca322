"""From lines to lines: tokenize, sort, search in batches, detokenize, put back in order.

The engine that searches is handed in; this room needs no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from operator import mul
from typing import TYPE_CHECKING

from nmt.config.schema import DecodeConfig
from nmt.data.text.reader import to_single_line
from nmt.data.text.sentence_splitter import sentence_ends
from nmt.data.text.word_boundaries import count_phrase
from nmt.data.tokenizer.tokenizer import Tokenizers
from nmt.decoding.constraints.lexical_constraints import LexicalConstraints, encode_constraints
from nmt.decoding.constraints.placeholders import ProtectedLine, has_balanced_tags, protect
from nmt.decoding.constraints.score_drop import measure_score_drops
from nmt.decoding.constraints.terminology import SpanConstraint, Terminology
from nmt.decoding.hypothesis import (
    DecodedSegment,
    Engine,
    Hypothesis,
    PairScore,
    Translation,
    length_limit,
)
from nmt.decoding.lines.confidence import TokenScores, compute_confidence
from nmt.decoding.lines.line import Line
from nmt.decoding.lines.pair_splitting import (
    PairSegment,
    batch_by_size,
    fits_single_pass,
    split_pair,
)
from nmt.decoding.lines.progress import LineProgress
from nmt.decoding.lines.splitting import LineSplitter, Segment, join_translations
from nmt.decoding.lines.statistics import TranslationStatistics

if TYPE_CHECKING:
    pass

FIRST_WINDOW = 64
LARGEST_WINDOW = 8192
"""Lines sorted together. The window grows, so that a reader of a pipe sees the first lines soon."""


@dataclass(frozen=True)
class TranslatorFeatures:
    """What a translator does beside translating."""

    terms: Terminology | None = None
    """Demanded wherever their source occurs."""
    protects: bool = False
    """Links, addresses, placeholders and numbers stay as they are."""
    assesses: bool = False
    """The best translation of each line comes with its confidence."""
    measures_drops: bool = False
    """The report says how far phrases lower the score of each line."""


@dataclass(frozen=True)
class _Asked:
    """A line, and what it demands beside what it says itself."""

    line: Line
    protected: ProtectedLine
    """Its text as the model reads it."""
    terms: Sequence[SpanConstraint]
    """Where terms stand in that."""

    @property
    def phrases(self) -> list[str]:
        """What must stand in the translation, numbers left out."""
        return [*self.line.phrases, *(place.target for place in self.terms)]

    def phrases_of(self, begin: int, end: int) -> list[str]:
        """Return what demands what begins in a part of the text as read, numbers too."""
        places = [*self.terms, *self.protected.constraints]
        return [place.target for place in places if begin <= place.begin < end]


@dataclass(frozen=True)
class _Part:
    """A part of a line on its way."""

    line: int
    piece: Segment
    source: list[int]
    prefix: str
    phrases: Sequence[str]


class Translator:
    """Translates and scores raw lines: the same for the command, validation and Python."""

    def __init__(
        self,
        engine: Engine,
        tokenizers: Tokenizers,
        settings: DecodeConfig,
        splitter: LineSplitter | None = None,
        extras: TranslatorFeatures | None = None,
    ) -> None:
        """Put an engine between tokenizers; without `splitter` every line is translated whole."""
        self.engine = engine
        self.tokenizers = tokenizers
        self.settings = settings
        self.splitter, self.extras = splitter or LineSplitter(), extras or TranslatorFeatures()
        if self.extras.terms is not None:
            terms = self.extras.terms.normalized_by(tokenizers.src.normalizer)
            self.extras = replace(self.extras, terms=terms)
        self.statistics = TranslationStatistics()
        self.progress: Callable[[int], object] | None = None
        """Called with the number of lines translated, or of pairs scored, since the last call."""

    def tagged(self, tags: tuple[int, ...], language: str = "") -> Translator:
        """Return this translator with token ids before every source, in another source language."""
        tokenizers = self.tokenizers.with_tags(tags)
        splitter = replace(self.splitter, language=language or self.splitter.language)
        return Translator(self.engine, tokenizers, self.settings, splitter, self.extras)

    def translate(self, lines: Iterable[str | Line]) -> list[str]:
        """Return the best translation of each line, in order. A blank line stays blank."""
        return [best[0].text for best in self.nbest(list(lines), 1)]

    def nbest(self, lines: Sequence[str | Line], n: int, first: int = 0) -> list[list[Translation]]:
        """Return the `n` best translations of each line, best first, in the order of the lines.

        `first` is the number of the first line, for the report.
        """
        asked = [self._asked(line if isinstance(line, Line) else Line(line)) for line in lines]
        parts = list(self._parts(asked))
        by_line: dict[int, list[list[Translation]]] = {}
        whole: dict[int, list[Segment]] = {}
        for part, its in zip(parts, self._found(parts, asked, n, first), strict=True):
            by_line.setdefault(part.line, []).append(its)
            whole.setdefault(part.line, []).append(part.piece)
        found = [
            _joined(by_line[i], whole[i]) if i in by_line else [Translation(each.line.prefix, 0.0)]
            for i, each in enumerate(asked)
        ]
        for number, (each, its) in enumerate(zip(asked, found, strict=True), first + 1):
            self._tell(number, each, its[0].text)
        return self._with_confidence(found) if self.extras.assesses else found

    def _asked(self, line: Line) -> _Asked:
        """Look at what is to be kept in a line, and at its terms."""
        terms = self.extras.terms
        protected = ProtectedLine(line.text)
        if self.extras.protects:
            held, normalizer = (line.prefix, *line.phrases), self.tokenizers.src.normalizer
            protected = protect(line.text, terms, held, normalizer)
        return _Asked(line, protected, terms.find(protected.text) if terms else ())

    def _with_confidence(self, found: list[list[Translation]]) -> list[list[Translation]]:
        """Force the best translations again, to see how far they can be trusted."""
        pieces = [piece for its in found for piece in its[0].segments]
        pairs = [(piece.source, piece.hypothesis.tokens) for piece in pieces]
        assessed: dict[int, TokenScores] = {}
        for batch in batch_by_size(pairs, self.settings.batch_size):
            assessed |= zip(batch, self.engine.score_tokens([pairs[i] for i in batch]), strict=True)
        in_order = (assessed[i] for i in range(len(pairs)))
        result = []
        for best, *others in found:
            its = list(islice(in_order, len(best.segments)))
            cut = any(len(p.hypothesis.tokens) + 1 >= p.limit for p in best.segments)
            result.append(
                [replace(best, confidence=compute_confidence(best.text, its, cut)), *others]
            )
        return result

    def _parts(self, asked: Sequence[_Asked]) -> Iterator[_Part]:
        """Yield the parts in which lines are translated; of a blank line, none."""
        src = self.tokenizers.src
        readable = {i: each for i, each in enumerate(asked) if not src.is_blank(each.line.text)}
        sources = self._encode_source(each.protected.text for each in readable.values())
        for (i, each), source in zip(readable.items(), sources, strict=True):
            pieces, tokens = self._split(each, len(source)), [source]
            if len(pieces) > 1:
                tokens = self._encode_source(piece.text for piece in pieces)
            prefix, begin = each.line.prefix, 0
            for piece, its in zip(pieces, tokens, strict=True):
                end = begin + len(piece.text + piece.trailing_space)
                phrases = [*each.line.phrases, *each.phrases_of(begin, end)]
                yield _Part(i, piece, its, prefix, phrases)
                prefix, begin = "", end

    def _split(self, asked: _Asked, length: int) -> list[Segment]:
        """Divide a line of `length` tokens into the parts that are translated one by one.

        A line with phrases of its own stays whole, as nobody knows which part they belong to; so
        does a line that fits, if its prefix holds more than one sentence.
        """
        text, line, splitter = asked.protected.text, asked.line, self.splitter
        too_long = length > splitter.max_tokens
        if line.phrases or not (too_long or splitter.by_sentence):
            return [Segment(text)]
        if not too_long and line.prefix and sentence_ends(line.prefix, splitter.target_language):
            return [Segment(text)]
        pieces = splitter.split(
            text, self.tokenizers.count_source_tokens, asked.protected.text_for_splitting
        )
        if too_long:
            self.statistics.long_lines += 1
            self.statistics.long_line_segments += len(pieces)
        elif len(pieces) > 1:
            self.statistics.multi_sentence_lines += 1
            self.statistics.sentences += len(pieces)
        return pieces

    def _found(
        self, parts: Sequence[_Part], asked: Sequence[_Asked], n: int, first: int
    ) -> list[list[Translation]]:
        """Return the n best translations of each part."""
        if not parts:
            return []
        tgt, settings = self.tokenizers.tgt, self.settings
        demands = {
            i: encode_constraints(tgt, part.prefix, part.phrases)
            for i, part in enumerate(parts)
            if part.prefix or part.phrases
        }
        chooses = settings.method == "mbr"
        if chooses:
            from nmt.decoding.mbr import (
                rank_by_expected_utility,
            )  # sacrebleu, which no other search needs
        searched = self._search(parts, asked, n, demands)
        found = []
        for i, (part, hypotheses) in enumerate(zip(parts, searched, strict=True)):
            limit = length_limit(settings, len(part.source), demands.get(i))
            its = [
                Translation(
                    asked[part.line].protected.restore(to_single_line(tgt.decode(each.tokens))),
                    each.score,
                    (DecodedSegment(part.source, each, limit),),
                )
                for each in hypotheses
            ]
            if chooses:
                its = rank_by_expected_utility(its, settings.mbr_metric)
            elif asked[part.line].protected.has_tags:
                its.sort(key=lambda each: not has_balanced_tags(each.text))
            found.append(its[:n])
        if self.extras.measures_drops:
            lines = [part.line for part in parts]
            best = [its[0].segments[0].hypothesis for its in found]
            free = [self._without_tags(part, asked[part.line].protected) for part in parts]
            drops = measure_score_drops(lines, free, demands, best, self.engine.search)
            self.statistics.score_drops += [
                (first + line + 1, drop) for line, drop in drops.items()
            ]
        return found

    def _without_tags(self, part: _Part, protected: ProtectedLine) -> list[int]:
        """Return the source tokens of a part without its markup tags."""
        if not protected.has_tags:
            return part.source
        [tokens] = self._encode_source([protected.without_tags(part.piece.text)])
        return tokens

    def _search(
        self,
        parts: Sequence[_Part],
        asked: Sequence[_Asked],
        n: int,
        demands: Mapping[int, LexicalConstraints],
    ) -> list[list[Hypothesis]]:
        """Return the hypotheses of each part: all of the beam if tags or mbr choose among them.

        The number asked for decides when a search is over, so parts are searched by that number.
        """
        most, method = self.settings.most, self.settings.method
        numbers = [
            most if method == "mbr" or asked[part.line].protected.has_tags else n for part in parts
        ]
        progress = self.progress and LineProgress(len(asked), len(parts), self.progress).finish
        searched: list[list[Hypothesis]] = [[] for _ in parts]
        for number in sorted(set(numbers)):
            chosen = [i for i, each in enumerate(numbers) if each == number]
            its = {place: demands[i] for place, i in enumerate(chosen) if i in demands}
            sources = [parts[i].source for i in chosen]
            results = self.engine.search(sources, number, its, progress)
            for i, hypotheses in zip(chosen, results, strict=True):
                searched[i] = hypotheses
        return searched

    def _tell(self, number: int, asked: _Asked, text: str) -> None:
        """Put into the report what became of what a line demands."""
        wanted, report = Counter(asked.phrases), self.statistics
        report.required_phrases += wanted.total()
        report.missing_phrases += [
            (number, phrase)
            for phrase, times in wanted.items()
            for _ in range(times - count_phrase(self.tokenizers.tgt.normalize(phrase), text))
        ]
        if self.extras.protects:
            report.protected_spans += len(asked.protected.originals)
            if (
                asked.protected.has_tags
                and has_balanced_tags(asked.line.text)
                and not has_balanced_tags(text)
            ):
                report.unbalanced_lines.append(number)
            report.missing_spans += [(number, each) for each in asked.protected.find_missing(text)]

    def stream(
        self,
        lines: Iterable[str | Line],
        n: int = 1,
        one_by_one: bool = False,
        first: int = 0,
    ) -> Iterator[list[Translation]]:
        """Yield the n best translations of each line in order, over any number of lines.

        With `one_by_one` each line is answered before the next is read. `first` is the number of
        the first, for the report.
        """
        source = iter(lines)
        window = 1 if one_by_one else FIRST_WINDOW
        while chunk := list(islice(source, window)):
            yield from self.nbest(chunk, n, first)
            first += len(chunk)
            if not one_by_one:
                window = min(2 * window, LARGEST_WINDOW)

    def score(self, pairs: Iterable[tuple[str, str]]) -> list[float]:
        """Return the score of each (source, translation): its log-probability over the penalty."""
        return [pair.score for pair in self.score_pairs(list(pairs))]

    def score_pairs(self, pairs: Sequence[tuple[str, str]], first: int = 0) -> list[PairScore]:
        """Return the score of each (source, translation).

        A pair that is too long is forced in parts, and so is one of several sentences if lines are
        translated by sentence. `first` is the number of the first pair, for the report.
        """
        parts = [
            (number, part)
            for number, pair in enumerate(pairs)
            for part in self._pair_parts(*pair, first + number + 1)
        ]
        sources = self._encode_source(part.source.text for _, part in parts)
        targets = self.tokenizers.tgt.encode([part.target.text for _, part in parts])
        tokens = list(zip(sources, targets, strict=True))
        forced: dict[int, Hypothesis] = {}
        for batch in batch_by_size(tokens, self.settings.batch_size):
            forced |= zip(batch, self.engine.score([tokens[i] for i in batch]), strict=True)
            if self.progress is not None:
                self.progress(sum(i == 0 or parts[i - 1][0] != parts[i][0] for i in batch))
        by_pair: list[list[Hypothesis]] = [[] for _ in pairs]
        for i, (number, _) in enumerate(parts):
            by_pair[number].append(forced[i])
        return list(map(PairScore.from_parts, by_pair))

    def _pair_parts(self, source: str, target: str, number: int) -> list[PairSegment]:
        """Return the parts in which a pair is forced, and put it into the report.

        A part that lost its side of the translation says nothing and is left out.
        """
        parts = split_pair(source, target, self.splitter, self.tokenizers.count_pair_tokens)
        if len(parts) > 1 and not fits_single_pass(
            *self.tokenizers.count_pair_tokens(source, target)
        ):
            self.statistics.long_pairs.append(number)
        elif len(parts) > 1:
            self.statistics.multi_sentence_lines += 1
            self.statistics.sentences += len(parts)
        return [part for part in parts if part.target.text] or parts[:1]

    def _encode_source(self, lines: Iterable[str]) -> list[list[int]]:
        return self.tokenizers.src.encode(list(lines))


def _joined(by_part: list[list[Translation]], parts: list[Segment]) -> list[Translation]:
    """Return the n best of a line: the k-th of the k-th of each part, or of its last."""
    if len(by_part) == 1:
        return by_part[0]
    found = []
    for place in range(max(map(len, by_part))):
        its = [each[min(place, len(each) - 1)] for each in by_part]
        pieces = tuple(piece for each in its for piece in each.segments)
        sizes = [len(piece.hypothesis.tokens) + 1 for piece in pieces]
        score = sum(map(mul, sizes, (each.score for each in its))) / sum(sizes)
        found.append(
            Translation(join_translations([each.text for each in its], parts), score, pieces)
        )
    return found
