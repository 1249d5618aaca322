"""Compare the BLEU of joined lines, translated with and without `decode.split`, with single lines.

    python benchmarks/sentences.py RUN SRC REF [--beam 5] [--marked]

`--marked` leaves out lines without a mark at their end. Consecutive lines of SRC and REF are joined
with a space, 2 to 5 alternately. All BLEU scores are on the joined references: "single" joins the
translations of the single lines.
"""

from __future__ import annotations

import argparse
import time
from itertools import cycle
from pathlib import Path

import nmt
from nmt.data.text.reader import read_lines
from nmt.evaluation.metrics import corpus_bleu


def joined(lines: list[str]) -> list[str]:
    """Return the lines, 2 to 5 alternately joined with a space."""
    result, begin = [], 0
    for size in cycle((2, 3, 4, 5)):
        if begin >= len(lines):
            return result
        result.append(" ".join(line.strip() for line in lines[begin : begin + size]))
        begin += size
    return result


def main() -> None:
    """Print a table of BLEU, its share of the BLEU of single lines, and seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("src", type=Path)
    parser.add_argument("ref", type=Path)
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--marked", action="store_true")
    options = parser.parse_args()
    pairs = zip(read_lines(options.src), read_lines(options.ref), strict=True)
    selected = [pair for pair in pairs if not options.marked or pair[0].rstrip()[-1:] in (*".!?",)]
    src, ref = [src for src, _ in selected], [ref for _, ref in selected]
    language = options.ref.suffix[1:]
    model = nmt.load(options.run, device="cpu")
    long_lines, references = joined(src), joined(ref)
    jobs = {
        "single": (src, "length"),
        "length": (long_lines, "length"),
        "sentences": (long_lines, "sentences"),
    }
    baseline = 0.0
    for name, (lines, split) in jobs.items():
        begin = time.perf_counter()
        hypotheses = model.translate(lines, split=split, beam_size=options.beam)
        seconds = time.perf_counter() - begin
        if name == "single":
            hypotheses = joined(hypotheses)
        bleu = corpus_bleu(hypotheses, references, language)
        baseline = baseline or bleu
        print(f"{name:10} {bleu:6.2f} {bleu / baseline:7.1%} {seconds:7.1f} s", flush=True)


if __name__ == "__main__":
    main()
