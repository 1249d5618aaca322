"""`nmt align`: align words by attention; score alignments and diagnose translations."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import groupby, repeat, tee
from pathlib import Path
from typing import BinaryIO

from nmt.core import files
from nmt.core.console import show_progress
from nmt.core.outputs import check_outputs
from nmt.core.run_dir import RunDir, open_model
from nmt.data.corpus.word_alignment import (
    GoldAlignment,
    check_link_range,
    format_pharaoh,
    parse_alignment,
)
from nmt.data.text.reader import Links, count_lines, read_lines
from nmt.data.tokenizer.tokenizer import WORD
from nmt.decoding.lines.statistics import format_line_numbers
from nmt.decoding.loading import choose_run
from nmt.errors import DataError, did_you_mean
from nmt.evaluation.attention_checks import AttentionDiagnosis, diagnose_attention
from nmt.interpret.alignment import (
    SYMMETRIZATIONS,
    AlignmentScores,
    Symmetrize,
    hard_alignment,
    score_alignments,
)
from nmt.interpret.explained_segments import ExplainedLine, ExplainedSegment
from nmt.interpret.explainer import Explainer, load_explainer
from nmt.interpret.explanation import Explanation

logger = logging.getLogger(__name__)

DEFAULT_SYMMETRIZATION = "grow-diag-final-and"


@dataclass(frozen=True)
class AlignOptions:
    """Options of `nmt align`."""

    src: Path | None
    """Source text; None for stdin."""
    tgt: Path | None
    """Translations; None to translate the source."""
    model: Path | None
    reverse: Path | None
    """Run folder of a model of the reverse direction."""
    symmetrise: str | None
    gold: Path | None
    """File of gold alignments to score against."""
    diagnostics: Path | None
    """File to write diagnostics to."""
    layer: int | None
    """Decoder layer, counted from 1."""
    head: int | None
    """Attention head, counted from 1."""
    output: Path | None
    """File to write links to; None for stdout, or nothing with `gold`."""
    overrides: list[str]
    device: str
    progress: bool


def run(options: AlignOptions) -> None:
    """Write the links of each line, or their scores against gold alignments."""
    _check_options(options)
    gold = None if options.gold is None else _read_gold(options.gold)
    explainer = _load_explainer(choose_run(options.model), options)
    reverse = None
    if options.reverse is not None:
        reverse = _load_explainer(open_model(options.reverse), options)
    symmetrize = SYMMETRIZATIONS[options.symmetrise or DEFAULT_SYMMETRIZATION]
    segments = explainer.explain_file_segments(options.src, options.tgt)
    lines = _merge_lines(align_segments(segments, reverse, symmetrize))

    alignments: list[Links] = []
    long_lines: list[int] = []
    with ExitStack() as stack:
        links_file = _open_links_file(options, stack)
        diagnostics_file = None
        if options.diagnostics is not None:
            diagnostics_file = stack.enter_context(files.open_atomic(options.diagnostics))
            diagnostics_file.write(b"line\tentropy\tdropped\trepeated\n")
        advance = _start_progress(options, links_file, stack)
        for number, aligned in enumerate(lines, 1):
            advance(1)
            if aligned.line.is_long:
                long_lines.append(number)
            if links_file is not None:
                links_file.write(_format_links(aligned, with_target=options.tgt is None).encode())
            if diagnostics_file is not None:
                diagnostics_file.write(_format_diagnosis(number, aligned).encode())
            if gold is not None:
                alignments.append(aligned.links)
                if aligned.has_text and number <= len(gold):
                    _check_gold(gold[number - 1], aligned.line, f"{options.gold}:{number}")
        if long_lines:
            numbers = format_line_numbers(long_lines)
            logger.warning(f"long lines were aligned in parts: {numbers}")
        if gold is not None:
            if len(gold) != len(alignments):
                raise DataError(
                    f"{options.gold}: expected a line for each of {len(alignments)} pairs, "
                    f"got {len(gold)}"
                )
            print(_format_scores(score_alignments(alignments, gold)))


def _load_explainer(run_dir: RunDir, options: AlignOptions) -> Explainer:
    """Load the explainer of a run, for the layer and head of the options."""
    return load_explainer(
        run_dir, options.overrides, options.device, layer=options.layer, head=options.head
    )


def _check_options(options: AlignOptions) -> None:
    """Raise DataError if options conflict or a file cannot be written."""
    if options.gold is not None and options.tgt is None:
        raise DataError("--gold: expected --tgt, the translations that it aligns, got none")
    inputs = [options.src, options.tgt, options.gold]
    check_outputs({"-o": options.output}, inputs)
    check_outputs({"--diagnostics": options.diagnostics}, inputs)
    if (
        options.output is not None
        and options.diagnostics is not None
        and options.output.resolve() == options.diagnostics.resolve()
    ):
        raise DataError(f"-o and --diagnostics: expected two files, got {options.output} for both")
    if options.symmetrise is None:
        return
    if options.reverse is None:
        raise DataError("--symmetrise: expected --reverse, a model of the reverse direction")
    if options.symmetrise not in SYMMETRIZATIONS:
        raise DataError(
            f"--symmetrise: expected one of {', '.join(SYMMETRIZATIONS)}, "
            f"got '{options.symmetrise}'{did_you_mean(options.symmetrise, SYMMETRIZATIONS)}"
        )


def _open_links_file(options: AlignOptions, stack: ExitStack) -> BinaryIO | None:
    """Return the file that receives the links, or None if only their scores are printed."""
    if options.output is not None:
        return stack.enter_context(files.open_atomic(options.output))
    return sys.stdout.buffer if options.gold is None else None


def _start_progress(
    options: AlignOptions, links_file: BinaryIO | None, stack: ExitStack
) -> Callable[[int], object]:
    """Show progress unless the links are printed on a terminal; return its `advance`."""
    prints_to_terminal = links_file is not None and options.output is None and sys.stdout.isatty()
    if prints_to_terminal and not options.progress:
        return bool
    total = count_lines(options.src or options.tgt)
    return stack.enter_context(
        show_progress("aligning", total, always=options.progress, unit="pairs")
    )


@dataclass(frozen=True)
class AlignedSegment:
    """A segment of a line with its links; word indices are those of the line."""

    line: ExplainedLine
    links: Links
    target_word_count: int
    diagnosis: AttentionDiagnosis | None
    """None for a line with a blank side."""


@dataclass(frozen=True)
class AlignedLine:
    """A line with the links and the diagnoses of its segments."""

    line: ExplainedLine
    segments: Sequence[AlignedSegment]

    @property
    def links(self) -> Links:
        """Links of all segments."""
        return set[tuple[int, int]]().union(*(segment.links for segment in self.segments))

    @property
    def has_text(self) -> bool:
        """Whether neither side is blank."""
        return self.segments[0].diagnosis is not None


def align_segments(
    segments: Iterable[ExplainedSegment], reverse: Explainer | None, symmetrize: Symmetrize
) -> Iterator[AlignedSegment]:
    """Yield each segment with its links.

    With `reverse`, a model of the reverse direction, the links of both models are symmetrized.
    """
    segments, segments_to_reverse = tee(segments)
    reverse_explanations: Iterable[Explanation | None] = repeat(None)
    if reverse is not None:
        explanations = (segment.explanation for segment in segments_to_reverse)
        reverse_explanations = reverse.explain_pairs(
            (e.target.text, e.source.text) if e else ("", "") for e in explanations
        )
    for segment, reverse_explanation in zip(segments, reverse_explanations, strict=False):
        explanation = segment.explanation
        if explanation is None:
            yield AlignedSegment(segment.line, set(), 0, None)
            continue
        links: Links = set()
        if reverse is None:
            links = hard_alignment(explanation.by_words)
        elif reverse_explanation is not None:
            reverse_links = hard_alignment(reverse_explanation.by_words)
            links = symmetrize(
                hard_alignment(explanation.by_words), {(s, t) for t, s in reverse_links}
            )
        first_source, first_target = segment.source_word, segment.target_word
        diagnosis = diagnose_attention(explanation.by_words)
        yield AlignedSegment(
            segment.line,
            {(s + first_source, t + first_target) for s, t in links},
            explanation.target.word_count,
            replace(
                diagnosis,
                dropped=[first_source + word for word in diagnosis.dropped],
                repeated=[first_source + word for word in diagnosis.repeated],
            ),
        )


def _merge_lines(segments: Iterable[AlignedSegment]) -> Iterator[AlignedLine]:
    """Yield lines with their segments, which are consecutive in `segments`."""
    for _, group in groupby(segments, lambda segment: segment.line.index):
        segments_of_line = list(group)
        yield AlignedLine(segments_of_line[0].line, segments_of_line)


def _format_links(aligned: AlignedLine, with_target: bool) -> str:
    """Return the links of a line in Pharaoh's format; `with_target` appends the translation."""
    links = format_pharaoh(aligned.links)
    return f"{links}\t{aligned.line.target}\n" if with_target else f"{links}\n"


def _format_diagnosis(number: int, aligned: AlignedLine) -> str:
    """Return a line of the file of diagnostics: four columns divided by tabs.

    The columns are the line number, the mean entropy of attention per target word in nats, and the
    dropped and repeated source words (`AttentionDiagnosis`). Words are written as INDEX:WORD; the
    index counts from 0 in the complete line. A line with a blank side has no values.
    """
    if not aligned.has_text:
        return f"{number}\t\t\t\n"
    words = WORD.findall(aligned.line.source)
    target_words, entropy_sum = 0, 0.0
    dropped, repeated = [], []
    for segment in aligned.segments:
        if segment.diagnosis is not None:
            target_words += segment.target_word_count
            entropy_sum += segment.diagnosis.entropy * segment.target_word_count
            dropped += segment.diagnosis.dropped
            repeated += segment.diagnosis.repeated
    columns = [
        str(number),
        f"{entropy_sum / max(target_words, 1):.4f}",
        " ".join(f"{i}:{words[i]}" for i in dropped),
        " ".join(f"{i}:{words[i]}" for i in repeated),
    ]
    return "\t".join(columns) + "\n"


def _read_gold(file: Path) -> list[GoldAlignment]:
    """Read a file of gold alignments."""
    lines = enumerate(read_lines(file), 1)
    return [parse_alignment(line, f"{file}:{number}") for number, line in lines]


def _check_gold(gold: GoldAlignment, line: ExplainedLine, location: str) -> None:
    """Raise DataError if gold links are out of range, as in a file that counts words from 1."""
    source_words, target_words = len(WORD.findall(line.source)), len(WORD.findall(line.target))
    check_link_range(gold.possible, source_words, target_words, location)


def _format_scores(scores: AlignmentScores) -> str:
    """Return the scores as a table for a terminal."""
    return (
        f"precision  recall    AER  lines\n{scores.precision:9.4f}  {scores.recall:.4f} "
        f"{scores.aer:.4f} {scores.lines:6d}"
    )
