"""Translate sentences and explain the translations by forced decoding.

Shapes: T target pieces and S source pieces, both with the end of the sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, islice
from pathlib import Path

from nmt.config.loader import load_config
from nmt.core.run_dir import RunDir
from nmt.data.text.reader import read_lines, read_pairs, split_into_chunks
from nmt.data.tokenizer.tokenizer import Encoding, Tokenizers
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.lines.pair_splitting import (
    PairSegment,
    batch_by_size,
    fits_forward_pass,
    split_pair,
)
from nmt.decoding.lines.splitting import LineSplitter, Segment, join_translations
from nmt.decoding.loading import build_line_splitter, load_engine, require_tags
from nmt.decoding.search.trace import BeamStep, ForcedTrace
from nmt.decoding.translator import Translator
from nmt.errors import ConfigError, RunError
from nmt.evaluation.attention_checks import WordAttention
from nmt.interpret.explained_segments import ExplainedLine, ExplainedSegment, join_explanations
from nmt.interpret.explanation import END, Explanation, SentencePieces

WINDOW = 256
"""Number of lines that are sorted by length together, and segments held in memory."""
MAX_CHARACTERS = 4000
"""Maximum line length for `word_attention`; its cost is quadratic in the length."""
MBR_ERROR = "decode.method: mbr chooses among texts; explain with beam, or force a text"
"""Minimum Bayes risk compares texts of hypotheses, so no decoding step explains its choice."""


@dataclass(frozen=True)
class _EncodedSegment:
    """A segment with its translation, both encoded."""

    source: Encoding
    target: Encoding
    source_word: int
    """Index in the line of the first source word."""
    target_word: int
    """Index in the line of the first target word."""
    beam: Sequence[BeamStep] = ()


@dataclass(frozen=True)
class _SegmentedLine:
    """A line with its segments; none if one side is blank."""

    line: ExplainedLine
    segments: list[_EncodedSegment]


@dataclass(frozen=True)
class _SearchResult:
    """The best hypothesis of a search, with the candidates of its steps if recorded."""

    tokens: list[int]
    beam: Sequence[BeamStep] = ()


class Explainer:
    """Explains the translations of one model.

    Set `top` to the number of most probable pieces per step, and `record_beam` to record the
    candidates of the beam search. `layer` and `head` select the attention that is shown, counted
    from 0: by default the layer that aligns best, and the mean of its heads. `tokenizers` may add
    other source tags than the engine's.
    """

    def __init__(
        self,
        engine: TorchEngine,
        *,
        top: int = 0,
        record_beam: bool = False,
        layer: int | None = None,
        head: int | None = None,
        tokenizers: Tokenizers | None = None,
        splitter: LineSplitter | None = None,
    ) -> None:
        self.engine = engine
        self.splitter = splitter or LineSplitter()
        """Splits lines into the segments that are translated and explained."""
        self.truncated_lines: list[int] = []
        """Numbers, from 1, of lines of which only the leading segments are explained."""
        self.tokenizers = tokenizers or engine.tokenizers
        self.batch_size = engine.settings.batch_size
        self.top = top
        self.record_beam = record_beam
        self.layer, self.head = layer, head

    def explain_file(self, src: Path | None, tgt: Path | None) -> Iterator[Explanation | None]:
        """Yield the explanation of each line of `src`, or of stdin if it is None.

        Explains the translations in `tgt`, or translates the lines if it is None.
        """
        return self._join_lines(self.explain_file_segments(src, tgt))

    def explain_file_segments(
        self, src: Path | None, tgt: Path | None
    ) -> Iterator[ExplainedSegment]:
        """Yield the explanations of `explain_file` segment by segment, for lines of any length."""
        if tgt is None:
            return self._translate_and_explain(read_lines(src))
        return self.explain_pair_segments(read_pairs(src, tgt))

    def translate_and_explain(self, lines: Iterable[str]) -> Iterator[Explanation | None]:
        """Translate each line and yield the explanation; None for a blank line.

        Raises ConfigError if the model decodes by minimum Bayes risk.
        """
        return self._join_lines(self._translate_and_explain(lines))

    def explain_pairs(self, pairs: Iterable[tuple[str, str]]) -> Iterator[Explanation | None]:
        """Yield the explanation of each (source, translation); None if a side is blank."""
        return self._join_lines(self.explain_pair_segments(pairs))

    def _translate_and_explain(self, lines: Iterable[str]) -> Iterator[ExplainedSegment]:
        """Translate lines as `nmt translate` does, and yield the explanation of each segment.

        A blank line yields one segment with the explanation None. Raises ConfigError if the model
        decodes by minimum Bayes risk.
        """
        if self.engine.settings.method == "mbr":
            raise ConfigError([MBR_ERROR])
        source_tokenizer = self.tokenizers.src
        line_index = 0
        for window in split_into_chunks(lines, WINDOW):
            segments_of_line: list[list[Segment]] = []
            for line in window:
                is_blank = source_tokenizer.is_blank(line)
                segments_of_line.append([] if is_blank else self._split(line))
            encodings = [
                source_tokenizer.encode_with_words(segment.text)
                for segments in segments_of_line
                for segment in segments
            ]
            # Results of all segments of the window; each line takes those of its segments.
            results = iter(zip(encodings, self._search(encodings), strict=True))
            segmented_lines = []
            for line, segments in zip(window, segments_of_line, strict=True):
                line_results = list(islice(results, len(segments)))
                segmented_lines.append(
                    self._build_segmented_line(line_index, line, segments, line_results)
                )
                line_index += 1
            yield from self._explain(segmented_lines)

    def _split(self, line: str) -> list[Segment]:
        return self.splitter.split(line, self.tokenizers.count_source_tokens)

    def _build_segmented_line(
        self,
        line_index: int,
        source: str,
        segments: list[Segment],
        results: list[tuple[Encoding, _SearchResult]],
    ) -> _SegmentedLine:
        """Return a line with its segments and their translations.

        `results` has the encoded source and the best hypothesis of each segment.
        """
        targets = [self.tokenizers.tgt.decode_with_words(result.tokens) for _, result in results]
        texts = [target.text for target in targets]
        target_line = ""
        target_offsets = []
        for end, (segment, text) in enumerate(zip(segments, texts, strict=True), 1):
            target_line = join_translations(texts[:end], segments[:end])
            target_offsets.append(len(target_line) - len(segment.trailing_space) - len(text))
        token_count = self.tokenizers.count_source_tokens
        is_long = len(segments) > 1 and token_count(source) > self.splitter.max_tokens
        line = ExplainedLine(line_index, source, target_line, is_long)
        first_words = line.first_word_indices(_offsets(segments), target_offsets)
        return _SegmentedLine(
            line,
            [
                _EncodedSegment(encoding, target, *words, result.beam)
                for (encoding, result), target, words in zip(
                    results, targets, first_words, strict=True
                )
            ],
        )

    def explain_pair_segments(self, pairs: Iterable[tuple[str, str]]) -> Iterator[ExplainedSegment]:
        """Yield the explanations of given translations.

        A pair is split if it is long or has several sentences.
        """
        line_index = 0
        for window in split_into_chunks(pairs, WINDOW):
            segmented_lines = []
            for source, target in window:
                segmented_lines.append(self._split_pair(line_index, source, target))
                line_index += 1
            yield from self._explain(segmented_lines)

    def _split_pair(self, line_index: int, source: str, target: str) -> _SegmentedLine:
        """Return a pair with its segments; segments with a blank side are omitted."""
        src, tgt = self.tokenizers.src, self.tokenizers.tgt
        count_tokens = self.tokenizers.count_pair_tokens
        pairs: list[PairSegment] = []
        if not (src.is_blank(source) or tgt.is_blank(target)):
            pairs = split_pair(source, target, self.splitter, count_tokens)
        is_long = len(pairs) > 1 and not fits_forward_pass(*count_tokens(source, target))
        line = ExplainedLine(line_index, source, target, is_long)
        first_words = line.first_word_indices(
            _offsets([pair.source for pair in pairs]), _offsets([pair.target for pair in pairs])
        )
        segments = []
        for pair, words in zip(pairs, first_words, strict=True):
            if not (src.is_blank(pair.source.text) or tgt.is_blank(pair.target.text)):
                source_encoding = src.encode_with_words(pair.source.text)
                target_encoding = tgt.encode_with_words(pair.target.text)
                segments.append(_EncodedSegment(source_encoding, target_encoding, *words))
        return _SegmentedLine(line, segments)

    def _join_lines(self, segments: Iterable[ExplainedSegment]) -> Iterator[Explanation | None]:
        """Yield one explanation for each line; for a long line, of its leading segments."""
        for line_index, group in groupby(segments, key=lambda segment: segment.line.index):
            leading: list[ExplainedSegment] = []
            source_length = target_length = 1
            is_complete = True
            for segment in group:
                if segment.explanation is None:
                    continue
                source_length += len(segment.explanation.source.pieces)
                target_length += len(segment.explanation.target.pieces)
                fits = not leading or fits_forward_pass(source_length, target_length)
                is_complete = is_complete and fits
                if is_complete:
                    leading.append(segment)
            if not is_complete:
                self.truncated_lines.append(line_index + 1)
            yield join_explanations(leading, is_complete) if leading else None

    def _search(self, sources: list[Encoding]) -> list[_SearchResult]:
        """Return the best hypothesis of each source."""
        if self.record_beam:
            traced = [self.engine.trace_beam(source.tokens) for source in sources]
            return [_SearchResult(best.tokens, beam) for best, beam in traced]
        hypotheses = self.engine.search([source.tokens for source in sources])
        return [_SearchResult(best.tokens) for (best,) in hypotheses]

    def _explain(self, lines: Sequence[_SegmentedLine]) -> Iterator[ExplainedSegment]:
        """Yield the explanation of each segment; None for a line without segments.

        At most WINDOW segments are held in memory.
        """
        segments: list[tuple[ExplainedLine, _EncodedSegment | None]] = []
        for segmented in lines:
            segments += [(segmented.line, segment) for segment in segmented.segments]
            if not segmented.segments:
                segments.append((segmented.line, None))
        for window in split_into_chunks(segments, WINDOW):
            traces = iter(self._trace([segment for _, segment in window if segment is not None]))
            for line, segment in window:
                if segment is None:
                    yield ExplainedSegment(line, None)
                else:
                    explanation = self._explanation(segment, next(traces))
                    yield ExplainedSegment(
                        line, explanation, segment.source_word, segment.target_word
                    )

    def _trace(self, segments: Sequence[_EncodedSegment]) -> list[ForcedTrace]:
        """Return the trace of forced decoding of each segment."""
        pairs = [(segment.source.tokens, segment.target.tokens) for segment in segments]
        traces: dict[int, ForcedTrace] = {}
        for batch in batch_by_size(pairs, self.batch_size):
            batch_traces = self.engine.forced_decoder.trace([pairs[i] for i in batch], self.top)
            traces |= zip(batch, batch_traces, strict=True)
        return [traces[i] for i in range(len(pairs))]

    def _explanation(self, segment: _EncodedSegment, trace: ForcedTrace) -> Explanation:
        return Explanation(
            source=SentencePieces.of(segment.source),
            target=SentencePieces.of(segment.target),
            trace=trace,
            top=[
                [(self._piece(token), probability) for token, probability in step]
                for step in trace.top
            ],
            beam=[
                [
                    ([self._piece(token) for token in c.tokens], c.log_prob, c.is_kept)
                    for c in candidates
                ]
                for candidates in segment.beam
            ],
            layer=trace.layer if self.layer is None else self.layer,
            head=self.head,
        )

    def _piece(self, token: int) -> str:
        tokenizer = self.tokenizers.tgt
        return END if token == tokenizer.eos else tokenizer.pieces([token])[0]


def _offsets(segments: Sequence[Segment]) -> list[int]:
    """Return the character offset of each segment in the text of all segments."""
    lengths = (len(segment.text) + len(segment.trailing_space) for segment in segments)
    return list(accumulate(lengths, initial=0))[: len(segments)]


def load_explainer(
    run: RunDir,
    overrides: list[str],
    device: str,
    *,
    layer: int | None = None,
    head: int | None = None,
    top: int = 0,
    record_beam: bool = False,
) -> Explainer:
    """Return an explainer of the model of a run; `layer` and `head` are counted from 1.

    `top` and `record_beam` are those of `Explainer`. Raises RunError if the model has no attention,
    and ConfigError if it has fewer layers or heads, or needs a source tag that `decode.tags` lacks.
    """
    config = load_config(run.config, overrides)
    model = config.model
    if not model.has_attention:
        raise RunError(f"{run.path}: has no attention to show (model.attention: none)")
    problems = []
    for name, number, count in (
        ("layer", layer, model.num_attention_layers),
        ("head", head, model.num_heads),
    ):
        if number is not None and not 1 <= number <= count:
            problems.append(
                f"--{name}: expected 1 to {count}, the number of {name}s of {run.path}, "
                f"got {number}"
            )
    if problems:
        raise ConfigError(problems)
    require_tags(config)
    return Explainer(
        load_engine(run, config, device),
        top=top,
        record_beam=record_beam,
        layer=None if layer is None else layer - 1,
        head=None if head is None else head - 1,
        splitter=build_line_splitter([config]),
    )


def word_attention(
    translator: Translator, pairs: Iterable[tuple[str, str]]
) -> Iterator[WordAttention | None]:
    """Yield the attention over words of the model forced to produce each translation.

    A pair with a blank side, or with a side of more than MAX_CHARACTERS, yields None.
    """
    assert isinstance(translator.engine, TorchEngine), "only nmt's engine computes attention"
    pairs = (pair if max(map(len, pair)) <= MAX_CHARACTERS else ("", "") for pair in pairs)
    explainer = Explainer(
        translator.engine, tokenizers=translator.tokenizers, splitter=translator.splitter
    )
    for explanation in explainer.explain_pairs(pairs):
        if explanation is None:
            yield None
        else:
            yield WordAttention(
                explanation.source.words, explanation.target.words, explanation.by_words
            )
