"""From sentences to explanations: the translation, and what the model looked at while making it.

Shapes: T target pieces with eos, S source pieces with eos; words likewise, eos a word of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, islice
from pathlib import Path

from nmt.config.loader import load_config
from nmt.core.run_dir import RunDir
from nmt.data.text.reader import chunks, read_lines, read_pairs
from nmt.data.tokenizer.tokenizer import Encoding, Tokenizers
from nmt.decoding.beam_search import TorchEngine
from nmt.decoding.hypothesis import Hypothesis
from nmt.decoding.lines.pair_splitting import (
    PairSegment,
    batch_by_size,
    fits_single_pass,
    split_pair,
)
from nmt.decoding.lines.splitting import LineSplitter, Segment, join_translations
from nmt.decoding.loading import build_line_splitter, load_engine, require_tags
from nmt.decoding.trace import BeamStep, ForcedTrace
from nmt.decoding.translator import Translator
from nmt.errors import ConfigError, RunError
from nmt.evaluation.attention_checks import WordAttention
from nmt.interpret.explanation import (
    END,
    ExplainedLine,
    ExplainedPart,
    Explanation,
    Side,
    joined_explanation,
)

WINDOW = 256
"""Lines sorted by length together."""


NOTHING = Encoding("", [], [], [], [])


@dataclass(frozen=True)
class _Job:
    """A part of a line that is to be explained; without tokens, a line with a blank side."""

    line: ExplainedLine
    source: Encoding = NOTHING
    target: Encoding = NOTHING
    source_word: int = 0
    target_word: int = 0
    beam: Sequence[BeamStep] = ()

    @property
    def is_text(self) -> bool:
        """Whether there is something to explain."""
        return self.source is not NOTHING


def _begins(parts: Sequence[Segment]) -> list[int]:
    """Return the index at which each part begins in the text that they make up."""
    lengths = (len(part.text) + len(part.trailing_space) for part in parts)
    return list(accumulate(lengths, initial=0))[: len(parts)]


MBR = "decode.method: mbr chooses among texts; explain with beam, or force a text"


class Explainer:
    """Explains lines with one model.

    `top` is the number of next pieces to name at each step; with `watch` the beam is watched too.
    `layer` and `head`, counted from 0, are what is shown; None for the model's own choice of layer
    and for the mean of its heads. `tokenizers` may put other tags before sources than the engine's.
    """

    def __init__(
        self,
        engine: TorchEngine,
        top: int = 0,
        watch: bool = False,
        layer: int | None = None,
        head: int | None = None,
        tokenizers: Tokenizers | None = None,
        splitter: LineSplitter | None = None,
    ) -> None:
        self.engine = engine
        self.splitter = splitter or LineSplitter()
        """Decides in which parts lines are translated, and explained."""
        self.shortened: list[int] = []
        """Numbers of the lines, from 1, of which only the leading parts are explained."""
        self.tokenizers = tokenizers or engine.tokenizers
        self.batch_size = engine.settings.batch_size
        self.top = top
        self.watch = watch
        self.layer, self.head = layer, head

    def texts(self, src: Path | None, tgt: Path | None) -> Iterator[Explanation | None]:
        """Explain the lines of a file, None for stdin: as `tgt` translates them, else as we do."""
        return self._joined(self.text_parts(src, tgt))

    def text_parts(self, src: Path | None, tgt: Path | None) -> Iterator[ExplainedPart]:
        """Explain the same lines part by part, so that a line may be of any length."""
        if tgt is None:
            return self.translated_parts(read_lines(src))
        return self.forced_parts(read_pairs(src, tgt))

    def translations(self, lines: Iterable[str]) -> Iterator[Explanation | None]:
        """Translate each line and explain the translation; None for a blank line.

        Raises ConfigError where translations are chosen by minimum Bayes risk.
        """
        return self._joined(self.translated_parts(lines))

    def forced(self, pairs: Iterable[tuple[str, str]]) -> Iterator[Explanation | None]:
        """Explain given translations; None where a side is blank."""
        return self._joined(self.forced_parts(pairs))

    def translated_parts(self, lines: Iterable[str]) -> Iterator[ExplainedPart]:
        """Translate each line as `nmt translate` does; explain the translation of each part."""
        if self.engine.settings.method == "mbr":
            raise ConfigError([MBR])
        src, tgt = self.tokenizers.src, self.tokenizers.tgt
        count = self.tokenizers.count_source_tokens
        first = 0
        for window in chunks(lines, WINDOW):
            divided = [
                [] if src.is_blank(line) else self.splitter.split(line, count) for line in window
            ]
            cuts = [src.encode_with_words(part.text) for parts in divided for part in parts]
            found = iter(zip(cuts, self._search(cuts), strict=True))
            jobs: list[_Job] = []
            for number, (line, parts) in enumerate(zip(window, divided, strict=True), first):
                its = list(islice(found, len(parts)))
                targets = [tgt.decode_with_words(best.tokens) for _, (best, _) in its]
                texts = [cut.text for cut in targets]
                lines_so_far = [
                    join_translations(texts[:end], parts[:end]) for end in range(1, len(parts) + 1)
                ]
                begins = [
                    len(so_far) - len(part.trailing_space) - len(text)
                    for so_far, part, text in zip(lines_so_far, parts, texts, strict=True)
                ]
                is_long = len(parts) > 1 and count(line) > self.splitter.max_tokens
                sides = ExplainedLine(number, line, lines_so_far[-1] if parts else "", is_long)
                jobs += [
                    _Job(sides, source, target, *words, beam)
                    for (source, (_, beam)), target, words in zip(
                        its, targets, sides.first_words(_begins(parts), begins), strict=True
                    )
                ] or [_Job(sides)]
            first += len(window)
            yield from self._explain(jobs)

    def forced_parts(self, pairs: Iterable[tuple[str, str]]) -> Iterator[ExplainedPart]:
        """Explain given translations, in parts if a pair is long or has several sentences."""
        src, tgt = self.tokenizers.src, self.tokenizers.tgt
        first = 0
        for window in chunks(pairs, WINDOW):
            jobs: list[_Job] = []
            for number, (source, target) in enumerate(window, first):
                parts: list[PairSegment] = []
                if not (src.is_blank(source) or tgt.is_blank(target)):
                    parts = split_pair(
                        source, target, self.splitter, self.tokenizers.count_pair_tokens
                    )
                is_long = len(parts) > 1 and not fits_single_pass(
                    *self.tokenizers.count_pair_tokens(source, target)
                )
                sides = ExplainedLine(number, source, target, is_long)
                words = sides.first_words(
                    _begins([part.source for part in parts]),
                    _begins([part.target for part in parts]),
                )
                jobs += [
                    _Job(
                        sides,
                        src.encode_with_words(part.source.text),
                        tgt.encode_with_words(part.target.text),
                        *first_words,
                    )
                    for part, first_words in zip(parts, words, strict=True)
                    if not (src.is_blank(part.source.text) or tgt.is_blank(part.target.text))
                ] or [_Job(sides)]
            first += len(window)
            yield from self._explain(jobs)

    def _joined(self, parts: Iterable[ExplainedPart]) -> Iterator[Explanation | None]:
        """Yield one explanation for each line; of a long line, its leading parts."""
        for number, group in groupby(parts, key=lambda part: part.line.number):
            leading: list[ExplainedPart] = []
            size = [1, 1]
            complete = True
            for part in group:
                if part.explanation is None:
                    continue
                size[0] += len(part.explanation.source.pieces)
                size[1] += len(part.explanation.target.pieces)
                complete = complete and (not leading or fits_single_pass(*size))
                if complete:
                    leading.append(part)
            if not complete:
                self.shortened.append(number + 1)
            yield joined_explanation(leading, complete) if leading else None

    def _search(self, sources: list[Encoding]) -> list[tuple[Hypothesis, list[BeamStep]]]:
        if self.watch:
            return [self.engine.trace_beam(source.tokens) for source in sources]
        found = self.engine.search([source.tokens for source in sources])
        return [(best, []) for (best,) in found]

    def _explain(self, jobs: Sequence[_Job]) -> Iterator[ExplainedPart]:
        """Force the parts, WINDOW at a time, which bounds the memory."""
        for window in chunks(jobs, WINDOW):
            pairs = [(job.source.tokens, job.target.tokens) for job in window if job.is_text]
            walks: dict[int, ForcedTrace] = {}
            for batch in batch_by_size(pairs, self.batch_size):
                found = self.engine.walk([pairs[i] for i in batch], self.top)
                walks |= zip(batch, found, strict=True)
            in_order = (walks[i] for i in range(len(pairs)))
            for job in window:
                explanation = self._explanation(job, next(in_order)) if job.is_text else None
                yield ExplainedPart(job.line, explanation, job.source_word, job.target_word)

    def _explanation(self, job: _Job, walk: ForcedTrace) -> Explanation:
        return Explanation(
            source=Side.of(job.source),
            target=Side.of(job.target),
            walk=walk,
            top=[[(self._name(t), p) for t, p in step] for step in walk.top],
            beam=[
                [([self._name(t) for t in c.tokens], c.log_prob, c.kept) for c in step]
                for step in job.beam
            ],
            layer=walk.layer if self.layer is None else self.layer,
            head=self.head,
        )

    def _name(self, token: int) -> str:
        tgt = self.tokenizers.tgt
        return END if token == tgt.eos else tgt.pieces([token])[0]


def load_explainer(
    run: RunDir,
    overrides: list[str],
    device: str,
    layer: int | None = None,
    head: int | None = None,
    top: int = 0,
    watch: bool = False,
) -> Explainer:
    """Load the model of a run; `layer` and `head` are counted from 1 here, as people do.

    Raises RunError where it has no attention, ConfigError where it has not so many layers or heads.
    """
    config = load_config(run.config, overrides)
    model = config.model
    if not model.has_attention:
        raise RunError(f"{run.path}: has no attention to show (model.wiring: none)")
    wrong = [
        f"--{name}: expected 1 to {count}, the number of {name}s of {run.path}, got {given}"
        for name, given, count in (
            ("layer", layer, model.num_attention_layers),
            ("head", head, model.num_heads),
        )
        if given is not None and not 1 <= given <= count
    ]
    if wrong:
        raise ConfigError(wrong)
    require_tags(config)
    engine = load_engine(run, config, device)
    layer, head = (None if number is None else number - 1 for number in (layer, head))
    return Explainer(engine, top, watch, layer, head, splitter=build_line_splitter([config]))


MAX_CHARACTERS = 4000
"""Longest line whose attention `word_attention` computes; its cost grows with the square."""


def word_attention(
    translator: Translator, pairs: Iterable[tuple[str, str]]
) -> Iterator[WordAttention | None]:
    """Yield the attention over words of the model forced to produce each translation.

    A pair with a blank side, or with a side of more than MAX_CHARACTERS, yields None.
    """
    assert isinstance(translator.engine, TorchEngine), "an engine that computes attention"
    pairs = (pair if max(map(len, pair)) <= MAX_CHARACTERS else ("", "") for pair in pairs)
    explainer = Explainer(
        translator.engine, tokenizers=translator.tokenizers, splitter=translator.splitter
    )
    for explanation in explainer.forced(pairs):
        if explanation is None:
            yield None
        else:
            yield WordAttention(
                explanation.source.words, explanation.target.words, explanation.by_words
            )
