"""`nmt align`: hard word alignments, their symmetrisation, their error rate, diagnostics."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import groupby, repeat, tee
from operator import attrgetter
from pathlib import Path

from nmt.core import files
from nmt.core.logging import say, show_progress
from nmt.core.outputs import check_outputs
from nmt.core.run_dir import open_model
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
    SYMMETRISE,
    AlignmentScores,
    hard_alignment,
    score_alignments,
)
from nmt.interpret.explainer import Explainer, load_explainer
from nmt.interpret.explanation import END, ExplainedLine, ExplainedPart, Explanation


def run(
    src: Path | None,
    tgt: Path | None,
    model: Path | None,
    reverse: Path | None,
    symmetrise: str | None,
    gold: Path | None,
    diagnostics: Path | None,
    layer: int | None,
    head: int | None,
    output: Path | None,
    overrides: list[str],
    device: str,
    progress: bool = False,
) -> None:
    """Align (src, tgt) by forced decoding, src with its translations without `tgt`.

    Where `src` is None, its lines come from stdin.
    """
    if gold is not None and tgt is None:
        raise DataError("--gold: needs --tgt, the translations that it aligns")
    for flag, written in (("-o", output), ("--diagnostics", diagnostics)):
        check_outputs({flag: written}, [src, tgt, gold])
    if output is not None and diagnostics is not None and output.resolve() == diagnostics.resolve():
        raise DataError(f"-o and --diagnostics: expected two files, got {output} for both")
    if symmetrise is not None and reverse is None:
        raise DataError("--symmetrise: needs --reverse, a model of the other direction")
    if symmetrise is not None and symmetrise not in SYMMETRISE:
        raise DataError(
            f"--symmetrise: expected one of {', '.join(SYMMETRISE)}, "
            f"got '{symmetrise}'{did_you_mean(symmetrise, SYMMETRISE)}"
        )
    golds = None if gold is None else read_gold(gold)
    explainer = load_explainer(choose_run(model), overrides, device, layer, head)
    backward = (
        None
        if reverse is None
        else load_explainer(open_model(reverse), overrides, device, layer, head)
    )
    with ExitStack() as stack:
        sink = report = None
        if output is not None:
            sink = stack.enter_context(files.open_atomic(output))
        elif golds is None:
            sink = sys.stdout.buffer
        if diagnostics is not None:
            report = stack.enter_context(files.open_atomic(diagnostics))
            report.write(b"line\tentropy\tdropped\trepeated\n")
        advance: Callable[[int], object] = bool
        if progress or sink is None or output or not sys.stdout.isatty():
            total = count_lines(src or tgt)
            advance = stack.enter_context(
                show_progress("aligning", total, always=progress, unit="pairs")
            )
        found: list[Links] = []
        long_lines: list[int] = []
        parts = explainer.text_parts(src, tgt)
        aligned = align(parts, backward, SYMMETRISE[symmetrise or "grow-diag-final-and"])
        for number, group in enumerate(groupby(aligned, lambda part: part.line.number), 1):
            advance(1)
            parts_of_line = list(group[1])
            line = parts_of_line[0].line
            links = set[tuple[int, int]]().union(*(part.links for part in parts_of_line))
            if line.is_long:
                long_lines.append(number)
            text = format_pharaoh(links)
            if tgt is None:
                text += f"\t{line.target}"
            if sink is not None:
                sink.write(f"{text}\n".encode())
            if report is not None:
                report.write(diagnosis(number, parts_of_line).encode())
            if golds is not None:
                found.append(links)
                if parts_of_line[0].diagnosis is not None and number <= len(golds):
                    check_gold(golds[number - 1], line, f"{gold}:{number}")
        if long_lines:
            say(f"warning: long lines were aligned in parts: {format_line_numbers(long_lines)}")
        if golds is not None:
            if len(golds) != len(found):
                raise DataError(
                    f"{gold}: expected a line for each of {len(found)} pairs, got {len(golds)}"
                )
            print(table(score_alignments(found, golds)))


@dataclass(frozen=True)
class AlignedPart:
    """A part of a line, with links between words of the line."""

    line: ExplainedLine
    links: Links
    target_words: int
    diagnosis: AttentionDiagnosis | None
    """Of words of the line; None for a line with a blank side."""


def align(
    parts: Iterable[ExplainedPart],
    backward: Explainer | None,
    symmetrise: Callable[[Links, Links], Links],
) -> Iterator[AlignedPart]:
    """Yield each part with its links, symmetrised with `backward`, the other direction's model."""
    one, other = tee(parts)
    turned: Iterable[Explanation | None] = repeat(None)
    if backward is not None:
        explanations = (part.explanation for part in other)
        turned = backward.forced(
            (e.target.text, e.source.text) if e else ("", "") for e in explanations
        )
    for part, back in zip(one, turned, strict=False):
        explanation = part.explanation
        if explanation is None:
            yield AlignedPart(part.line, set(), 0, None)
            continue
        links: Links = set()
        if backward is None or back is not None:
            links = hard_alignment(explanation.by_words)
        if back is not None:
            links = symmetrise(links, {(s, t) for t, s in hard_alignment(back.by_words)})
        found, first = diagnose_attention(explanation.by_words), part.source_word
        yield AlignedPart(
            part.line,
            {(s + first, t + part.target_word) for s, t in links},
            explanation.target.count,
            replace(
                found,
                dropped=[first + word for word in found.dropped],
                repeated=[first + word for word in found.repeated],
            ),
        )


def diagnosis(number: int, parts: Sequence[AlignedPart]) -> str:
    """Write the diagnosis of a line as tab-separated values, words as INDEX:WORD."""
    found = [(part.diagnosis, part.target_words) for part in parts if part.diagnosis is not None]
    if not found:
        return f"{number}\t\t\t\n"
    words = [*WORD.findall(parts[0].line.source), END]
    total = sum(count for _, count in found)
    entropy = sum(its.entropy * count for its, count in found) / max(total, 1)
    lists = [
        " ".join(f"{i}:{words[i]}" for its, _ in found for i in indices(its))
        for indices in (attrgetter("dropped"), attrgetter("repeated"))
    ]
    return "\t".join([str(number), f"{entropy:.4f}", *lists]) + "\n"


def read_gold(file: Path) -> list[GoldAlignment]:
    """Read a file of gold alignments."""
    lines = enumerate(read_lines(file), 1)
    return [parse_alignment(line, f"{file}:{number}") for number, line in lines]


def check_gold(gold: GoldAlignment, line: ExplainedLine, place: str) -> None:
    """Refuse gold links to words that are not there, such as those of a file that counts from 1."""
    source, target = (len(WORD.findall(text)) for text in (line.source, line.target))
    check_link_range(gold.possible, source, target, place)


def table(scores: AlignmentScores) -> str:
    """Lay the scores out for a terminal."""
    return (
        f"precision  recall    AER  lines\n{scores.precision:9.4f}  {scores.recall:.4f} "
        f"{scores.aer:.4f} {scores.lines:6d}"
    )
