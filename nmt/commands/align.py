"""`nmt align`: hard word alignments, their symmetrisation, their error rate, diagnostics."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import tee
from pathlib import Path

from nmt import files
from nmt.data.links import Gold, parse_links, pharaoh, require_words
from nmt.data.text import Links, count_lines, read_lines
from nmt.decoding.load import choose_run
from nmt.errors import DataError, did_you_mean
from nmt.explain.align import (
    SYMMETRISE,
    AlignmentScores,
    diagnose,
    hard_alignment,
    score_alignments,
)
from nmt.explain.look import Explainer, Explanation, load_explainer
from nmt.log import show_progress
from nmt.outputs import check_outputs
from nmt.rundir import open_model


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
        explanations = explainer.texts(src, tgt)
        for number, (explanation, links) in enumerate(
            align(explanations, backward, SYMMETRISE[symmetrise or "grow-diag-final-and"]), 1
        ):
            advance(1)
            text = pharaoh(links)
            if tgt is None:
                text += f"\t{explanation.target.text if explanation else ''}"
            if sink is not None:
                sink.write(f"{text}\n".encode())
            if report is not None:
                report.write(diagnosis(number, explanation).encode())
            if golds is not None:
                found.append(links)
                if explanation is not None and number <= len(golds):
                    check_gold(golds[number - 1], explanation, f"{gold}:{number}")
        if golds is not None:
            if len(golds) != len(found):
                raise DataError(
                    f"{gold}: expected a line for each of {len(found)} pairs, got {len(golds)}"
                )
            print(table(score_alignments(found, golds)))


def align(
    explanations: Iterable[Explanation | None],
    backward: Explainer | None,
    symmetrise: Callable[[Links, Links], Links],
) -> Iterator[tuple[Explanation | None, Links]]:
    """Yield each explanation with its links, symmetrised where there is a model backward."""
    if backward is None:
        for explanation in explanations:
            yield explanation, hard_alignment(explanation.by_words) if explanation else set()
        return
    one, other = tee(explanations)
    turned = backward.forced((e.target.text, e.source.text) if e else ("", "") for e in other)
    for explanation, back in zip(one, turned, strict=True):
        if explanation is None or back is None:
            yield explanation, set()
            continue
        links = hard_alignment(explanation.by_words)
        yield explanation, symmetrise(links, {(s, t) for t, s in hard_alignment(back.by_words)})


def diagnosis(number: int, explanation: Explanation | None) -> str:
    """Write the diagnosis of a line as tab-separated values, words as INDEX:WORD."""
    if explanation is None:
        return f"{number}\t\t\t\n"
    found, words = diagnose(explanation.by_words), explanation.source.words
    lists = (" ".join(f"{i}:{words[i]}" for i in part) for part in (found.dropped, found.repeated))
    return "\t".join([str(number), f"{found.entropy:.4f}", *lists]) + "\n"


def read_gold(file: Path) -> list[Gold]:
    """Read a file of gold alignments."""
    lines = enumerate(read_lines(file), 1)
    return [parse_links(line, f"{file}:{number}") for number, line in lines]


def check_gold(gold: Gold, explanation: Explanation, place: str) -> None:
    """Refuse gold links to words that are not there, such as those of a file that counts from 1."""
    require_words(gold.possible, explanation.source.count, explanation.target.count, place)


def table(scores: AlignmentScores) -> str:
    """Lay the scores out for a terminal."""
    return (
        f"precision  recall    AER  lines\n{scores.precision:9.4f}  {scores.recall:.4f} "
        f"{scores.aer:.4f} {scores.lines:6d}"
    )
